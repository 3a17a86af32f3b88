"""Parquet files and spreadsheets, by the libraries that read them, where those are installed."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from typing import Any

from sctir_kaggle.problems.table import HEADER_WITHIN, Score, Table, header_place, is_empty, table_of
from sctir_kaggle.types import UserError, one_line

PARQUET = b"PAR1"
"""The first bytes of a Parquet file."""


def read_parquet(name: str, data: bytes) -> Table:
    """The rows of a Parquet file, by pyarrow or polars. Raises `UserError` without either, or where it is damaged."""
    try:
        return table_of(name, _parquet_rows(data))
    except ImportError:
        raise UserError(f"reading the Parquet file {name} needs pyarrow: pip install pyarrow") from None
    except Exception as error:  # each library has exceptions of its own, without a common class
        raise UserError(f"{name} is not a readable Parquet file: {one_line(error, first=True)}") from None


def _parquet_rows(data: bytes) -> list[dict[str, Any]]:
    # Not by pandas.read_parquet: it turns integers into floats where one is missing.
    try:
        import pyarrow.parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        import polars

        return polars.read_parquet(io.BytesIO(data)).to_dicts()
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows


def read_workbook(name: str, data: bytes, *, score: Score) -> Table:
    """The rows of a spreadsheet's first sheet that has any, by pandas. Raises `UserError` where its engine is missing."""
    import pandas as pd

    kind, engine = _engine(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that play no part here
            sheets = pd.read_excel(
                io.BytesIO(data), sheet_name=None, dtype=object, keep_default_na=False, na_values=[""]
            )
    except ImportError:
        raise UserError(
            f"reading the {kind} file {name} needs {engine}: pip install {engine}; or save it as CSV"
        ) from None
    except Exception as error:  # each engine has exceptions of its own, without a common class
        raise UserError(f"{name} is not a readable {kind} file: {one_line(error, first=True)}") from None
    filled = [(sheet, frame) for sheet, frame in sheets.items() if len(frame)]
    if not filled:
        return table_of(name, [])
    sheet, frame = filled[0]
    notes = [f"sheet {sheet} of {len(sheets)}"] if len(sheets) > 1 else []
    if formulas := _without_value(data):
        notes.append(
            f"formulas without a saved value ({', '.join(formulas[:3])}{', ...' * (len(formulas) > 3)}): "
            "open it in a spreadsheet program and save it"
        )
    columns = [str(column) for column in frame.columns]
    top = [columns, *frame.head(HEADER_WITHIN - 1).to_numpy().tolist()]
    if place := header_place(top, score):
        names = ["" if is_empty(cell) else str(cell).strip() for cell in top[place]]
        columns = [each or f"Unnamed: {number}" for number, each in enumerate(names)]
        frame = frame.iloc[place:]
        notes.append(f"header in row {place + 1}")
    rows = [dict(reversed(list(zip(columns, row, strict=True)))) for row in frame.itertuples(index=False, name=None)]
    return table_of(name, [{each: row[each] for each in dict.fromkeys(columns)} for row in rows], notes=tuple(notes))


_FORMULA = re.compile(rb'<c r="([A-Z]+\d+)"[^>]*>\s*<f[^>]*?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>')
"""A cell of a sheet's XML that has a formula and no value, as libraries write it, which do not calculate."""


def _without_value(data: bytes) -> list[str]:
    """The cells of an XLSX file's sheets with such a formula; none of other formats."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sheets = [each for each in archive.namelist() if each.startswith("xl/worksheets/sheet")]
            return [cell.decode() for each in sheets for cell in _FORMULA.findall(archive.read(each))]
    except (zipfile.BadZipFile, ValueError, RuntimeError):
        return []


def _engine(data: bytes) -> tuple[str, str]:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return "XLS", "xlrd"
    return ("ODS", "odfpy") if b"application/vnd.oasis" in data[:200] else ("XLSX", "openpyxl")
