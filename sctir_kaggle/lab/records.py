"""Journals as numpy columns: one row per (run, problem, seed), one column per candidate.

Journals are read line by line and no text is kept: 10,000 problems with 48 candidates each are about a gigabyte of journal
and some ten megabytes of columns.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sctir_kaggle.journal import JOURNAL, MUST_MATCH, journal_of, stream_results
from sctir_kaggle.types import Answer, Problem, SolveResult, Trace, TraceStatus

STATUSES = ("", *(status.value for status in TraceStatus))
"""The values that `Records.status` indexes; "" is padding: the row has no such candidate."""

_NUMBERS = {status: number for number, status in enumerate(TraceStatus, 1)}

Json = dict[str, Any]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Runs side by side: R rows, and N columns for the largest number of candidates. Rows with fewer are padded.

    Lists and arrays without a shape have one entry per row, or per run for `runs` and `headers`; `run` (R,) is the index of
    a row's run. The index of a column is a candidate's number, except in `order`. Seconds are wall clock.
    """

    runs: list[str]
    headers: list[Json]
    run: npt.NDArray[np.intp]
    problem_ids: list[str]
    levels: list[str | None]
    subjects: list[str | None]
    seed: npt.NDArray[np.int64]
    reference: Array
    answer: Array
    fallback: npt.NDArray[np.bool_]
    stopped: list[str]
    seconds: npt.NDArray[np.float64]
    choices: list[list[Answer]]
    """The distinct answers of a row, in the order of the candidates' numbers."""
    votes: npt.NDArray[np.int32]
    """(R, N): index into the row's `choices`, -1 for no vote."""
    status: npt.NDArray[np.uint8]
    """(R, N): index into `STATUSES`."""
    tokens: npt.NDArray[np.int64]
    """(R, N): sampled in whole turns."""
    executions: npt.NDArray[np.int16]
    """(R, N): blocks of code executed in whole turns."""
    candidate_seconds: npt.NDArray[np.float64]
    """(R, N): from the candidate's start to its end."""
    order: npt.NDArray[np.int16]
    """(R, N): candidate numbers in the order in which they ended, cancelled ones last, then -1."""
    right: npt.NDArray[np.bool_]
    """(R, N): whether the candidate's answer is the reference; False without one."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Row numbers of `Records` that are counted together, and the runs that they come from."""

    name: str
    runs: tuple[str, ...]
    rows: Array


def read_records(paths: Sequence[Path]) -> Records:
    """Read the runs in `paths`, each a folder or its journal. Raises `UserError` on what `journal.read_journal` refuses."""
    headers: list[Json] = []
    rows: list[_Row] = []
    for run, path in enumerate(paths):
        header, found = _read_run(run, journal_of(path))
        headers.append(header)
        rows += found
    return _stacked(_names(paths), headers, rows)


def groups_of(records: Records) -> list[Group]:
    """One group per run, in their order; a run joins an earlier one of the same configuration if it brings other seeds."""
    seeds = [set(records.seed[records.run == run].tolist()) for run in range(len(records.runs))]
    joined: list[list[int]] = []
    for run, header in enumerate(records.headers):
        for group in joined:
            same = _configuration(records.headers[group[0]]) == _configuration(header)
            if same and not seeds[run] & set().union(*(seeds[other] for other in group)):
                group.append(run)
                break
        else:
            joined.append([run])
    return [_group(records, runs) for runs in joined]


PER_CANDIDATE: dict[str, tuple[type[np.generic], float]] = {
    "votes": (np.int32, -1),
    "status": (np.uint8, 0),
    "tokens": (np.int64, 0),
    "executions": (np.int16, 0),
    "candidate_seconds": (np.float64, 0),
    "order": (np.int16, -1),
    "right": (np.bool_, False),
}
"""The per-candidate arrays of `Records`: dtype and padding."""


class _Row(NamedTuple):
    run: int
    problem: Problem
    seed: int
    answer: Answer
    fallback: bool
    stopped: str
    seconds: float
    choices: list[Answer]
    columns: dict[str, Array]


def _read_run(run: int, path: Path) -> tuple[Json, list[_Row]]:
    header, results = stream_results(path)
    return header, [_row(run, result) for result in results]


def _row(run: int, result: SolveResult) -> _Row:
    """The figures of a result, without its texts."""
    problem, traces = result.problem, result.traces
    answers = {trace.candidate: trace.answer for trace in traces if trace.answer is not None}
    choices = list(dict.fromkeys(answers[candidate] for candidate in sorted(answers)))
    return _Row(
        run,
        replace(problem, text=""),
        result.seed,
        result.answer,
        result.fallback,
        result.stopped,
        result.seconds,
        choices,
        _columns(traces, choices, problem.answer),
    )


def _columns(traces: Sequence[Trace], choices: list[Answer], reference: Answer | None) -> dict[str, Array]:
    """The per-candidate arrays of one row, unpadded; traces come in the order in which they ended."""
    places = {answer: place for place, answer in enumerate(choices)}
    numbers = [trace.candidate for trace in traces]
    columns = {
        name: np.full(max(numbers, default=-1) + 1, empty, kind) for name, (kind, empty) in PER_CANDIDATE.items()
    }
    columns["order"][: len(numbers)] = numbers
    columns["votes"][numbers] = [-1 if trace.answer is None else places[trace.answer] for trace in traces]
    columns["status"][numbers] = [_NUMBERS[trace.status] for trace in traces]
    columns["tokens"][numbers] = [trace.tokens for trace in traces]
    columns["executions"][numbers] = [trace.executions for trace in traces]
    columns["candidate_seconds"][numbers] = [trace.seconds for trace in traces]
    columns["right"][numbers] = [reference is not None and trace.answer == reference for trace in traces]
    return columns


def _stacked(runs: list[str], headers: list[Json], rows: list[_Row]) -> Records:
    width = max((len(row.columns["votes"]) for row in rows), default=0)
    return Records(
        runs=runs,
        headers=headers,
        run=np.array([row.run for row in rows], np.intp),
        problem_ids=[row.problem.id for row in rows],
        levels=[row.problem.level for row in rows],
        subjects=[row.problem.subject for row in rows],
        seed=np.array([row.seed for row in rows], np.int64),
        reference=_objects([row.problem.answer for row in rows]),
        answer=_objects([row.answer for row in rows]),
        fallback=np.array([row.fallback for row in rows], np.bool_),
        stopped=[row.stopped for row in rows],
        seconds=np.array([row.seconds for row in rows], np.float64),
        choices=[row.choices for row in rows],
        **{name: _padded([row.columns[name] for row in rows], name, width) for name in PER_CANDIDATE},
    )


def _objects(values: Sequence[Answer | None]) -> Array:
    """An array of Python integers and fractions: those of numpy would lose the digits of large answers."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _padded(columns: list[Array], name: str, width: int) -> Array:
    kind, empty = PER_CANDIDATE[name]
    array = np.full((len(columns), width), empty, kind)
    for row, column in zip(array, columns, strict=True):
        row[: len(column)] = column
    return array


def _names(paths: Sequence[Path]) -> list[str]:
    """The name of each run: its folder or file, or the whole path where that is not unique."""
    folders = [path.parent if path.name == JOURNAL else path for path in map(Path.absolute, paths)]
    short = Counter(folder.name for folder in folders)
    return [folder.name if short[folder.name] == 1 else str(path) for folder, path in zip(folders, paths, strict=True)]


def _group(records: Records, runs: list[int]) -> Group:
    names = tuple(records.runs[run] for run in runs)
    name = names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"
    return Group(name, names, np.flatnonzero(np.isin(records.run, runs)))


def _configuration(header: Mapping[str, Any]) -> str:
    """The header's settings without the seed and the engine's restarts, as text: equal for two seeds of a configuration."""
    parts = {name: header.get(name) for name in MUST_MATCH}
    for name, left_out in (("config", "seed"), ("engine", "restarts")):
        if isinstance(part := parts[name], dict):
            parts[name] = {key: value for key, value in part.items() if key != left_out}
    return json.dumps(parts, sort_keys=True)
