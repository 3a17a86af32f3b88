"""One candidate: generate, execute what it wrote, append the output, until it has answered or is out of turns."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from sctir_kaggle.answers import Reading, read_answer
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.reading import Written, read_turn
from sctir_kaggle.dialects.rendering import bridge, opened_box, render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.types import (
    Engine,
    EngineError,
    ExecutionResult,
    ExecutionStatus,
    Executor,
    ExecutorError,
    PartialTurn,
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
        dialect: Dialect = NUMINA,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.candidate_id = f"{problem.id}/{candidate}"
        self._problem = problem
        self._candidate = candidate
        self._engine = engine
        self._executor = executor
        self._config = config
        self._dialect = dialect
        self._deadline = deadline
        self._clock = clock
        self._started = clock()
        self._turns: list[Turn] = []
        self._reading = Reading()
        self._written = Written()
        self._begun: PartialTurn | None = None
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

    def _begin(self, begun: PartialTurn) -> None:
        """Remember what is being done, for the case that it is cut short."""
        self._begun, self._begun_at = begun, self._clock()

    def _cut(self) -> PartialTurn | None:
        return self._begun and replace(self._begun, seconds=self._clock() - self._begun_at)

    async def _solve(self) -> TraceStatus:
        for number in range(max(1, self._config.turns)):
            turn = await self._take_turn()
            if self._reading.answer is not None:
                return TraceStatus.ANSWERED
            if turn.execution is None and not self._restarted(number):
                break
        if self._turns[-1].execution is not None and self._dialect.closing_turn:
            await self._take_turn(runs_code=False)
        if self._reading.answer is None and self._may_force():
            await self._take_turn(prefix=self._opened_box(), runs_code=False)
        return self._unanswered() if self._reading.answer is None else TraceStatus.ANSWERED

    async def _take_turn(self, *, prefix: str = "", runs_code: bool = True) -> Turn:
        """Generate, and execute the code that was written, if any and if it may run; else read the answer."""
        runs_code = runs_code and self._runs_code
        request_id = f"{self.candidate_id}/{len(self._turns)}"
        started = self._clock()
        prompt = render(self._dialect, self._problem, self._turns, prefix=prefix)
        self._begin(PartialTurn(request_id, "generating"))
        params = self._params(request_id, forced=bool(prefix), runs_code=runs_code)
        completion = await self._engine.generate(prompt, params, request_id=request_id)
        turn = Turn(completion, prefix, generate_seconds=self._clock() - started)
        self._written = read_turn(self._dialect, self._turns, completion, last_block=self._config.blocks == "last")
        reading = self._read(turn)
        if runs_code and self._written.wrote_code:
            turn = await self._execute(turn, request_id)
        self._turns.append(turn)
        self._reading, self._begun = reading, None
        return turn

    async def _execute(self, turn: Turn, request_id: str) -> Turn:
        code, fault = self._written.code, self._written.fault
        turn = replace(turn, code=code or "")
        self._begin(PartialTurn(request_id, "executing", turn))
        if code is None:
            result = ExecutionResult(str(fault), ExecutionStatus.ERROR)
        else:
            result = await self._executor.execute(code, request_id=request_id, deadline=self._deadline)
        ran = 1 + sum(earlier.execution is not None for earlier in self._turns)
        left, limit, clip = self._config.turns - ran, self._config.output_chars, self._config.output_clip
        appended = bridge(self._dialect, turn.completion, result, left=left, limit=limit, clip=clip)
        return replace(turn, execution=result, bridge=appended)

    @property
    def _runs_code(self) -> bool:
        return self._config.turns > 0 and self._dialect.runs_code

    def _params(self, request_id: str, *, forced: bool, runs_code: bool) -> SamplingParams:
        config, dialect = self._config, self._dialect
        return SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty,
            max_tokens=config.force_tokens if forced else config.max_tokens,
            stop=(dialect.force_stop,) if forced else dialect.stop if runs_code else (),
            stop_token_ids=dialect.stop_token_ids,
            seed=seed_for(config.seed, request_id),
        )

    def _read(self, turn: Turn) -> Reading:
        """The answer that this turn may end the candidate with.

        None beside code of the same turn: where the code is run, the model has to read its output first, and where it is
        not, an answer behind it rests on an output that the model made up. None in open thinking, and none in a turn that
        its token limit cut: those are drafts. Only a candidate that has ended by itself may state it without a box.
        """
        config, completion, written = self._config, turn.completion, self._written
        draft = completion.finish_reason == "length" or (self._runs_code and written.wrote_code)
        if draft and not turn.prefix:
            return Reading()
        return read_answer(
            turn.prefix + completion.text if turn.prefix else written.final,
            modulus=config.modulus,
            lowest=config.lowest,
            highest=config.highest,
            allow_stated=completion.ended_by_token,
        )

    def _restarted(self, number: int) -> bool:
        """Begin again from the bare prompt, where the settings say so: the last turn is kept, and no longer shown."""
        if not self._config.restart or number + 1 >= self._config.turns or self._reading.boxed is not None:
            return False
        self._turns[-1] = replace(self._turns[-1], restarted=True)
        return True

    def _may_force(self) -> bool:
        """It ran code and has no box, or is a thinker that its token limit cut."""
        ran = any(turn.execution is not None for turn in self._turns)
        cut = self._turns[-1].completion.finish_reason == "length" and not self._out_of_context
        thinks = bool(self._dialect.think_end) or self._dialect.code == "harmony"
        may = self._config.force_answer and bool(self._dialect.force) and self._reading.boxed is None
        return may and (ran or (cut and thinks))

    def _opened_box(self) -> str:
        begins = bool(self._turns[-1].bridge and self._dialect.turn_end)
        thinking = self._dialect.thinks_first if begins else self._written.thinking
        return opened_box(self._dialect, self._turns, thinking=thinking)

    @property
    def _out_of_context(self) -> bool:
        """Cut short of what was asked for: only the end of the context does that."""
        last = self._turns[-1].completion
        return last.finish_reason == "length" and last.tokens < self._config.max_tokens

    def _unanswered(self) -> TraceStatus:
        ran = sum(turn.execution is not None for turn in self._turns)
        if self._turns[-1].prefix:
            return TraceStatus.EXHAUSTED
        if self._out_of_context:
            return TraceStatus.OUT_OF_CONTEXT
        return TraceStatus.EXHAUSTED if ran and ran >= self._config.turns else TraceStatus.PRUNED
