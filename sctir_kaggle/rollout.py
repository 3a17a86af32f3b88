"""One candidate: generate, read, execute the code, append its output; until it has answered or its turns are used up.

`Rollout.run` is the loop, `Rollout.step` one turn of it. What a candidate knows is a list of turns that only grows: the
next prompt, the answer and the saved trace are all derived from it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace

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
    """Derive the seed of one request, 63 bits. With one seed for all, every candidate would sample the same text.

    >>> seed_for(0, "p/0/0") == seed_for(0, "p/0/0"), seed_for(0, "p/0/0") == seed_for(0, "p/1/0")
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}/{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(eq=False)
class Rollout:
    """Candidate number `candidate` of `problem`. `trace` may be taken at any time, also after a cancellation.

    `deadline` is absolute, in seconds on `clock`; it bounds executions. The solver cancels the rollout by then.
    """

    problem: Problem
    candidate: int
    _: KW_ONLY
    engine: Engine
    executor: Executor
    config: SolverConfig
    deadline: float
    dialect: Dialect = NUMINA
    clock: Callable[[], float] = time.monotonic
    turns: list[Turn] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.candidate_id = f"{self.problem.id}/{self.candidate}"
        self._started = self._began = self.clock()
        self._written = Written()  # the last turn, read: its code, its text outside of thinking
        self._reading = Reading()  # the answer in the last turn that is complete
        self._unfinished: PartialTurn | None = None  # the turn that runs, begun at `_began`

    async def run(self) -> Trace:
        """Run the candidate from its first turn to its end. Its failures are data in the trace; a bug raises."""
        try:
            for number in range(1, max(1, self.config.turns) + 1):
                turn = await self.step()
                if self._reading.answer is not None:
                    break
                if turn.execution is None:
                    # No code, no answer: nothing to continue with. NuminaMath's notebook starts such a candidate over.
                    if not self._may_restart(number):
                        break
                    self.turns[-1] = replace(turn, restarted=True)
            if self._reading.answer is None and turn.execution is not None and self.dialect.closing_turn:
                turn = await self.step(runs_code=False)
            if self._reading.answer is None and self._may_force():
                written = self._reading
                await self.step(prefix=self._opened_box(), runs_code=False)
                self._reading = written if self._reading.boxed is None else self._reading
            return self.trace(self._status())
        except PromptTooLong as error:
            return self.trace(TraceStatus.OUT_OF_CONTEXT, detail=str(error))
        except (EngineError, ExecutorError) as error:
            return self.trace(TraceStatus.FAILED, detail=f"{type(error).__name__}: {error}")
        finally:
            self.executor.release(self.candidate_id)

    async def step(self, *, prefix: str = "", runs_code: bool = True) -> Turn:
        """Take one turn: generate after `prefix`, read what was written and, if it is code that may run, execute it."""
        runs_code = runs_code and self._runs_code
        request_id = f"{self.candidate_id}/{len(self.turns)}"
        turn = await self._generate(request_id, prefix=prefix, runs_code=runs_code)
        last_block = self.config.blocks == "last"
        self._written = read_turn(self.dialect, self.turns, turn.completion, last_block=last_block)
        reading = self._read(turn)
        if runs_code and self._written.wrote_code:
            turn = await self._execute(turn, request_id)
        # Only a whole turn becomes part of the trace, and its reading counts only then.
        self.turns.append(turn)
        self._reading, self._unfinished = reading, None
        return turn

    async def _generate(self, request_id: str, *, prefix: str, runs_code: bool) -> Turn:
        """Sample a completion of the prompt so far, up to a stop string, an end token or the token limit."""
        config, dialect = self.config, self.dialect
        self._unfinished, self._began = PartialTurn(request_id, "generating"), self.clock()
        prompt = render(dialect, self.problem, self.turns, prefix=prefix)
        params = SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty,
            max_tokens=config.force_tokens if prefix else config.max_tokens,
            # Where no code runs there is nothing to stop for: a stop string would only cut the model's own text.
            stop=(dialect.force_stop,) if prefix else dialect.stop if runs_code else (),
            stop_token_ids=dialect.stop_token_ids,
            seed=seed_for(config.seed, request_id),
        )
        completion = await self.engine.generate(prompt, params, request_id=request_id)
        return Turn(completion, prefix, generate_seconds=self.clock() - self._began)

    def _read(self, turn: Turn) -> Reading:
        """Read the answer that this turn may end the candidate with.

        There is none beside code of the same turn: where the code runs, the model has to see its output first, and where
        it does not, the answer rests on an output that the model made up. There is none in open thinking or in a turn that
        its token limit cut: those are drafts. Only a candidate that ended by itself may state its answer without a box.
        """
        config, completion, written = self.config, turn.completion, self._written
        draft = completion.finish_reason == "length" or (self._runs_code and written.wrote_code)
        if draft and not turn.prefix:
            return Reading()
        return read_answer(
            turn.prefix + completion.text if turn.prefix else written.final,
            modulus=config.modulus,
            lowest=config.lowest,
            highest=config.highest,
            allow_stated=completion.ended_by_token,
            fractions=config.fractions,
        )

    async def _execute(self, turn: Turn, request_id: str) -> Turn:
        """Run the turn's code and append its output, or the fault of a tool call that cannot be read."""
        config, code = self.config, self._written.code
        turn = replace(turn, code=code or "")
        self._unfinished, self._began = PartialTurn(request_id, "executing", turn), self.clock()
        if code is None:
            result = ExecutionResult(str(self._written.fault), ExecutionStatus.ERROR)
        else:
            result = await self.executor.execute(code, request_id=request_id, deadline=self.deadline)
        left = config.turns - self._executions - 1
        limit, clip = config.output_chars, config.output_clip
        appended = bridge(self.dialect, turn.completion, result, left=left, limit=limit, clip=clip)
        return replace(turn, execution=result, bridge=appended)

    def trace(self, status: TraceStatus, *, detail: str = "") -> Trace:
        """The trace of the turns so far, ended for the reason `status`."""
        cut = None
        if self._unfinished is not None and status in (TraceStatus.CANCELLED, TraceStatus.FAILED):
            cut = replace(self._unfinished, seconds=self.clock() - self._began)
        return Trace(
            candidate=self.candidate,
            turns=tuple(self.turns),
            status=status,
            answer=self._reading.answer if status is TraceStatus.ANSWERED else None,
            boxed=self._reading.boxed,
            detail=detail,
            seconds=self.clock() - self._started,
            cut=cut,
        )

    # --- What a candidate's turns so far allow ---

    @property
    def _runs_code(self) -> bool:
        return self.config.turns > 0 and self.dialect.runs_code

    @property
    def _executions(self) -> int:
        return sum(turn.execution is not None for turn in self.turns)

    @property
    def _out_of_context(self) -> bool:
        """Cut off below the tokens asked for: only the end of the model's context does that."""
        last = self.turns[-1].completion
        return last.finish_reason == "length" and last.tokens < self.config.max_tokens

    def _may_restart(self, number: int) -> bool:
        """Whether another turn may begin from the bare prompt; earlier turns stay in the trace and leave the prompt."""
        return self.config.restart and number < self.config.turns and self._reading.boxed is None

    def _may_force(self) -> bool:
        """Whether to ask for the answer: the candidate has no number and ran code, or its token limit cut it as it thought.

        A box with a number that gets no vote, such as a fraction, is an answer: it is not asked for again.
        """
        cut = self.turns[-1].completion.finish_reason == "length" and not self._out_of_context
        thinks = bool(self.dialect.think_end) or self.dialect.code == "harmony"
        may = self.config.force_answer and bool(self.dialect.force) and not self._reading.has_value
        return may and (self._executions > 0 or (cut and thinks))

    def _opened_box(self) -> str:
        # Behind an output that ends a message, the next message begins as every one does; else the text goes on.
        new_message = bool(self.turns[-1].bridge and self.dialect.turn_end)
        thinking = self.dialect.thinks_first if new_message else self._written.thinking
        return opened_box(self.dialect, self.turns, thinking=thinking)

    def _status(self) -> TraceStatus:
        """Reason why the candidate ended by itself, neither failed nor cancelled."""
        if self._reading.answer is not None:
            return TraceStatus.ANSWERED
        if self.turns[-1].prefix:
            return TraceStatus.EXHAUSTED  # asked for its answer, it had none
        if self._out_of_context:
            return TraceStatus.OUT_OF_CONTEXT
        used_up = 0 < self.config.turns <= self._executions
        return TraceStatus.EXHAUSTED if used_up else TraceStatus.PRUNED
