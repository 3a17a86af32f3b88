"""What is kept of a competition's run: results and faults, in memory always and in the journal as long as the disk takes it."""

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
    """Thread-safe. It outlives the sessions that write to it: an engine may be loaded twice, the journal is one.

    `bare` is the header of a journal that is begun before there is an engine, for the faults; as soon as there is one it
    is begun again.
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
        """Begin the journal, if there is none with the engine's header yet. `path` is where it goes if that is free."""
        with self._lock:
            if not self._ended and (self._journal is None or self._bare_now):
                self._drop_bare()
                self._begin(path, header)
            return self

    def append(self, result: SolveResult) -> None:
        """Keep what a session found out; too late is no longer kept, since the competition has its answer."""
        id_ = result.problem.id
        with self._lock:
            if id_ in self.results and id_ not in self._open:
                return
            self._open.discard(id_)
            self.results[id_] = result
            self._write(lambda journal: (journal.replace if id_ in journal.results else journal.append)(result))

    def reopen(self, id_: str) -> None:
        """A problem without a vote is asked again: what a session finds out now takes the place of its result."""
        with self._lock:
            self._open.add(id_)

    def settle(self, result: SolveResult) -> SolveResult:
        """What the competition is told: `result`, unless there is one for the problem, if only from the last moment."""
        with self._lock:
            self._open.discard(result.problem.id)
            return self.results.setdefault(result.problem.id, result)

    def tried(self, canary: Json) -> None:
        """Note what came of the problem that is tried before the first one."""
        log.info("canary: %s", ", ".join(f"{name} {value}" for name, value in canary.items() if value is not None))
        with self._lock:
            self._write(lambda journal: journal.tried(canary))

    def fault(self, text: str, problem: str | None = None) -> None:
        """One line of what went wrong and was survived, with the id of the problem concerned."""
        with self._lock:
            self._remember(text, problem)
            self._notes.append((text, problem))
            if self._journal is None and not self._lost:
                self._bare_now = self._begin(self.path, self._bare)
            else:
                self._write(lambda journal: journal.note(text, problem))

    def close(self) -> None:
        """Close the journal: an engine that is loaded only after this begins no other."""
        with self._lock:
            self._ended = True
            self._close()

    def _close(self) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.close()

    def _begin(self, path: Path, header: Json) -> bool:
        """Whether a journal could be begun; with it go the faults so far."""
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
