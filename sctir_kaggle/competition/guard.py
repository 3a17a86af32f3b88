"""The competition's edge: an id and a text go in, an integer in the competition's range comes out, in time, whatever happens.

Covered: an engine that fails while it is loaded, for the canary, for a problem, or for good (it is loaded a second time,
once in each pass over the problems); an engine, a sandbox or an event loop that hangs; a bug; nonsense in place of a
problem; an answer out of range; a clock that has run out. Each is a fault in the record. A problem that is asked again is
answered from its vote; where it has none, it is solved again with the time that is left. Not covered: a C call that never
gives the interpreter lock back, and a process that is killed.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sctir_kaggle.background import in_thread
from sctir_kaggle.budget import Budget, Deadlines
from sctir_kaggle.competition.canary import seconds_for, try_canary
from sctir_kaggle.competition.fields import Unreadable, id_text, name_of, text_of
from sctir_kaggle.competition.health import trouble
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.competition.record import RunRecord
from sctir_kaggle.types import Problem, SolveResult, Vote, one_line

if TYPE_CHECKING:
    from sctir_kaggle.session import Session


Opener = Callable[[], AbstractContextManager["Session"]]

CLOSE_SECONDS = 30.0
"""How long the session that is replaced may take to free its GPUs."""


class Loading:
    """Begins at once. The thread that opened the session keeps it open and closes it: it is the parent of its processes."""

    def __init__(self, opener: Opener, after: Loading | None = None) -> None:
        self._opener = opener
        self._after = after
        self._over = threading.Event()
        self._session: Future[Session] = Future()
        self._began = time.monotonic()
        self.seconds = 0.0
        """How long it took, once it is loaded."""
        self._thread = threading.Thread(target=self._live, name="sctir-session", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, well or not, within so many seconds."""
        return bool(wait({self._session}, timeout=max(0.0, seconds)).done)

    @property
    def error(self) -> BaseException | None:
        """Why there is no session; only after the wait."""
        return self._session.exception()

    @property
    def session(self) -> Session:
        """The session; only after the wait and without an error."""
        return self._session.result()

    def close(self, seconds: float = 0.0) -> None:
        """Ask for the end, and wait so many seconds for it; not for a load that has not ended, which ends with the process."""
        self._over.set()
        if self._session.done():
            self._thread.join(seconds)

    def _live(self) -> None:
        if self._after is not None:
            self._after.close(CLOSE_SECONDS)
            self._after = None
        try:
            with self._opener() as session:
                self.seconds = time.monotonic() - self._began
                self._session.set_result(session)
                self._over.wait()
        except BaseException as error:  # whoever waits must be told, whatever it is
            if not self._session.done():
                self._session.set_exception(error)


LOADING_PART = 0.5
"""The part of the time left for which a problem waits for the engine. A default costs the problem and gains no time: the
next one would wait instead. So it is the larger part of a load that ends, and an end to one that never does."""

DEAD_AFTER = 2
"""Problems in a row that fail before the engine is loaded a second time."""

ERROR_CHARS = 2000
"""What is raised in the editor is cut to this: gRPC hides a text of over 8 kB."""

log = logging.getLogger("sctir_kaggle")


class Unanswered(RuntimeError):
    """A problem gets the default for a reason that is no bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the edge holds to, besides the budget."""

    default: int
    """The answer where there is none."""

    patience: float
    """Seconds that it waits beyond a problem's last deadline; the solver's own grace is part of it."""

    survive: bool
    """Whether a bug costs its problem alone, as in a rerun. In the editor it is raised: a dry run is there to find it."""

    canary: bool = False
    """Whether a problem with a known answer is tried before the first one, as in a rerun."""


class FailsafePredictor:
    """Thread-safe: calls are answered one after the other. `references` are known answers by text, for the record alone."""

    def __init__(
        self,
        profile: Profile,
        opener: Opener,
        budget: Budget,
        record: RunRecord,
        limits: Limits,
        *,
        references: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profile = profile
        self._opener = opener
        self._budget = budget
        self._record = record
        self._limits = limits
        self._references = references or {}
        self._clock = clock
        self._turn = threading.Lock()
        self._loading: Loading | None = None
        self._loaded_again = False
        self._tried: Loading | None = None
        self._asked = 0
        self._in_this_pass: list[str] = []
        self._failed_in_a_row = 0

    def start(self) -> None:
        """Begin to load, in a thread; else the first problem does."""
        if self._loading is None:
            self._loading = Loading(self._opener)

    def close(self, seconds: float) -> None:
        """End what was loaded; not longer than `seconds`."""
        if self._loading is not None:
            self._loading.close(seconds)

    def solve(self, id_: object, text: object) -> SolveResult:
        """The problem in `id_` and `text` (a Series, a frame, a plain value), with an answer in range.

        In the editor (`Limits.survive` is False) an error of the engine or a bug is raised, its text cut.
        """
        with self._turn:
            self._asked += 1
            called = self._clock()
            problem = Problem(f"problem-{self._asked}", "")
            try:
                problem = replace(problem, id=id_text(id_) or problem.id)
                problem = self._read(id_, text)
                if known := self._voted(problem):
                    return known
                return self._in_range(self._solved(problem, called))
            except (
                Exception
            ) as error:  # the one broad except of the package: one bad problem must not cost the submission
                self._note(error, problem)
                if not (self._limits.survive or isinstance(error, (Unanswered, Unreadable))):
                    raise _cut(error) from None
                return self._default(problem, called)

    def _read(self, id_: object, text: object) -> Problem:
        read = text_of(text, "problem")
        return Problem(name_of(id_text(id_), read, self._record.results), read, self._references.get(read))

    def _voted(self, problem: Problem) -> SolveResult | None:
        """The result of a problem that is asked again and has a vote. One without is opened for another."""
        again, known = problem.id in self._in_this_pass, self._record.results.get(problem.id)
        if again and (self._in_this_pass[-1] != problem.id or not self._budget.problems_left):
            self._begin_pass()
        self._in_this_pass.append(problem.id)
        if known is None:
            return None
        if known.fallback:
            self._record.reopen(problem.id)
            return None
        if not again:
            self._budget.skip()  # an earlier run solved it
        return known

    def _begin_pass(self) -> None:
        """The problems are asked again: what is left is for those without a vote, and the engine may be loaded again."""
        unvoted = sum(result.fallback for result in self._record.results.values())
        self._in_this_pass.clear()
        self._budget.replan(unvoted)
        self._loaded_again = False
        if unvoted and self._failed_in_a_row >= DEAD_AFTER:
            self._load_again_if_worth_it(f"the last {self._failed_in_a_row} problems of the pass before failed")

    def _solved(self, problem: Problem, called: float) -> SolveResult:
        """What the session says; the wait for it ends `patience` after the last deadline."""
        loaded = self._loaded(called)
        limits, earlier = self._deadlines(called), self._record.results.get(problem.id)
        work = in_thread(lambda: loaded.session.solve(problem, limits, again=True), "sctir-problem")
        seconds = limits.hard + self._limits.patience - self._clock()
        if not wait({work}, timeout=max(0.0, seconds)).done:
            self._failed()
            raise Unanswered(f"the solver did not come back within {self._limits.patience:g} s of its deadline")
        if work.exception() is not None:
            self._failed()
        return self._judged(work.result(), len(earlier.traces) if earlier else 0)

    def _loaded(self, called: float) -> Loading:
        """What was loaded, once it is; loaded a second time where the first failed. Raises where there is none in time."""
        until = called + min(LOADING_PART * self._budget.left, self._last(called) - called)
        while True:
            self.start()
            assert self._loading is not None
            loading = self._loading
            if not loading.wait(until - self._clock()):
                self._budget.skip()
                raise Unanswered(f"the engine is still loading, {self._clock() - called:.0f} s after the call")
            error = loading.error
            if error is None and self._stands(loading):
                return loading
            if error is not None and (self._loaded_again or not self._limits.survive):
                self._budget.skip()
                raise error if isinstance(error, Exception) else Unanswered(one_line(error, named=True))
            if error is not None:
                self._record.fault(f"loading failed: {one_line(error, named=True)}; trying again")
                self._load_again()

    def _stands(self, loading: Loading) -> bool:
        """Whether what was loaded is to be used: tried on the canary once, it may be loaded a second time instead."""
        seconds = seconds_for(self._budget.left)
        if not self._limits.canary or self._tried is loading or seconds is None:
            return True
        self._tried = loading
        canary = try_canary(loading.session, seconds, self._limits.patience)
        self._record.tried(canary.line())
        if canary.dead:
            self._failed_in_a_row = DEAD_AFTER - 1
            self._failed(f"the canary failed ({canary.fault})")
        return self._loading is loading

    def _deadlines(self, called: float) -> Deadlines:
        limits, last = self._budget.next_deadlines(), self._last(called)
        return Deadlines(min(limits.soft, last), min(limits.hard, last))

    def _last(self, called: float) -> float:
        """By when the gateway wants its answer, less the patience. Its first call has no limit."""
        limit = self._profile.prediction_seconds
        if limit is None or self._asked == 1:
            return math.inf
        return called + max(0.0, limit - 2 * self._limits.patience)

    def _judged(self, result: SolveResult, earlier: int) -> SolveResult:
        """Notes what went wrong in a result without a vote, and remembers whether it was the engine.

        So many of its traces are `earlier` ones, which have the highest numbers and were judged in their pass.
        """
        new = len(result.traces) - earlier
        reason, dead = trouble(replace(result, traces=tuple(each for each in result.traces if each.candidate < new)))
        if reason:
            self._record.fault(reason, result.problem.id)
        if dead:
            self._failed()
        elif result.traces:
            self._failed_in_a_row = 0
        return result

    def _failed(self, reason: str = "") -> None:
        """One more in a row. Dead for good, it is loaded a second time."""
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= DEAD_AFTER:
            self._load_again_if_worth_it(reason or f"{self._failed_in_a_row} problems in a row failed")

    def _load_again_if_worth_it(self, reason: str) -> None:
        """Once a pass, and if time is left to use it."""
        if self._loaded_again or self._loading is None or self._budget.left <= 2 * self._loading.seconds:
            return
        self._record.fault(f"{reason}: engine and sandbox are loaded again")
        self._load_again()

    def _load_again(self) -> None:
        self._loaded_again, self._failed_in_a_row = True, 0
        self._loading = Loading(self._opener, after=self._loading)

    def _in_range(self, result: SolveResult) -> SolveResult:
        if not self._profile.in_range(result.answer):
            answer = str(result.answer)[:40]
            raise Unanswered(f"{answer} is not in {self._profile.lowest}..{self._profile.highest}")
        return result

    def _default(self, problem: Problem, called: float) -> SolveResult:
        seconds = self._clock() - called
        result = SolveResult(problem, self._limits.default, Vote(), (), "error", fallback=True, seconds=seconds)
        settled = self._record.settle(result)
        return settled if self._profile.in_range(settled.answer) else result

    def _note(self, error: Exception, problem: Problem) -> None:
        self._record.fault(f"{one_line(error, named=True)}; the answer is {self._limits.default}", problem.id)
        log.debug("problem %s", problem.id, exc_info=error)


def _cut(error: Exception) -> Exception:
    """The error, or its text where it is long: bytes count, and gRPC makes three of each that is not plain."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return error if len(text) <= ERROR_CHARS else RuntimeError(f"{type(error).__name__}: {text[:ERROR_CHARS]} ...")
