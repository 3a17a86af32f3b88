"""Settings of a tiny run, and the check that a resumed run has the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sctir_kaggle.recipes.settings import keep_settings
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
