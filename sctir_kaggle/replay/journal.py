"""The journal of a replay: a line a (problem, seed), and in memory no more of each than its outcome."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from sctir_kaggle.journal import Journal, lock, stream_journal
from sctir_kaggle.replay.outcome import Outcome
from sctir_kaggle.types import SolveResult


class ReplayJournal(Journal):
    """A `Journal` of several seeds, whose header says which. `outcomes` are those of both this run and earlier ones."""

    def __init__(self, path: Path, file: TextIO, results: Iterable[SolveResult] = ()) -> None:
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        super().__init__(path, file, results)

    @classmethod
    def resume(cls, path: Path, header: dict[str, Any]) -> ReplayJournal:
        """As `Journal.resume`; seeds that `header` has and the run had not are added to its header."""
        journal = super().resume(path, header)
        try:
            journal._extend(header["seeds"])
        except BaseException:
            journal.close()
            raise
        return journal

    def _remember(self, result: SolveResult) -> None:
        self.outcomes[result.problem.id, result.seed] = Outcome.of(result)

    def _extend(self, seeds: Iterable[int]) -> None:
        """Only lines can be added to a file, so with another header it is written anew and takes the old one's place.

        A kill before that leaves the old file as it is. Both are locked while there are two.
        """
        old, _ = stream_journal(self.path)
        known = old.get("seeds", [old.get("config", {}).get("seed", 0)])
        wanted = sorted({*known, *seeds})
        if wanted == old.get("seeds"):
            return
        anew = self.path.with_suffix(".new")
        file = anew.open("w", encoding="utf-8")
        lock(anew, file)
        file.write(json.dumps({**old, "seeds": wanted}, ensure_ascii=False, separators=(",", ":")) + "\n")
        with self.path.open(encoding="utf-8", newline="") as lines:
            lines.readline()
            shutil.copyfileobj(lines, file)
        file.flush()
        os.fsync(file.fileno())
        os.replace(anew, self.path)
        self._file.close()
        self._file = file
