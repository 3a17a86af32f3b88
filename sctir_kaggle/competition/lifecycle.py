"""The session of a competition run: loaded in a thread, tried on a canary, and loaded a second time where it is dead.

from sctir_kaggle.types import one_line
`SessionThread` owns one session; `SessionLifecycle` decides which one is in use. Covered: a load that fails or never
ends, an engine that dies later, an engine that only the canary finds dead. An engine is reloaded at most once in each
pass over the problems, and only while enough of the budget is left to use it. Not covered: a load that hangs in a C call
which never releases the interpreter lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sctir_kaggle.budget import Budget
from sctir_kaggle.competition.canary import seconds_for, try_canary
from sctir_kaggle.competition.record import RunRecord
from sctir_kaggle.types import one_line

if TYPE_CHECKING:
    from sctir_kaggle.session import Session

Opener = Callable[[], AbstractContextManager["Session"]]

CLOSE_SECONDS = 30.0
"""How long a session that is being replaced may take to free its GPUs."""

DEAD_AFTER = 2
"""Failed problems in a row after which the engine counts as dead. One may be the problem's own fault."""


class Unanswered(RuntimeError):
    """A problem gets the default answer for a reason that is not a bug."""


class SessionThread:
    """One session, opened in a daemon thread that starts at once.

    The thread that opened the session also keeps it open and closes it: engine processes may watch for the death of the
    thread that started them.
    """

    def __init__(self, opener: Opener, after: SessionThread | None = None) -> None:
        """`after` is closed first, for at most `CLOSE_SECONDS`: two engines do not fit on one GPU."""
        self._opener = opener
        self._after = after
        self._over = threading.Event()
        self._session: Future[Session] = Future()
        self._began = time.monotonic()
        self.seconds = 0.0
        """Seconds that the load took; 0 until it has ended."""
        self._thread = threading.Thread(target=self._run, name="sctir-session", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether the load has ended, with a session or an error, within `seconds`."""
        return bool(wait({self._session}, timeout=max(0.0, seconds)).done)

    @property
    def error(self) -> BaseException | None:
        """Why there is no session. Only after `wait` returned True."""
        return self._session.exception()

    @property
    def session(self) -> Session:
        """The open session. Only after `wait` returned True, and where there is no error."""
        return self._session.result()

    def close(self, seconds: float = 0.0) -> None:
        """Ask the thread to close its session and wait `seconds` for that.

        A load that is still running cannot be interrupted and is not waited for: it ends with the process.
        """
        self._over.set()
        if self._session.done():
            self._thread.join(seconds)

    def _run(self) -> None:
        if self._after is not None:
            self._after.close(CLOSE_SECONDS)
            self._after = None  # drop the reference: the chain of replaced sessions would keep their memory
        try:
            with self._opener() as session:
                self.seconds = time.monotonic() - self._began
                self._session.set_result(session)
                self._over.wait()
        except BaseException as error:  # even SystemExit: a waiter that is never notified would hang
            if not self._session.done():
                self._session.set_exception(error)


class SessionLifecycle:
    """The session in use. Not thread-safe: the predictor answers one problem at a time.

    `survive` is whether a failed load is tried again, as in a rerun. `patience` is the number of seconds that the canary
    may take beyond its own deadline.
    """

    def __init__(
        self,
        opener: Opener,
        budget: Budget,
        record: RunRecord,
        *,
        survive: bool,
        canary: bool,
        patience: float,
        clock: Callable[[], float],
    ) -> None:
        self._opener = opener
        self._budget = budget
        self._record = record
        self._survive = survive
        self._canary = canary
        self._patience = patience
        self._clock = clock
        self._current: SessionThread | None = None
        self._canary_tried_on: SessionThread | None = None
        self._reloaded = False
        self._failed_in_a_row = 0

    def start(self) -> SessionThread:
        """Begin to load unless that has happened; returns at once."""
        if self._current is None:
            self._current = SessionThread(self._opener)
        return self._current

    def close(self, seconds: float) -> None:
        """Close the session in use, for at most `seconds`."""
        if self._current is not None:
            self._current.close(seconds)

    def session(self, called: float, until: float) -> Session:
        """The loaded session, for a problem that was asked at `called`; waits until `until` (both monotonic seconds).

        Where the first load fails in a rerun there is a second one. Raises the load's own error, or `Unanswered` where
        the load has not ended in time.
        """
        while True:
            current = self.start()
            if not current.wait(until - self._clock()):
                self._budget.skip()
                raise Unanswered(f"the engine is still loading, {self._clock() - called:.0f} s after the call")
            error = current.error
            if error is None:
                self._try_canary(current)
                if self._current is current:
                    return current.session
            elif self._reloaded or not self._survive:
                self._budget.skip()
                raise error if isinstance(error, Exception) else Unanswered(one_line(error, named=True))
            else:
                self._record.fault(f"loading failed: {one_line(error, named=True)}; trying again")
                self._reload()

    def succeeded(self) -> None:
        """The engine worked on a problem: failures before it no longer count."""
        self._failed_in_a_row = 0

    def failed(self, reason: str = "") -> None:
        """Count a problem on which the engine failed; after `DEAD_AFTER` in a row, reload it."""
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= DEAD_AFTER:
            self._reload_if_worth_it(reason or f"{self._failed_in_a_row} problems in a row failed")

    def begin_pass(self, unvoted: int) -> None:
        """The problems are asked again, `unvoted` of them without a vote so far: one more reload is allowed."""
        self._reloaded = False
        if unvoted and self._failed_in_a_row >= DEAD_AFTER:
            self._reload_if_worth_it(f"the last {self._failed_in_a_row} problems of the pass before failed")

    def _try_canary(self, current: SessionThread) -> None:
        """Try a freshly loaded session on a problem with a known answer, once; a dead one is replaced."""
        seconds = seconds_for(self._budget.left)
        if not self._canary or self._canary_tried_on is current or seconds is None:
            return
        self._canary_tried_on = current
        canary = try_canary(current.session, seconds, self._patience)
        self._record.tried(canary.line())
        if canary.dead:
            # A canary is easy enough to prove the engine dead on its own. Where a reload is not worth it, the count stays
            # at DEAD_AFTER, so the next problem that fails decides again.
            self._failed_in_a_row = DEAD_AFTER - 1
            self.failed(f"the canary failed ({canary.fault})")

    def _reload_if_worth_it(self, reason: str) -> None:
        """Reload once a pass, and only where the budget outlasts twice the time that the first load took."""
        if self._reloaded or self._current is None or self._budget.left <= 2 * self._current.seconds:
            return
        self._record.fault(f"{reason}: engine and sandbox are loaded again")
        self._reload()

    def _reload(self) -> None:
        self._reloaded, self._failed_in_a_row = True, 0
        self._current = SessionThread(self._opener, after=self._current)
