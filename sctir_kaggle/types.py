"""The nouns of the package, frozen data, and the two seams `Engine` and `Executor` that everything else is written against.

A *candidate* is one of the N solution attempts at a problem. A *turn* is one generation of a candidate and, if it wrote
code, the execution of that code. A *trace* is a candidate's turns and why it ended. A *vote* ranks the candidates' answers.

    SolveResult             one problem, its answer and vote
      Trace                 x N candidates, in the order in which they ended
        Turn                x 1 to M, and one more where the answer is asked for
          Completion        text and token ids
          ExecutionResult   output, if the turn wrote code

Times are in seconds. Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Literal, Protocol

Answer = int | Fraction
"""An exact answer: an integer, or, where a run lets fractions vote, a fraction that is none. One value has one form."""

TokenIds = tuple[int, ...]


class Control(str):
    """Text written by a dialect, in which the tokenizer's added tokens (`<|im_start|>`, `<tool_call>`, ...) count as tokens.

    In any other text (a problem, a program's output) their spelling is encoded as ordinary characters, so that no problem
    and no program can inject a control token.
    """

    __slots__ = ()


Prompt = tuple[str | TokenIds, ...]
"""Segments in order: token ids go to the model as they were sampled, text is encoded by the engine.

Adjacent texts are encoded as one text, with added tokens only where a `Control` has them. The tokenizer's BOS, where it
adds one, stands in front of the first segment only.
"""

LastExpression = Literal["always", "if-silent", "never"]
"""When the value of a block's last expression is shown: as in a notebook, where the block printed nothing, or never."""

FinishReason = Literal["stop", "length", "abort"]
"""vLLM's words: `stop` is a stop string or an end token, `length` the token limit or the end of the context."""


class UserError(ValueError):
    """A user-fixable error: the message gives the value, the limit and the next step."""


class EngineError(RuntimeError):
    """The engine could not serve a request: the model is gone or refused it. Bugs raise other errors."""


class EngineDown(EngineError):
    """The engine serves nothing: this request failed for a reason that every other one has, too. It ends a command with 1."""


class PromptTooLong(EngineError):
    """The prompt leaves no room for a single new token in the model's context."""


class ExecutorError(RuntimeError):
    """The executor could not run code at all, say because no process can start. Faulty code is a result instead."""


def one_line(error: BaseException, *, named: bool = False, first: bool = False, limit: int = 500) -> str:
    """The message of `error` on one line of at most `limit` characters, or its class's name where it has none.

    `named` puts the class's name in front. `first` takes the message's first line only, without its last full stop:
    libraries' errors often go on with paragraphs of advice.

    >>> one_line(ValueError("a bad\\n  value"), named=True)
    'ValueError: a bad value'
    """
    text, name = str(error).strip(), type(error).__name__
    text = text.splitlines()[0].rstrip(" .:") if first and text else " ".join(text.split())
    line = f"{name}: {text}" if named and text else text or name
    return line if len(line) <= limit else line[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as the competition states it.

    `answer` is the reference, where one is known; no prompt shows it. It may be a fraction. `level` and `subject` are a
    validation set's labels.
    """

    id: str
    text: str
    answer: Answer | None = None
    level: str | None = field(default=None, compare=False)
    subject: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling parameters of one completion; names and meanings are vLLM's.

    `temperature` 0 is greedy; `top_k` 0, `min_p` 0 and `repetition_penalty` 1 are off. `max_tokens` is a ceiling, which an
    engine lowers to what the context leaves. A string of `stop` ends the completion and stays at the end of its text, as in
    vLLM's `include_stop_str_in_output`. A token of `stop_token_ids` ends it as the checkpoint's own end tokens do. The same
    `seed` and prompt give the same draws, as far as the engine's arithmetic is reproducible.
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
    """Text and token ids that the model wrote for one prompt.

    `token_ids` are the sampled ones, with special tokens and the token that ended the completion. Where a stop string ends
    inside a token, the last ids are encoded again so that they end where `text` does. They are empty where an engine does
    not return them; then `text` is sent back instead. `text` shows special tokens, but not the token that ended it.

    `tokens` counts the sampled ids, `prompt_tokens` the prompt's, `cached_tokens` those of the prompt that the engine had
    cached. `stop_reason` is the stop string or the id of `stop_token_ids` that was hit, None for the checkpoint's own end
    token. A journal keeps no ids, so they are not part of equality.
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
        """True where an end token ended it: the last of `token_ids`, where there are any, which `text` does not show."""
        return self.finish_reason == "stop" and not isinstance(self.stop_reason, str)


class ExecutionStatus(str, Enum):
    """Outcome of a block of code."""

    OK = "ok"
    ERROR = "error"  # an exception; the output ends with its traceback
    TIMEOUT = "timeout"  # wall or CPU time; killed
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    CRASH = "crash"  # the process died: a signal, os._exit, ...


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """Standard output of a block of code, then its traceback or one line on why it was ended; seconds of wall clock."""

    output: str
    status: ExecutionStatus = ExecutionStatus.OK
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One generation and, if it wrote code, its execution. A turn does not change once it is part of a trace.

    `prefix` is the text that the solver put in front of the completion, to ask for the answer: the opening of a box, else
    empty. `bridge` is what follows the completion in the next prompt: the output and, as `Control`, what the dialect writes
    around it. After a turn that is `restarted` the candidate began again from the bare prompt.
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
    """The turn in flight when a candidate was cancelled or failed, so that a journal accounts for the work lost.

    While the model was `generating`, `turn` is None: engines return whole completions only. While code was `executing`,
    `turn` is the turn without its execution. `seconds` is the time spent on it so far.
    """

    request_id: str
    doing: Literal["generating", "executing"]
    turn: Turn | None = None
    seconds: float = 0.0


class TraceStatus(str, Enum):
    """Reason why a candidate ended."""

    ANSWERED = "answered"  # it gave an integer in range: one vote
    PRUNED = "pruned"  # it stopped with neither code nor an answer
    EXHAUSTED = "exhausted"  # no answer after the last turn
    OUT_OF_CONTEXT = "out_of_context"  # the model's context was full
    CANCELLED = "cancelled"  # the vote was decided, or the deadline passed
    FAILED = "failed"  # the engine or the sandbox failed it


@dataclass(frozen=True, slots=True)
class Trace:
    """One candidate, from its first turn to its end. `boxed` is the answer as written, `answer` what it votes for.

    `turns` are whole turns, `cut` is the one that a cancelled or failed candidate had begun. Neither `cut` nor times are
    part of equality: a replay ends a candidate before the turn that its record does not finish.
    """

    candidate: int
    turns: tuple[Turn, ...]
    status: TraceStatus
    answer: Answer | None = None
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
        """Number of turns that ran code."""
        return sum(turn.execution is not None for turn in self.turns)


def status_counts(traces: Iterable[Trace]) -> dict[TraceStatus, int]:
    """Count candidates by the reason why they ended, the most frequent first.

    >>> status_counts([Trace(0, (), TraceStatus.PRUNED), Trace(1, (), TraceStatus.PRUNED)])
    {<TraceStatus.PRUNED: 'pruned'>: 2}
    """
    return dict(Counter(trace.status for trace in traces).most_common())


@dataclass(frozen=True, slots=True)
class Vote:
    """The state of the vote: `ranking` holds (answer, score), the winner first."""

    ranking: tuple[tuple[Answer, float], ...] = ()

    @property
    def winner(self) -> Answer | None:
        """The leading answer; None before the first vote."""
        return self.ranking[0][0] if self.ranking else None


StopReason = Literal["all", "exact", "beta", "k", "margin", "uncontested", "deadline", "error"]


@dataclass(frozen=True, slots=True)
class SolveResult:
    """One solved problem: the answer that goes to the competition, and everything needed to vote again.

    `traces` are in the order in which the candidates ended. `fallback` marks a result without votes, whose `answer` is the
    configured default. `stopped` is what ended the work: `all` candidates finished, a stop rule fired (`exact`, `beta`,
    `k`, `margin`), extra candidates made the vote `uncontested`, the `deadline` passed, or an `error` at the competition's
    edge. `risk` bounds the probability that all candidates would have elected another answer, under beta's model
    (`stopping.leader_risk`); it is None unless plain votes stopped at a risk (`beta`, `k`, `margin`, `uncontested`). `seed`
    is the run's seed. Neither `seed` nor times are part of equality.
    """

    problem: Problem
    answer: Answer
    vote: Vote
    traces: tuple[Trace, ...]
    stopped: StopReason = "all"
    fallback: bool = False
    seconds: float = field(default=0.0, compare=False)
    risk: float | None = None
    seed: int = field(default=0, compare=False)

    @property
    def correct(self) -> bool | None:
        """True if the answer equals the reference; None where there is no reference."""
        return None if self.problem.answer is None else self.answer == self.problem.answer


class Engine(Protocol):
    """Generates text. One prompt per call: concurrent calls become one batch inside the engine.

    Raises `PromptTooLong` before any work is done and `EngineError` where the engine failed; anything else is a bug and
    ends the run. Cancelling the awaiting task aborts the request and frees its memory; the cancellation must propagate.
    `request_id` is "{problem.id}/{candidate}/{turn}": key of logs, aborts and replays, source of the seed.
    """

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion: ...


class Executor(Protocol):
    """Runs untrusted, model-generated code. Faulty code is a result, never an exception.

    `deadline` is absolute, in seconds of `time.monotonic()`. Cancelling the awaiting task kills the code. Calls with the
    same "{problem.id}/{candidate}" share one interpreter until `release`, where the executor is stateful. Raises
    `ExecutorError` where no code can run at all.
    """

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult: ...

    def release(self, candidate_id: str) -> None:
        """End the process of candidate "{problem.id}/{candidate}" and free its state. Unknown ids are ignored."""
