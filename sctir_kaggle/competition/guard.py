"""Always return an in-range integer before the deadline: the guard between a competition's API and the solver.

Covered, each as a fault in the record: an engine that fails while it is loaded, for a problem, or for good (`lifecycle`
loads it a second time); an engine, a sandbox or an event loop that hangs; a bug; nonsense in place of a problem; an answer
out of range; a budget that has run out. A problem that is asked again is answered from its vote; one without a vote is
solved again with the time that is left. Not covered: a C call that never releases the interpreter lock, and a process that
is killed.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, replace

from sctir_kaggle.background import in_thread
from sctir_kaggle.budget import Budget, Deadlines
from sctir_kaggle.competition.fields import Unreadable, id_text, name_of, text_of
from sctir_kaggle.competition.health import trouble
from sctir_kaggle.competition.lifecycle import Opener, SessionLifecycle, Unanswered
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.competition.record import RunRecord
from sctir_kaggle.types import Answer, Problem, SolveResult, Vote, one_line

log = logging.getLogger("sctir_kaggle")

LOADING_PART = 0.5
"""The share of the remaining budget for which one problem waits for the engine.

A default answer costs the problem and gains no time, since the next problem would have to wait instead: so it is a large
share. It is not all of the budget, since a load that never ends must not keep the other problems from their answers.
"""

ERROR_CHARS = 2000
"""An error raised in the editor is cut to so many characters: gRPC hides a text of over 8 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the guard holds to, besides the budget."""

    default: int
    """The answer where there is none."""

    patience: float
    """Seconds to wait beyond a problem's hard deadline; the solver's own grace is part of them."""

    survive: bool
    """Whether a bug costs its problem alone, as in a rerun. In the editor it is raised: a dry run is there to find it."""

    canary: bool = False
    """Whether a problem with a known answer is tried before the first real one, as in a rerun."""


class FailsafePredictor:
    """Answer every call of the competition's API, in time and in range. Thread-safe: one call at a time is answered.

    `opener` opens the session that solves. `references` are known answers by problem text; they go into the record and
    change no answer. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        profile: Profile,
        opener: Opener,
        budget: Budget,
        record: RunRecord,
        limits: Limits,
        *,
        references: Mapping[str, Answer] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profile = profile
        self._budget = budget
        self._record = record
        self._limits = limits
        self._references = references or {}
        self._clock = clock
        self._lifecycle = SessionLifecycle(
            opener,
            budget,
            record,
            survive=limits.survive,
            canary=limits.canary,
            patience=limits.patience,
            clock=clock,
        )
        self._turn = threading.Lock()
        self._asked = 0
        self._in_this_pass: list[str] = []

    def start(self) -> None:
        """Begin to load engine and sandbox in a thread; without it the first problem does."""
        self._lifecycle.start()

    def close(self, seconds: float) -> None:
        """Close engine and sandbox, for at most `seconds`."""
        self._lifecycle.close(seconds)

    def solve(self, id_: object, text: object) -> SolveResult:
        """Solve the problem in `id_` and `text` (each a Series, a frame or a plain value); the answer is in range.

        Raises nothing in a rerun. In the editor (`Limits.survive` is False) an error of the engine or a bug is raised,
        its text cut to `ERROR_CHARS`.
        """
        with self._turn:
            self._asked += 1
            called = self._clock()
            problem = Problem(f"problem-{self._asked}", "")  # the name in the record where the id cannot be read
            try:
                problem = replace(problem, id=id_text(id_) or problem.id)
                problem = self._read(id_, text)
                return self._recall(problem) or self._in_range(self._solve(problem, called))
            # The one broad except of the package: one bad problem must not cost the submission.
            except Exception as error:
                self._record.fault(f"{one_line(error, named=True)}; the answer is {self._limits.default}", problem.id)
                log.debug("problem %s", problem.id, exc_info=error)
                if not (self._limits.survive or isinstance(error, (Unanswered, Unreadable))):
                    raise _cut(error) from None
                return self._default(problem, called)

    def _read(self, id_: object, text: object) -> Problem:
        read = text_of(text, "problem")
        return Problem(name_of(id_text(id_), read, self._record.results), read, self._references.get(read))

    def _recall(self, problem: Problem) -> SolveResult | None:
        """The earlier result of a problem that has a vote. One without a vote is opened to be solved again."""
        again, known = problem.id in self._in_this_pass, self._record.results.get(problem.id)
        # A gateway may ask for all problems a second time (AIMO-3 has two private runs). The same problem twice in a row
        # is a retry of the call; a repeat after others, or after the last problem, begins a new pass.
        if again and (self._in_this_pass[-1] != problem.id or not self._budget.problems_left):
            self._begin_pass()
        self._in_this_pass.append(problem.id)
        if known is None:
            return None
        if known.fallback:
            self._record.reopen(problem.id)
            return None
        if not again:
            self._budget.skip()  # solved by an earlier, resumed run: its share goes to the others
        return known

    def _begin_pass(self) -> None:
        """Give what is left of the budget to the problems without a vote."""
        unvoted = sum(result.fallback for result in self._record.results.values())
        self._in_this_pass.clear()
        self._budget.replan(unvoted)
        self._lifecycle.begin_pass(unvoted)

    def _solve(self, problem: Problem, called: float) -> SolveResult:
        """Solve in another thread, so that a solver that hangs can be left behind `patience` after its deadline."""
        latest = self._latest(called)
        session = self._lifecycle.session(called, called + min(LOADING_PART * self._budget.left, latest - called))
        planned = self._budget.next_deadlines()  # only now: loading has taken its part of the budget
        limits = Deadlines(min(planned.soft, latest), min(planned.hard, latest))
        earlier = self._record.results.get(problem.id)
        work = in_thread(lambda: session.solve(problem, limits, again=True), "sctir-problem")
        seconds = limits.hard + self._limits.patience - self._clock()
        if not wait({work}, timeout=max(0.0, seconds)).done:
            self._lifecycle.failed()
            raise Unanswered(f"the solver did not come back within {self._limits.patience:g} s of its deadline")
        if work.exception() is not None:
            self._lifecycle.failed()
        result = work.result()
        self._judge(result, len(earlier.traces) if earlier else 0)
        return result

    def _latest(self, called: float) -> float:
        """By when (monotonic seconds) the solver must have answered for the gateway to get its answer in time.

        The gateway's first call has no limit, on either version of the API.
        """
        limit = self._profile.prediction_seconds
        if limit is None or self._asked == 1:
            return math.inf
        return called + max(0.0, limit - 2 * self._limits.patience)

    def _judge(self, result: SolveResult, earlier: int) -> None:
        """Record why a result has no vote, and tell the lifecycle whether the engine worked.

        The last `earlier` candidates come from a previous pass and were judged there.
        """
        new = len(result.traces) - earlier
        reason, dead = trouble(replace(result, traces=tuple(each for each in result.traces if each.candidate < new)))
        if reason:
            self._record.fault(reason, result.problem.id)
        if dead:
            self._lifecycle.failed()
        elif result.traces:
            self._lifecycle.succeeded()

    def _in_range(self, result: SolveResult) -> SolveResult:
        if not self._profile.in_range(result.answer):
            answer = str(result.answer)[:40]
            raise Unanswered(f"{answer} is not in {self._profile.lowest}..{self._profile.highest}")
        return result

    def _default(self, problem: Problem, called: float) -> SolveResult:
        """The default answer, or what a session that was given up on found in the meantime."""
        seconds = self._clock() - called
        result = SolveResult(problem, self._limits.default, Vote(), (), "error", fallback=True, seconds=seconds)
        settled = self._record.settle(result)
        return settled if self._profile.in_range(settled.answer) else result


def _cut(error: Exception) -> Exception:
    """The error, or a RuntimeError with the beginning of its text; gRPC sends three bytes for each that is not ASCII."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return error if len(text) <= ERROR_CHARS else RuntimeError(f"{type(error).__name__}: {text[:ERROR_CHARS]} ...")
