"""The attempts of a run on disk: the project's journal, a line an attempt, written through as it ends.

A round is a seed, so that `sctir score` and `sctir view` read the file as a replay over seeds. A failed attempt is noted as
a fault with its tokens: it cost something, and it is made again when the run is resumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from sctir_kaggle.journal import Journal, whole_lines
from sctir_kaggle.recipes.tir.attempt import Attempt, Tokens
from sctir_kaggle.types import SolveResult, Trace, TraceStatus


class Attempts(Journal):
    """An open run. `made` are the attempts of this run and of earlier ones, `failed` those that failed; texts stay on disk.

    `tokens` are those of all of them.
    """

    def __init__(self, path: Path, file: TextIO, results: Iterable[SolveResult] = ()) -> None:
        self.made: dict[tuple[str, int], Attempt] = {}
        self.failed: list[Attempt] = []
        self.tokens = Tokens()
        super().__init__(path, file, results)

    @classmethod
    def opened(cls, path: Path, header: dict[str, Any]) -> Attempts:
        """A new run, or one to go on with. Raises `UserError` where that one has other problems or settings."""
        if not path.exists():
            return cls.create(path, header)
        attempts = cls.resume(path, header)
        for attempt in _failures(path):
            attempts._note_failure(attempt)
        return attempts

    def fail(self, result: SolveResult) -> None:
        """Write down that an attempt failed, why and what it took."""
        attempt = Attempt.of(result)
        why = attempt.trace.detail or "it took too long"
        tokens = asdict(attempt.tokens)
        self._write({"fault": why, "problem": attempt.problem_id, "seed": attempt.seed, "tokens": tokens})
        self._note_failure(attempt)

    def _note_failure(self, attempt: Attempt) -> None:
        self.failed.append(attempt)
        self.tokens += attempt.tokens

    def _remember(self, result: SolveResult) -> None:
        attempt = Attempt.of(result)
        self.made[attempt.problem_id, attempt.seed] = attempt
        self.tokens += attempt.tokens


def _failures(path: Path) -> list[Attempt]:
    lines = [line for line in whole_lines(path) if "fault" in line and "tokens" in line]
    return [
        Attempt(line["problem"], line["seed"], Trace(0, (), TraceStatus.FAILED), Tokens(**line["tokens"]))
        for line in lines
    ]
