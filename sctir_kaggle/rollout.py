"""One candidate: generate, execute what it wrote, append the output, until it has answered or is out of turns."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from sctir_kaggle.answers import Reading, read_answer
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.prompt import CLOSE_BOX, FORCED_BOX, OUTPUT_FENCE, last_code_block, output_block, render
from sctir_kaggle.types import (
    Completion,
    Cut,
    Engine,
    EngineError,
    Executor,
    ExecutorError,
    Problem,
    PromptTooLong,
    SamplingParams,
    Trace,
    TraceStatus,
    Turn,
)


def seed_for(seed: int, request_id: str) -> int:
    """A 63-bit seed for one request: without it, all candidates of a run would sample the same text."""
    digest = hashlib.blake2b(f"{seed}/{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Rollout:
    """Candidate number `candidate` of `problem`. Its trace so far can be taken at any time, also after a cancellation."""

    def __init__(
        self,
        problem: Problem,
        candidate: int,
        *,
        engine: Engine,
        executor: Executor,
        config: SolverConfig,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.candidate_id = f"{problem.id}/{candidate}"
        self._problem = problem
        self._candidate = candidate
        self._engine = engine
        self._executor = executor
        self._config = config
        self._deadline = deadline
        self._clock = clock
        self._started = clock()
        self._turns: list[Turn] = []
        self._reading = Reading()
        self._begun: Cut | None = None
        self._begun_at = self._started

    async def run(self) -> Trace:
        """The candidate from its first turn to its end. What goes wrong with it is in the trace; a bug raises."""
        try:
            return self.trace(await self._solve())
        except PromptTooLong as error:
            return self.trace(TraceStatus.OUT_OF_CONTEXT, detail=str(error))
        except (EngineError, ExecutorError) as error:
            return self.trace(TraceStatus.FAILED, detail=f"{type(error).__name__}: {error}")
        finally:
            self._executor.release(self.candidate_id)

    def trace(self, status: TraceStatus, *, detail: str = "") -> Trace:
        """The trace of the turns so far, ended for the reason `status`."""
        vote = self._reading.answer if status is TraceStatus.ANSWERED else None
        cut = self._cut() if status in (TraceStatus.CANCELLED, TraceStatus.FAILED) else None
        seconds = self._clock() - self._started
        return Trace(self._candidate, tuple(self._turns), status, vote, self._reading.boxed, detail, seconds, cut)

    def _begin(self, begun: Cut) -> None:
        """Remember what is being done, for the case that it is cut short."""
        self._begun, self._begun_at = begun, self._clock()

    def _cut(self) -> Cut | None:
        return self._begun and replace(self._begun, seconds=self._clock() - self._begun_at)

    async def _solve(self) -> TraceStatus:
        for _ in range(max(1, self._config.turns)):
            turn = await self._take_turn()
            if self._reading.answer is not None:
                return TraceStatus.ANSWERED
            if turn.execution is None:
                break
        if not self._may_force():
            return self._unanswered()
        await self._take_turn(prefix=FORCED_BOX)
        return TraceStatus.EXHAUSTED if self._reading.answer is None else TraceStatus.ANSWERED

    async def _take_turn(self, prefix: str = "") -> Turn:
        """Generate, and execute the code that it ends with, if any. A turn that opens the box only reads the answer."""
        request_id = f"{self.candidate_id}/{len(self._turns)}"
        started = self._clock()
        prompt = render(self._problem, self._turns, prefix=prefix)
        self._begin(Cut(request_id, "generating"))
        completion = await self._engine.generate(prompt, self._params(request_id, prefix), request_id=request_id)
        turn = Turn(completion, prefix, generate_seconds=self._clock() - started)
        reading = self._read(turn)
        code = None if prefix or self._config.turns == 0 else last_code_block(completion.text)
        if code is not None and reading.answer is None:
            turn = await self._execute(turn, code, request_id)
        self._turns.append(turn)
        self._reading, self._begun = reading, None
        return turn

    async def _execute(self, turn: Turn, code: str, request_id: str) -> Turn:
        turn = replace(turn, code=code)
        self._begin(Cut(request_id, "executing", turn))
        result = await self._executor.execute(code, request_id=request_id, deadline=self._deadline)
        block = output_block(turn.completion.text, result, limit=self._config.output_chars)
        return replace(turn, execution=result, bridge=(block,))

    def _params(self, request_id: str, prefix: str) -> SamplingParams:
        config = self._config
        return SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty,
            max_tokens=config.force_tokens if prefix else config.max_tokens,
            stop=(CLOSE_BOX,) if prefix else (OUTPUT_FENCE,) if config.turns else (),
            seed=seed_for(config.seed, request_id),
        )

    def _read(self, turn: Turn) -> Reading:
        """The answer in this turn's text. Only a candidate that has ended by itself may state it without a box."""
        config = self._config
        return read_answer(
            turn.prefix + turn.completion.text,
            modulus=config.modulus,
            lowest=config.lowest,
            highest=config.highest,
            allow_stated=_ended_by_itself(turn.completion),
        )

    def _may_force(self) -> bool:
        """It ran code and either has turns no more or stopped without a box: its last tokens may still be an answer."""
        ran = any(turn.execution is not None for turn in self._turns)
        return self._config.force_answer and ran and self._reading.boxed is None

    def _unanswered(self) -> TraceStatus:
        last = self._turns[-1]
        if _context_ended(last.completion, self._config.max_tokens):
            return TraceStatus.OUT_OF_CONTEXT
        return TraceStatus.EXHAUSTED if last.execution is not None else TraceStatus.PRUNED


def _ended_by_itself(completion: Completion) -> bool:
    return completion.finish_reason == "stop" and completion.stop_reason is None


def _context_ended(completion: Completion, max_tokens: int) -> bool:
    """Cut short of what was asked for: only the end of the context does that."""
    return completion.finish_reason == "length" and completion.tokens < max_tokens
