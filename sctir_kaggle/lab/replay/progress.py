"""Count the tasks of a replay and estimate how long it still takes: the line that `display.live` draws in a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sctir_kaggle.display import clock_face
from sctir_kaggle.lab.replay.results import Outcome
from sctir_kaggle.lab.replay.scheduler import Task
from sctir_kaggle.session import summary
from sctir_kaggle.types import SolveResult

if TYPE_CHECKING:
    from rich.text import Text

log = logging.getLogger("sctir_kaggle")


class Progress:
    """Counts tasks. `begin` gives their number once the engine is loaded; until then `line` says that it is loading."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._total: int | None = None
        self._before = self._ended = self._running = self._right = self._graded = 0

    def begin(self, total: int, earlier: Sequence[Outcome]) -> None:
        """The run has `total` tasks, of which those of `earlier` are done already."""
        self._started, self._total, self._before = self._clock(), total, len(earlier)
        for outcome in earlier:
            self._grade(outcome.correct)

    def begun(self, task: Task) -> None:
        """See `Watcher`."""
        self._running += 1

    def ended(self, result: SolveResult) -> None:
        """See `Watcher`; says it in a log line."""
        self._end(result.correct)
        line, _, _ = summary(result, 0.0).rpartition(" | ")  # without the clock of a session, which a replay has not
        log.info("%d/%d, seed %d: %s | %s", self.done, self._total or 0, result.seed, line, self.to_go())

    def failed(self, task: Task, why: str) -> None:
        """See `Watcher`."""
        self._end(None)
        log.warning("%s, seed %d: not solved: %s", task.problem.id, task.seed, why)

    def lost(self, task: Task) -> None:
        """See `Watcher`."""
        self._running -= 1

    @property
    def has_begun(self) -> bool:
        """Whether the engine is loaded and the journal open."""
        return self._total is not None

    @property
    def done(self) -> int:
        """Tasks that have ended, in this run or an earlier one."""
        return self._before + self._ended

    @property
    def seconds_left(self) -> float | None:
        """For the tasks to come, at the pace of this run so far; None while nothing has ended."""
        if self._total is None or not self._ended:
            return None
        return (self._clock() - self._started) * (self._total - self.done) / self._ended

    def to_go(self) -> str:
        """`about 40 s to go`, an estimate; with minutes and hours as on a clock: `about 1:02:10 to go`."""
        left = self.seconds_left
        if left is None:
            return "? to go"
        return f"about {clock_face(left) if left >= 99.5 else f'{left:.0f} s'} to go"

    def line(self) -> str:
        """`12/415 | right 7/12 | 3 running | 4:31 | about 1:02:10 to go`."""
        gone = clock_face(self._clock() - self._started)
        if self._total is None:
            return f"loading | {gone}"
        parts = [f"{self.done}/{self._total}"]
        if self._graded:
            parts.append(f"right {self._right}/{self._graded}")
        return " | ".join([*parts, f"{self._running} running", gone, self.to_go()])

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _end(self, correct: bool | None) -> None:
        self._running, self._ended = max(0, self._running - 1), self._ended + 1
        self._grade(correct)

    def _grade(self, correct: bool | None) -> None:
        if correct is not None:
            self._graded, self._right = self._graded + 1, self._right + correct
