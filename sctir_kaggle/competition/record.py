"""The record of a competition run: results and faults, always in memory, and in the journal as long as the disk allows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sctir_kaggle.journal import Journal
from sctir_kaggle.types import SolveResult, UserError

log = logging.getLogger("sctir_kaggle")

Json = dict[str, Any]
Start = Callable[[Path, Json], Journal]


class RunRecord:
    """Results and faults of a run. Thread-safe. An engine may be loaded twice; both sessions write to this one record.

    `path` is the journal's place and `start` opens it. `bare` is a header without an engine: where a fault comes before
    any engine is loaded, a journal is begun with it, and begun again with the full header once there is an engine.
    """

    def __init__(self, path: Path, bare: Json, *, start: Start) -> None:
        self.path = path
        self.results: dict[str, SolveResult] = {}
        self.faults: list[str] = []
        self._bare = bare
        self._start = start
        self._notes: list[tuple[str, str | None]] = []
        self._open: set[str] = set()
        self._journal: Journal | None = None
        self._bare_now = False
        self._lost = False
        self._ended = False
        self._lock = threading.RLock()

    def open(self, path: Path, header: Json) -> RunRecord:
        """Begin the journal with the engine's header, unless there is one; `path` is its place if that is free."""
        with self._lock:
            if not self._ended and (self._journal is None or self._bare_now):
                self._drop_bare()
                self._begin(path, header)
            return self

    def append(self, result: SolveResult) -> None:
        """Keep a session's result, unless the problem has been answered in the meantime."""
        id_ = result.problem.id
        with self._lock:
            if id_ in self.results and id_ not in self._open:
                return
            self._open.discard(id_)
            self.results[id_] = result
            self._write(lambda journal: (journal.replace if id_ in journal.results else journal.append)(result))

    def reopen(self, id_: str) -> None:
        """Let the next result of a problem replace the one that it has, which has no vote."""
        with self._lock:
            self._open.add(id_)

    def settle(self, result: SolveResult) -> SolveResult:
        """The result to return to the competition: the problem's own, even if it has only just arrived, else `result`."""
        with self._lock:
            self._open.discard(result.problem.id)
            return self.results.setdefault(result.problem.id, result)

    def tried(self, canary: Json) -> None:
        """Log the result of the canary and write it to the journal."""
        log.info("canary: %s", ", ".join(f"{name} {value}" for name, value in canary.items() if value is not None))
        with self._lock:
            self._write(lambda journal: journal.tried(canary))

    def fault(self, text: str, problem: str | None = None) -> None:
        """Record a fault that the run survives: one line, and the id of the problem that it hit, if any."""
        with self._lock:
            self._remember(text, problem)
            self._notes.append((text, problem))
            if self._journal is None and not self._lost:
                self._bare_now = self._begin(self.path, self._bare)
            else:
                self._write(lambda journal: journal.note(text, problem))

    def close(self) -> None:
        """Close the journal for good: an engine that finishes loading after this begins no other."""
        with self._lock:
            self._ended = True
            self._close()

    def _close(self) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.close()

    def _begin(self, path: Path, header: Json) -> bool:
        """Begin a journal and write the faults so far to it; returns whether that worked."""
        try:
            self._journal = self._start(path, header)
        except UserError as error:
            self._give_up(error)
            return False
        self.path = self._journal.path
        self.results.update(self._journal.results)
        for text, problem in self._notes:
            self._write(lambda journal, text=text, problem=problem: journal.note(text, problem))  # type: ignore[misc]
        return self._journal is not None

    def _drop_bare(self) -> None:
        if self._bare_now and self._journal is not None:
            self._close()
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._journal, self._bare_now = None, False

    def _write(self, write: Callable[[Journal], None]) -> None:
        if self._journal is None or self._ended:
            return
        try:
            write(self._journal)
        except (OSError, ValueError) as error:  # a full disk; a file that was closed
            self._close()
            self._journal = None
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._lost = True
        reason = getattr(error, "strerror", None) or error
        self._remember(f"no journal from here on, {self.path} cannot be written: {reason}", None)

    def _remember(self, text: str, problem: str | None) -> None:
        line = text if problem is None else f"{problem}: {text}"
        self.faults.append(line)
        log.error("fault: %s", line)


def free(path: Path) -> Path:
    """`path`, or the first of `journal-2.jsonl`, `journal-3.jsonl`, ... that does not exist."""
    number = 1
    candidate = path
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
