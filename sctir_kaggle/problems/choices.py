"""Multiple choice: which columns hold the choices, and whether an answer may be the number of one instead of its value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sctir_kaggle.problems.literals import literal
from sctir_kaggle.problems.table import is_empty
from sctir_kaggle.types import Answer

_LISTS = {"choices", "options", "answerchoices", "answeroptions", "endings", "distractors", "mc1targets", "mc2targets"}
"""Names of a column with all choices, without underscores."""

_SERIES = re.compile(r"(options?|choices?|endings?|op|opt|sol|answers?|)(?:[a-h]|[0-9])")
"""Names of one column a choice: `A` to `D`, `option1`, `choice_b`."""

_UNKNOWN = 26
"""How many choices there may be in a text that is no list."""


def key(name: str) -> str:
    """`problem_idx`, `Problem Idx` and `problemIdx` alike."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def choice_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns with choices: one with a list of them, or a series of one for each."""
    lists = tuple(column for column in columns if key(column.rpartition(".")[2]) in _LISTS)
    if lists:
        return lists[:1]
    series: dict[str, list[str]] = {}
    for column in columns:
        if match := _SERIES.fullmatch(key(column)):
            series.setdefault(match[1], []).append(column)
    # `a` and `b` alone, or `a` to `c`, may be numbers of a problem that was made from a template.
    return next((tuple(found) for stem, found in series.items() if len(found) >= (2 if stem else 4)), ())


def below_choices(column: str) -> bool:
    """Whether a column is a part of the choices: `choices.label`."""
    return any(key(part) in _LISTS for part in column.split(".")[:-1])


def may_be_index(value: Answer | None, cells: Mapping[str, Any], columns: Sequence[str]) -> bool:
    """Whether `value` may be the number of one of the row's choices, counted from 0 or from 1."""
    filled = [cells[column] for column in columns if not is_empty(cells.get(column))]
    if not filled or not isinstance(value, int):
        return False
    return 0 <= value <= (_length(filled[0]) if len(columns) == 1 else len(filled))


def _length(cell: Any) -> int:
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(cell, str):
        read = literal(cell)
        return _UNKNOWN if read is None else _length(read)
    if isinstance(cell, Mapping) and any(
        isinstance(part, Sequence) and not isinstance(part, str) for part in cell.values()
    ):
        return max(_length(part) for part in cell.values() if not isinstance(part, str))
    if isinstance(cell, (Mapping, Sequence)):
        return len(cell) or -1  # an empty list is no choice: then the answer is a value
    return _UNKNOWN
