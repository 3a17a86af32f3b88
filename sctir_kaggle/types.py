"""The nouns of the package: plain frozen data, and the two seams (`Engine`, `Executor`) everything else is written against.

Standard library only. A *candidate* is one of the N solution attempts for a problem; a *turn* is one generation of a
candidate plus, if it wrote code, the execution of that code; a *trace* is a candidate's list of turns and why it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

TokenIds = tuple[int, ...]


class Control(str):
    """Text that a dialect wrote: the tokenizer's added tokens (`<|im_start|>`, `<tool_call>`, ...) are read as such in it.

    In any other text (a problem, what a program printed) they are ordinary characters, whatever it spells.
    """

    __slots__ = ()


Prompt = tuple[str | TokenIds, ...]
"""Segments in order: token ids are passed to the model as they were sampled, text is encoded by the engine.

Neighbouring texts are encoded as one text, in which added tokens count only where they stand in a `Control`. The
tokenizer's BOS, where it adds one, stands in front of the first segment and nowhere else.
"""

FinishReason = Literal["stop", "length", "abort"]
"""vLLM's words: `stop` is a stop string or the end-of-sequence token, `length` the token limit or the context's end."""


class UserError(ValueError):
    """Something that the user can mend: the message gives the value, the limit and the next step."""


class EngineError(RuntimeError):
    """The engine could not serve a request: the model is gone or refused it. A bug in the loop is never this."""


class PromptTooLong(EngineError):
    """The prompt leaves no room for a single new token in the model's context."""


class ExecutorError(RuntimeError):
    """The executor itself could not run code at all (its processes cannot be started, say). Faulty code is never this."""


def one_line(error: BaseException, *, named: bool = False, first: bool = False, limit: int = 500) -> str:
    """The message of `error` on one line of at most `limit` characters, or its class's name where it has none.

    `named` puts the class's name in front. `first` takes the message's first line only, without its last full stop:
    libraries' errors often go on with paragraphs of advice.

    >>> one_line(ValueError("a bad\n  value"), named=True)
    'ValueError: a bad value'
    """
    text, name = str(error).strip(), type(error).__name__
    text = text.splitlines()[0].rstrip(".:") if first and text else " ".join(text.split())
    line = f"{name}: {text}" if named and text else text or name
    return line if len(line) <= limit else line[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as the competition states it. `answer` is the reference where one is known; no prompt ever shows it.

    `level` and `subject` are what a validation set says of it.
    """

    id: str
    text: str
    answer: int | None = None
    level: str | None = field(default=None, compare=False)
    subject: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to sample one completion; names and meanings are vLLM's.

    `max_tokens` is a ceiling: an engine cuts it to what the context leaves. A stop string ends the completion and is
    kept at the end of its text; so does a token of `stop_token_ids`, besides the checkpoint's own end tokens. `temperature`
    0 is greedy, `top_k` 0 and `min_p` 0 are off, and so is a `repetition_penalty` of 1. The same `seed` and prompt give the
    same draws, as far as the engine's arithmetic is reproducible.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 2048
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote.

    `token_ids` are those that were sampled, special tokens and the token that ended the completion included; behind a
    stop string that ends inside a token they are cut and encoded again, so that they end where `text` does. They are
    empty where an engine does not give them, and then `text` is sent instead. They are not part of equality, because a
    journal keeps only their number, `tokens`. `text` is what they read as, special tokens visible, without the token that
    ended it. `stop_reason` is the stop string or the one of `stop_token_ids` that was hit, None for the checkpoint's own
    end of a sequence. `prompt_tokens` counts the prompt, `cached_tokens` how many of it the engine had.
    """

    text: str
    token_ids: TokenIds = field(default=(), compare=False, repr=False)
    finish_reason: FinishReason = "stop"
    stop_reason: str | int | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def ended_by_token(self) -> bool:
        """The model ended it with a token: the last of `token_ids`, where there are any, which `text` does not show."""
        return self.finish_reason == "stop" and not isinstance(self.stop_reason, str)


class ExecutionStatus(str, Enum):
    """How a block of code ended."""

    OK = "ok"
    ERROR = "error"  # an exception; the output ends with its traceback
    TIMEOUT = "timeout"  # wall or CPU time; killed
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    CRASH = "crash"  # the process died: a signal, os._exit, ...


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What a block of code printed (standard output, then the traceback or a one-line note on why it was ended)."""

    output: str
    status: ExecutionStatus = ExecutionStatus.OK
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One generation and, if it wrote code, its execution. A turn is never changed once it is part of a trace.

    `prefix` is what the solver wrote before the model went on (the opening of the forced box; else empty). `bridge` is what
    was appended after the completion: the output and, as `Control`, what the dialect writes around it. After a turn that
    is `restarted` the candidate began again from the bare prompt.
    """

    completion: Completion
    prefix: str = ""
    code: str | None = None
    execution: ExecutionResult | None = None
    bridge: tuple[str, ...] = ()
    restarted: bool = False
    generate_seconds: float = field(default=0.0, compare=False)

    @property
    def output_block(self) -> str:
        """`bridge` as one text, for reading."""
        return "".join(self.bridge)


@dataclass(frozen=True, slots=True)
class PartialTurn:
    """What a candidate was doing when it was ended from outside, so that a journal says what was lost with it.

    `turn` is None while the model was `generating`: an engine gives whole completions only. While its code was
    `executing`, `turn` is that turn without an execution. `seconds` is how long it had been at it.
    """

    request_id: str
    doing: Literal["generating", "executing"]
    turn: Turn | None = None
    seconds: float = 0.0


class TraceStatus(str, Enum):
    """Why a candidate ended."""

    ANSWERED = "answered"  # it gave an integer in range: one vote
    PRUNED = "pruned"  # it stopped with nothing to execute and nothing to vote with
    EXHAUSTED = "exhausted"  # no answer after the last turn
    OUT_OF_CONTEXT = "out_of_context"
    CANCELLED = "cancelled"  # the vote was decided, or the deadline passed
    FAILED = "failed"  # the engine or the sandbox failed it


@dataclass(frozen=True, slots=True)
class Trace:
    """One candidate, from its first turn to its end. `boxed` is the answer as written, `answer` the integer it votes for.

    `turns` are whole turns. `cut` is the one that a cancelled or failed candidate had begun; like times it is not part of
    equality, since a replay ends a candidate before the turn that its record does not finish.
    """

    candidate: int
    turns: tuple[Turn, ...]
    status: TraceStatus
    answer: int | None = None
    boxed: str | None = None
    detail: str = ""
    seconds: float = field(default=0.0, compare=False)
    cut: PartialTurn | None = field(default=None, compare=False)

    @property
    def tokens(self) -> int:
        """Sampled tokens of all whole turns."""
        return sum(turn.completion.tokens for turn in self.turns)

    @property
    def executions(self) -> int:
        """How many turns ran code."""
        return sum(turn.execution is not None for turn in self.turns)


def status_counts(traces: Iterable[Trace]) -> dict[TraceStatus, int]:
    """How many candidates ended for which reason, the most frequent first.

    >>> status_counts([Trace(0, (), TraceStatus.PRUNED), Trace(1, (), TraceStatus.PRUNED)])
    {<TraceStatus.PRUNED: 'pruned'>: 2}
    """
    return dict(Counter(trace.status for trace in traces).most_common())


@dataclass(frozen=True, slots=True)
class Vote:
    """The state of the vote: `ranking` holds (answer, score), the winner first."""

    ranking: tuple[tuple[int, float], ...] = ()

    @property
    def winner(self) -> int | None:
        """The leading answer, None while nobody has voted."""
        return self.ranking[0][0] if self.ranking else None


StopReason = Literal["all", "exact", "beta", "k", "margin", "uncontested", "deadline", "error"]


@dataclass(frozen=True, slots=True)
class SolveResult:
    """One solved problem: the integer that goes to the competition, and everything needed to vote again.

    `traces` stand in the order in which the candidates ended. `fallback` is True where nobody voted and `answer` is the
    configured default. `stopped` says what ended the work: `all` candidates finished, a stop rule (`exact`, `beta`, `k`,
    `margin`), a vote `uncontested` again by extra candidates, the `deadline`, or an `error` at the competition's edge.
    `risk`, where plain votes stopped it otherwise than exactly (`beta`, `k`, `margin`, `uncontested`), bounds the
    probability under beta's model (`stopping.leader_risk`) that all candidates would have elected another answer; else it
    is None. `seed` is the one under which it was sampled. Neither it nor times
    (seconds of wall clock) are part of equality.
    """

    problem: Problem
    answer: int
    vote: Vote
    traces: tuple[Trace, ...]
    stopped: StopReason = "all"
    fallback: bool = False
    seconds: float = field(default=0.0, compare=False)
    risk: float | None = None
    seed: int = field(default=0, compare=False)

    @property
    def correct(self) -> bool | None:
        """Whether the answer equals the reference; None where there is no reference."""
        return None if self.problem.answer is None else self.answer == self.problem.answer


class Engine(Protocol):
    """Writes text. One prompt per call: concurrent calls are batched inside the engine.

    Raises `PromptTooLong` before any work is done, `EngineError` where it failed; anything else is a bug and ends the run.
    Cancelling the awaiting task aborts the request, frees what it held and must propagate. `request_id` is
    "{problem.id}/{candidate}/{turn}".
    """

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion: ...


class Executor(Protocol):
    """Runs code that nobody has read. Faulty code is a result, never an exception.

    `deadline` is absolute, in `time.monotonic()` seconds. Cancelling the awaiting task kills the code. Calls with the
    same "{problem.id}/{candidate}" share one interpreter's state where the executor is stateful, until `release`.
    """

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult: ...

    def release(self, candidate_id: str) -> None:
        """Forget the candidate "{problem.id}/{candidate}": end its process, free its state. Unknown ids are ignored."""
