"""Candidates of a model in training, sampled by the solver: turns, stop strings, dialect and sandbox as at inference.

What the trainer gets is what the engine saw, token for token. A sequence is put together from the records of the engine:
the prompt of a turn contains what was sampled before it, and what it adds to that (outputs, the box that the solver opens)
the model only reads. Nothing is decoded and encoded again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.recipes.train.live_engine import Sampled
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Engine, EngineError, ExecutionStatus, Executor, Problem, Trace, TraceStatus

UNFINISHED = {TraceStatus.CANCELLED, TraceStatus.FAILED}


class RecordingEngine(Engine, Protocol):
    """An engine that keeps what it sampled, the record of every finished request by its id."""

    tokenizer: Tokenizer
    sampled: dict[str, Sampled]


OpenEngine = Callable[[], AbstractContextManager[RecordingEngine]]
"""Opens an engine over the weights as they are now, and closes it."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """One candidate as token ids: `prompt` [P] and `completion` [C], with `written` [C], 1 where the model sampled the token
    and 0 where it only read it, and `log_probabilities` [C] of the sampling, 0 where it only read."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    written: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate of a step. `sampled` are the engine's records of its turns.

    `counts`: whether it says something about the model. Cancelled and failed ones do not, nor does one without a token:
    they have no reward, are in no baseline, and none of their tokens is learned.
    """

    problem: Problem
    trace: Trace
    sampled: tuple[Sampled, ...]
    sequence: Sequenced
    counts: bool

    @property
    def is_right(self) -> bool:
        """Whether its answer is the reference."""
        return self.trace.answer == self.problem.answer

    @property
    def is_wrong(self) -> bool:
        """Whether it answered, and not with the reference."""
        return self.trace.answer is not None and not self.is_right

    @property
    def ran_code(self) -> bool:
        """Whether a block of its code ran to its end without an error."""
        ran = (turn.execution for turn in self.trace.turns)
        return any(one is not None and one.status is ExecutionStatus.OK for one in ran)


def sequenced(sampled: Sequence[Sampled]) -> Sequenced:
    """Put the turns of a candidate together into one sequence.

    Each prompt begins with the one before it and what was sampled there. Where it does not to the last token, the rest is
    replaced by what the prompt has: the token that ended a turn is not sent again in dialects whose output stands in the same
    message, and a token in which a stop string ends is encoded again. What is learned is then the sampled tokens before.
    """
    ids, written, logs = list(sampled[0].prompt), [0] * len(sampled[0].prompt), [0.0] * len(sampled[0].prompt)
    for turn in sampled:
        same = next((at for at, pair in enumerate(zip(ids, turn.prompt)) if pair[0] != pair[1]), None)  # noqa: B905
        same = min(len(ids), len(turn.prompt)) if same is None else same
        read, wrote = len(turn.prompt) - same, len(turn.ids)
        ids[same:] = [*turn.prompt[same:], *turn.ids]
        written[same:] = [0] * read + [1] * wrote
        logs[same:] = [0.0] * read + list(turn.log_probabilities)
    start = len(sampled[0].prompt)
    return Sequenced(tuple(ids[:start]), tuple(ids[start:]), tuple(written[start:]), tuple(logs[start:]))


class Rollouts:
    """Samples the candidates of a step; `last` are those of the last one, in the trainer's order."""

    def __init__(
        self,
        problems: Iterable[Problem],
        config: SolverConfig,
        dialect: Dialect,
        executor: Executor,
        loop: BackgroundLoop,
        *,
        end: int,
        seconds: float,
    ) -> None:
        """`config.candidates` must be 1. `end` is a token's id, which stands for a candidate without tokens.

        After `seconds` the candidates of a step that have not ended are cancelled.
        """
        self.problems: Mapping[str, Problem] = {problem.id: problem for problem in problems}
        self.last: list[Candidate] = []
        self._config, self._dialect, self._executor, self._loop = config, dialect, executor, loop
        self._end, self._seconds = end, seconds

    def sample(self, names: Sequence[str], open_engine: OpenEngine, *, first: int) -> list[Candidate]:
        """Sample one candidate for each id of a problem in `names`, numbered from `first`: their seeds follow from that.

        Raises `EngineError` where all of them failed.
        """
        with open_engine() as engine:
            solver = Solver(engine, self._executor, self._config, dialect=self._dialect)
            self.last = self._loop.run(self._all(solver, engine, [self.problems[name] for name in names], first))
        if not any(one.counts for one in self.last):
            details = (one.trace.detail or f"not ended after {self._seconds:g} s" for one in self.last)
            raise EngineError(f"none of the {len(self.last)} candidates of a step can be learned from: {next(details)}")
        return self.last

    async def _all(
        self, solver: Solver, engine: RecordingEngine, problems: Sequence[Problem], first: int
    ) -> list[Candidate]:
        deadline = time.monotonic() + self._seconds
        work = (self._one(solver, engine, problem, first + at, deadline) for at, problem in enumerate(problems))
        return list(await asyncio.gather(*work))

    async def _one(
        self, solver: Solver, engine: RecordingEngine, problem: Problem, number: int, deadline: float
    ) -> Candidate:
        [trace] = (await solver.solve(problem, deadline=deadline, first=number)).traces
        ids = [f"{problem.id}/{number}/{turn}" for turn in range(len(trace.turns))]
        sampled = tuple(engine.sampled[one] for one in ids)
        if not sampled:
            empty = Sequenced(engine.tokenizer.encode((problem.text,)), (self._end,), (0,), (0.0,))
            return Candidate(problem, trace, (), empty, counts=False)
        sequence = sequenced(sampled)
        if trace.status in UNFINISHED:
            unread = (0,) * len(sequence.written)
            sequence = Sequenced(sequence.prompt, sequence.completion, unread, sequence.log_probabilities)
        return Candidate(problem, trace, sampled, sequence, counts=trace.status not in UNFINISHED)
