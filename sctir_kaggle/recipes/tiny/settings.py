"""Settings of a tiny run, and the check that a resumed run has the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sctir_kaggle.recipes.tiny.problems import PROBLEMS, TRACES
from sctir_kaggle.types import UserError

LEAST = {"traces": 8, "on_policy": 1, "candidates": 1, "seeds": 1, "steps": 1, "limit": 2}
"""Lower limits: the calibration takes 256 traces of 36 families, a standard error two problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """Settings of a run, which resumes in its `output` as long as no other field changes. Raises `UserError` outside limits."""

    output: Path = Path("runs/tiny")
    """The folder that gets everything."""

    traces: int = TRACES
    """Training problems of a family."""

    seed: int = 0
    """Seed of problems, traces and initial weights."""

    start: Path | None = None
    """A checkpoint that stage 1 starts from instead of random weights."""

    steps: int | None = None
    """Each training ends after this many steps: a smoke test."""

    on_policy: int = 800
    """Training problems that stage 2's model solves for KTO, with four candidates each."""

    candidates: int = 16
    """Candidates of a held-out problem under SC-TIR."""

    seeds: int = 5
    """Runs of each method that samples."""

    limit: int | None = None
    """The first so many held-out and validation problems only."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}")
        if self.limit is not None and self.limit > PROBLEMS:
            raise UserError(f"limit is {self.limit}; there are {PROBLEMS} held-out problems")
        if self.steps is not None and self.start is None:
            raise UserError("steps leaves a model that solves nothing, which KTO cannot learn from: give start too")

    def at(self, name: str) -> Path:
        """A file or a folder of the output."""
        return self.output / name


def keep(tiny: Tiny) -> None:
    """Write the settings to the output. Raises `UserError` where it holds a run with others."""
    keep_settings(tiny.output, "tiny.json", asdict(tiny))


def keep_settings(output: Path, name: str, values: Mapping[str, object]) -> None:
    """Write `values` but for `output` to the file `name` there. Raises `UserError` where it holds others."""
    file, said = output / name, json.loads(json.dumps(dict(values), default=str))
    del said["output"]
    if file.exists() and (kept := json.loads(file.read_text(encoding="utf-8"))) != said:
        other = ", ".join(f"{field}={kept.get(field)}" for field in said if kept.get(field) != said[field])
        raise UserError(f"{output} is of a run with {other}: give it the same settings, or another output")
    write_json(file, said)


def write_json(file: Path, content: object) -> None:
    """Write `content` as JSON, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(file)
