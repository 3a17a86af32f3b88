"""A run's journal as a file of problems: those that it was given, with their references, not the answers it voted for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

NOTE = "a run's journal: its problems are read, not its votes"

EMPTY = '{"schema": 1, "config": {}}'
"""The least of a journal's header."""


def journal_rows(values: Iterable[Any]) -> list[Mapping[str, Any]] | None:
    """The problems of a journal, each once however many seeds or runs solved it; None where `values` are no journal's lines.

    A journal is known by its header, `{"schema": 1, "config": ...}`, or by a result: a problem with its traces.
    """
    lines = [value for value in values if isinstance(value, Mapping)]
    if not any(_is_header(line) or _is_result(line) for line in lines):
        return None
    problems = [line["problem"] for line in lines if isinstance(line.get("problem"), Mapping)]
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    for problem in problems:
        row = {"id": problem.get("id"), "problem": problem.get("text"), "answer": problem.get("answer")}
        labels = {name: problem[name] for name in ("level", "subject") if problem.get(name) is not None}
        rows.setdefault((str(row["id"]), str(row["problem"])), {**row, **labels})
    return list(rows.values())


def is_journal_start(text: str) -> bool:
    """Whether a text begins as a journal does, whose last line, even the first, a kill may have torn."""
    first, rest = text.strip().partition("\n")[::2]
    return re.match(r'\{"schema": ?\d', first) is not None and ('"config"' in first or not rest)


def _is_header(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("schema"), int) and "config" in line  # pandas' table has an object as its schema


def _is_result(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("problem"), Mapping) and "text" in line["problem"] and "traces" in line
