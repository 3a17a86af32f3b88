"""The rows of a table -> problems, and the line that says what was read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from sctir_kaggle.problems.choices import choice_columns, may_be_index
from sctir_kaggle.problems.columns import ANSWER, PROBLEM, Columns, ProblemsConfig, alike, choose, found
from sctir_kaggle.problems.literals import literal
from sctir_kaggle.problems.references import Reference, has_decimal_comma, reference_of
from sctir_kaggle.problems.table import Row, Table, is_empty
from sctir_kaggle.types import Problem, UserError

_NUMBER = re.compile(r"[-+$\u20ac]?\s*\d[\d.,\s]*(?:e[-+]?\d+)?\s*%?|\d+-\d+-\d+.*|true|false|nan", re.IGNORECASE)
"""What is no problem: a number, a date, a truth value."""


@dataclass(frozen=True, slots=True)
class ProblemFile:
    """The problems of a file, and one line on what was read: rows, columns, and which rows were left out and why."""

    problems: list[Problem]
    summary: str


@dataclass(slots=True)
class _Counts:
    """What the line says, counted while rows are read; the examples are the first of their kind."""

    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    """By the reason for which rows are left out, the number of the first of them."""
    fractions: int = 0
    ungraded: int = 0
    example: str = ""
    unanswered: int = 0
    numbered: int = 0
    repeated: int = 0
    choices: int = 0
    """Answers that may be the number of a choice."""
    others: Counter[str] = field(default_factory=Counter)
    """Rows by the column that they have a problem in, where it is not that of the others."""

    def leave_out(self, row: Row, reason: str) -> None:
        """Count a row that is no problem."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, row.number)

    def rows_left_out(self) -> Iterator[str]:
        """`2 rows without a problem left out (row 5, ...)` and the like."""
        for reason, count in self.left_out.items():
            place = f" (row {self.first[reason]}{', ...' * (count > 1)})" if reason in self.first else ""
            yield f"{_count(count, 'row', 'rows')} {reason} left out{place}"


def problems_of(table: Table, how: ProblemsConfig, *, limit: int | None = None) -> ProblemFile:
    """The first `limit` problems of the table. Raises `UserError` where a column is missing or no row is a problem."""
    if not table.columns:
        raise UserError(f"{table.name} is empty; it needs a header `id,problem,answer` and one row for each problem")
    columns = choose(table.name, table.columns, how, numbers=_numbers(table))
    columns = replace(columns, texts=_filled(table, columns))
    if not table.rows:
        raise UserError(f"{table.name} has no rows; it needs one row for each problem")
    decimal_comma = table.decimal_comma and any(
        has_decimal_comma(row.cells.get(columns.answer or "")) for row in table.rows
    )
    if decimal_comma:
        table = replace(table, notes=(*table.notes, "answers with decimal commas"))
    table = replace(table, decimal_comma=decimal_comma)
    chosen = _Chosen.of(table, columns, how)
    counts = _Counts(Counter({"without any cell": table.blank} if table.blank else {}))
    problems: dict[str, Problem] = {}
    for row in table.rows:
        if len(problems) == limit:
            break
        problem = _problem(table, row, chosen, how, counts, problems)
        if problem is not None:
            problems[problem.id] = problem
    if not problems:
        raise UserError(
            f"{table.name} leaves no problem to solve: {', '.join((*counts.rows_left_out(), *table.notes))}"
        )
    return ProblemFile(list(problems.values()), _summary(table, columns, counts, len(problems)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The columns, and those that rows of another origin have in their place: `question` in a set of `problem`s."""

    columns: Columns
    problems: tuple[str, ...]
    answers: tuple[str, ...]
    choices: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, columns: Columns, how: ProblemsConfig) -> _Chosen:
        """Those columns that are never filled in a row whose chosen column is: else both are of one origin."""

        def instead(chosen: str | None, named: str | None, names: Sequence[str]) -> tuple[str, ...]:
            if chosen is None or named is not None:
                return ()
            own = [row.cells for row in table.rows if not is_empty(row.cells.get(chosen))]
            others = alike(table.columns, chosen, names)
            return tuple(name for name in others if all(is_empty(cells.get(name)) for cells in own))

        return cls(
            columns=columns,
            problems=tuple(
                name for name in instead(columns.problem, how.problem_column, PROBLEM) if name not in columns.texts
            ),
            answers=() if columns.results else instead(columns.answer, how.answer_column, ANSWER),
            choices=choice_columns(table.columns),
        )

    def for_row(self, row: Row) -> Columns:
        """The columns of one row."""

        def first(own: str | None, others: Sequence[str]) -> str | None:
            if own is None or not is_empty(row.cells.get(own)):
                return own
            return next((name for name in others if not is_empty(row.cells.get(name))), own)

        columns = self.columns
        problem = first(columns.problem, self.problems) or columns.problem
        texts = columns.texts if problem == columns.problem else (problem,)
        return replace(columns, problem=problem, texts=texts, answer=first(columns.answer, self.answers))


def _numbers(table: Table) -> dict[str, str]:
    """The columns of usual names that hold nothing but numbers, each with its first: no text of a problem is one."""
    numbers = {}
    for name in table.columns:
        if found((name,), PROBLEM) is None:
            continue
        cells = [cell for row in table.rows if not is_empty(cell := row.cells.get(name))]
        if cells and all(
            isinstance(cell, (str, int, float)) and _NUMBER.fullmatch(str(cell).strip()) for cell in cells
        ):
            numbers[name] = _short(str(cells[0]))
    return numbers


def _filled(table: Table, columns: Columns) -> tuple[str, ...]:
    """The columns of the text without those beside the problem's that are empty in all rows."""

    def any_in(name: str) -> bool:
        return any(not is_empty(row.cells.get(name)) for row in table.rows)

    return tuple(name for name in columns.texts if name == columns.problem or any_in(name))


def _problem(
    table: Table, row: Row, chosen: _Chosen, how: ProblemsConfig, counts: _Counts, taken: Mapping[str, Problem]
) -> Problem | None:
    """The problem of a row; None where it is left out."""
    columns = chosen.for_row(row)
    for name in (*columns.texts, columns.id, columns.answer):
        if name and row.fault and name not in row.cells:
            raise UserError(f"{table.name}, row {row.number}: {row.fault}")
    text = "\n".join(part for name in columns.texts if (part := _text_of(row.cells.get(name))).strip())
    if all(row.cells.get(name) == name for name in (columns.problem, columns.answer) if name):
        counts.leave_out(row, "with the header again")
        return None
    if not _text_of(row.cells.get(columns.problem)).strip():
        counts.leave_out(row, "without a problem")
        return None
    reference = Reference()
    if columns.answer:
        reference = reference_of(row.cells.get(columns.answer), decimal_comma=table.decimal_comma)
    choice = may_be_index(reference.value, row.cells, chosen.choices)
    if choice:
        reference = Reference(None, reference.written)
    if how.integers_only and not isinstance(reference.value, int):
        counts.leave_out(row, "without an integer answer" if reference.written else "without an answer")
        return None
    counts.others[columns.problem] += columns.problem != chosen.columns.problem
    counts.choices += choice
    if not choice:
        _count_reference(reference, row, counts, known=columns.answer is not None)
    text = text.encode("utf-8", "replace").decode(
        "utf-8"
    )  # JSON may hold halves of characters, which no tokenizer takes
    level, subject = (_label(row.cells.get(name)) if name else None for name in (columns.level, columns.subject))
    # The text as it is written, blanks included: so the competition shows it, and so a journal is found again.
    return Problem(_id_of(row, columns, counts, taken), text, reference.value, level, subject)


def _count_reference(reference: Reference, row: Row, counts: _Counts, *, known: bool) -> None:
    if isinstance(reference.value, Fraction):
        counts.fractions += 1
    elif reference.written and reference.value is None:
        counts.example = counts.example or f"row {row.number}: {_short(reference.written)}"
        counts.ungraded += 1
    elif known and not reference.written:
        counts.unanswered += 1


def _id_of(row: Row, columns: Columns, counts: _Counts, taken: Mapping[str, Problem]) -> str:
    """The row's id. A row without one has its number; one whose id was there before is told apart by a number behind it:
    sets are joined of contests that each count from 1, and the same problem stands several times to be averaged."""
    cell = row.cells.get(columns.id) if columns.id else None
    id_ = str(row.number) if is_empty(cell) else _name(cell)
    counts.numbered += columns.id is not None and is_empty(cell)
    counts.repeated += id_ in taken
    count, unique = 1, id_
    while unique in taken:
        count += 1
        unique = f"{id_}#{count}"
    return unique


def _name(cell: Any) -> str:
    """A cell as an id: 1.0, as pandas writes a whole number beside a missing one, is 1."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _label(cell: Any) -> str | None:
    return _name(cell) if isinstance(cell, (str, int, float)) and not is_empty(cell) else None


def _text_of(cell: Any) -> str:
    """The text of a problem's cell; of the messages of a chat, that of the last one by the user."""
    if isinstance(cell, str):
        return _text_of(literal(cell)) if cell.startswith("[{") and literal(cell) and "content" in cell else cell
    if is_empty(cell):
        return ""
    if isinstance(cell, Mapping):
        return _text_of(next((cell[key] for key in ("content", "value", "text", "stem") if key in cell), None))
    if isinstance(cell, Sequence):
        said = [each for each in cell if isinstance(each, Mapping)]
        asked = [each for each in said if each.get("role", each.get("from", "user")) in ("user", "human")]
        if asked and any("role" in each or "from" in each for each in asked):
            return _text_of(asked[-1])
        return "\n".join(filter(None, map(_text_of, cell)))  # the parts of one message
    return str(cell)


def _summary(table: Table, columns: Columns, counts: _Counts, problems: int) -> str:
    rows = len(table.rows) + table.blank
    first = "" if problems + counts.left_out.total() >= rows else "the first "
    read = f"{_count(rows, 'row', 'rows')}, {first}{_count(problems, 'problem', 'problems')}"
    parts = [f"{table.name}: {read}", *table.notes, _columns_read(table, columns)]
    parts += counts.rows_left_out()
    parts += [f"{_count(n, 'row has', 'rows have')} {name} instead" for name, n in counts.others.items() if n]
    if columns.results:
        parts.append(
            f"with {columns.results} these are results: is {columns.answer} the reference? else --answer-column NAME"
        )
    if counts.choices:
        what = _count(counts.choices, "answer may be the number of a choice", "answers may be numbers of choices")
        parts.append(f"{what}: kept, not graded")
    if counts.fractions:
        parts.append(_count(counts.fractions, "answer is a fraction", "answers are fractions"))
    if counts.ungraded:
        what = _count(counts.ungraded, "answer is no number", "answers are no numbers")
        parts.append(f"{what} ({counts.example}): kept, not graded")
    if counts.unanswered:
        parts.append(f"{counts.unanswered} without an answer: kept, not graded")
    if counts.numbered:
        parts.append(f"{counts.numbered} without an id: numbered")
    if counts.repeated:
        parts.append(f"{_count(counts.repeated, 'repeated id', 'repeated ids')}: told apart as ID#2")
    return "; ".join(parts)


def _columns_read(table: Table, columns: Columns) -> str:
    named = {"id": columns.id or "the row's number", "problem": " + ".join(columns.texts), "answer": columns.answer}
    read = "columns " + ", ".join(f"{what} = {name or 'none'}" for what, name in named.items())
    solution = None if columns.answer else found(table.columns, ("solution",))
    return f"{read} (--answer-column {solution} reads its boxes)" if solution else read


def _count(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _short(text: str, limit: int = 30) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
