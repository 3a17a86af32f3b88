"""Which rows of the records are one configuration: a run, or several that differ in their seeds only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sctir_kaggle.journal import MUST_MATCH
from sctir_kaggle.report.records import Array, Records


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows of `Records` that are counted together, and the runs that they come from."""

    name: str
    runs: tuple[str, ...]
    rows: Array


def groups_of(records: Records) -> list[Group]:
    """The runs in their order. Runs of one configuration join the first of them, where they bring other seeds."""
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


def _group(records: Records, runs: list[int]) -> Group:
    names = tuple(records.runs[run] for run in runs)
    name = names[0] if len(names) == 1 else f"{names[0]} +{len(names) - 1}"
    return Group(name, names, np.flatnonzero(np.isin(records.run, runs)))


def _configuration(header: Mapping[str, Any]) -> str:
    """What two seeds of one configuration have in common, as text; whatever the engine had to do again is not part."""
    parts = {name: header.get(name) for name in MUST_MATCH}
    for name, left_out in (("config", "seed"), ("engine", "restarts")):
        if isinstance(part := parts[name], dict):
            parts[name] = {key: value for key, value in part.items() if key != left_out}
    return json.dumps(parts, sort_keys=True)
