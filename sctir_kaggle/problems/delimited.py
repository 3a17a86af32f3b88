"""CSV and its relatives: fields separated by commas, semicolons, tabs or bars, which the header tells."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from sctir_kaggle.problems.table import HEADER_WITHIN, Row, Score, Table, flattened, header_place
from sctir_kaggle.types import UserError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may separate fields, in words; the first of several that fit the header equally well."""

_NONE = "\x1f"
"""Separates nothing: for a file with a single column, in which commas are part of the text."""

_DIRECTIVE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""The first line that Excel reads and writes to name the separator."""

_RULE = re.compile(r"[-:\s]*")
"""The line below the header of a table in Markdown."""


def read_delimited(name: str, text: str, *, score: Score, notes: tuple[str, ...] = ()) -> Table:
    """Read a table with a header; the separator is the one that gives the header the highest `score`.

    Only the header decides: a problem's text may hold any number of any separator. Raises `UserError`, with the row, for what
    is no table.
    """
    directive = _DIRECTIVE.match(text)
    text = text[directive.end() :] if directive else text
    separator = directive[1] if directive else _separator(name, text, score)
    above = _place(text, separator, score)
    padded = bool(re.search(rf"{re.escape(separator)}[ \t]*[ ]", _first_line(text)))
    header, blank, rows = _read(name, text, separator, padded=padded, above=above)
    if above:
        notes = (*notes, f"header in row {above + 1}")
    if separator not in (",", _NONE):
        notes = (*notes, f"separated by {SEPARATORS.get(separator, separator)}")
    inside = dict.fromkeys(column for row in rows for column in row.cells if column not in header)
    return Table(
        name=name, columns=(*header, *inside), rows=rows, notes=notes, decimal_comma=separator == ";", blank=blank
    )


def _separator(name: str, text: str, score: Score) -> str:
    headers = {}
    for separator in SEPARATORS:
        try:
            records: list[list[str]] | None = list(islice(_records(text, separator, skip=True), HEADER_WITHIN))
        except csv.Error:
            records = _before_fault(text, separator)
        if records is not None:
            headers[separator] = records[header_place(records, score)] if records else []
    if not headers:
        next(iter(_checked(name, _records(text, ",", skip=True))))  # raises the reason
    if all(len(header) <= 1 for header in headers.values()):
        return _NONE
    return max(headers, key=lambda separator: score(headers[separator]))


def _before_fault(text: str, separator: str) -> list[list[str]] | None:
    """The first row alone, where one of those below it is no CSV; None where it is none itself."""
    try:
        return [next((cells for cells in _records(text, separator, skip=True) if any(cells)), [])]
    except csv.Error:
        return None


def _place(text: str, separator: str, score: Score) -> int:
    """How many rows, blank ones too, stand above the header; 0 where the first that is not blank is the header."""
    try:
        records = list(islice(_records(text, separator, skip=True), HEADER_WITHIN))
    except csv.Error:
        return 0
    place = header_place(records, score)
    return place if any(any(cell.strip() for cell in record) for record in records[:place]) else 0


def _first_line(text: str) -> str:
    return text.lstrip("\r\n").partition("\n")[0]


def _read(
    name: str, text: str, separator: str, *, padded: bool, above: int
) -> tuple[tuple[str, ...], int, tuple[Row, ...]]:
    """Header, number of blank rows, rows. Blanks behind separators are skipped where the header has them, or where the file
    cannot be read otherwise, since they stand between a separator and a quote."""
    try:
        return _rows(name, _below(above, name, text, separator, skip=padded), separator, padded=padded)
    except UserError as first:
        try:
            tidy = re.sub(rf'"[ \t]+(?={re.escape(separator)}|[\r\n]|\Z)', '"', text)
            return _rows(name, _below(above, name, tidy, separator, skip=True), separator, padded=padded)
        except UserError:
            raise first from None


def _records(text: str, separator: str, *, skip: bool) -> Iterator[list[str]]:
    """All records. Not by pandas: it reads a row with one comma too many as one with an index."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a setting of the whole process: put back at once
    try:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=skip, strict=True)
        yield from records
    finally:
        csv.field_size_limit(limit)


def _below(above: int, name: str, text: str, separator: str, *, skip: bool) -> Iterator[list[str]]:
    return islice(_checked(name, _records(text, separator, skip=skip)), above, None)


def _checked(name: str, records: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from records
    except csv.Error as error:
        raise UserError(f"{name} is not a CSV: {error}; quotes inside a quoted text are doubled") from None


def _rows(
    name: str, records: Iterator[list[str]], separator: str, *, padded: bool
) -> tuple[tuple[str, ...], int, tuple[Row, ...]]:
    header: tuple[str, ...] = ()
    rows: list[Row] = []
    blank = 0
    for record in records:
        cells = [cell.strip() for cell in record] if padded else record
        if not any(cell.strip() for cell in cells) or (separator == "|" and _RULE.fullmatch("".join(cells))):
            blank += bool(header) and bool(
                record
            )  # rows of separators alone, as Excel writes them; empty lines are none
        elif not header:
            header = _without_empty_end([cell.strip(" \t\xa0\u200b\ufeff") for cell in cells])
        else:
            rows.append(_row(name, len(rows) + 1, header, cells, separator))
    return header, blank, tuple(rows)


def _row(name: str, number: int, header: tuple[str, ...], cells: list[str], separator: str) -> Row:
    what = SEPARATORS.get(separator, "separators")
    fields = f"{len(cells)} field{'s' * (len(cells) != 1)} for {len(header)} columns"
    fault = f"{fields}; put a text with {what} or line breaks in quotes"
    if len(_without_empty_end(cells)) > len(header):
        raise UserError(f"{name}, row {number}: {fault}")
    # The first of two columns of one name counts; `choose` refuses them where they matter.
    found = flattened(dict(reversed(list(zip(header, cells, strict=False)))))
    return Row(number=number, cells=found, fault=fault if len(cells) < len(header) else "")


def _without_empty_end(cells: Sequence[str]) -> tuple[str, ...]:
    """The cells without the empty ones at the end: columns that a spreadsheet adds."""
    last = max((place for place, cell in enumerate(cells) if cell.strip()), default=-1)
    return tuple(cells[: last + 1])
