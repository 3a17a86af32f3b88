"""Settings of `recipes.data.tir_data`: the fields of its YAML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.engines.openai_server import server_at
from sctir_kaggle.recipes.data.tir.attempts import Tokens
from sctir_kaggle.recipes.data.tir.outcomes import Rules
from sctir_kaggle.types import EngineError, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class TirSettings:
    """How to sample traces. Raises `UserError` on a value outside its limits."""

    problems: str
    """A `.jsonl`, `.jsonl.gz` or `.csv` file, else the name of a data set on the Hub, or a folder with a copy of one."""

    split: str = "train"
    """The split of a data set on the Hub."""

    limit: int | None = None
    """The first so many problems with a numerical answer; None takes all."""

    integers: bool = False
    """Keep only problems whose answer is an integer; else fractions and decimals too, which are compared exactly."""

    output: Path
    """A folder: the journal of attempts, the kept rows, the statistics."""

    engine: Literal["chat", "openai", "vllm", "transformers"] = "chat"
    """What generates: a chat server, a completions server, or a checkpoint in this process."""

    base_url: tuple[str, ...] = ()
    """Of the servers of `chat` and `openai`, with or without /v1. The key is the environment's OPENAI_API_KEY."""

    served_model: str | None = None
    """The model's name there; None takes the only one."""

    model: Path | None = None
    """A checkpoint's folder, for `vllm` and `transformers`; for `openai` that of its tokenizer."""

    options: str = "{}"
    """JSON fields for the server's requests, which win; null takes a field out."""

    rounds: int = 3
    """Attempts at a problem, at most."""

    all_rounds: bool = False
    """Make all attempts at each problem, for its pass rate; else they end as soon as `keep` are kept."""

    keep: int = 1
    """Traces kept of a problem, at most: the first ones that pass."""

    code: Literal["required", "optional"] = "required"
    """Whether a trace without code that ran is dropped."""

    last_block: Literal["ok", "any"] = "ok"
    """Whether a trace whose last block of code ended in an error is dropped."""

    last_output: Literal["agrees", "any"] = "agrees"
    """Whether a trace whose last output does not show its answer is dropped."""

    duplicates: Literal["kept", "text", "code"] = "code"
    """What counts as a duplicate among the traces of a problem: an equal text, or equal code, comments and spacing aside.

    Unless they are `kept`, a problem whose text is that of an earlier one is left out, too."""

    reference: Literal["given", "majority"] = "given"
    """With `majority`, problems without an answer are sampled in all rounds, and labelled by their attempts' own answer."""

    majority: float = 0.5
    """The least share of a problem's attempts that must agree on that answer; two attempts at least."""

    judge: bool = False
    """Take answers that are no numbers, too, and ask a model whether two of them are the same where no rule decides."""

    judge_url: tuple[str, ...] = ()
    """The judge's chat servers, with or without /v1. The key is the environment's OPENAI_API_KEY."""

    judge_model: str | None = None
    """The judge's name there; None takes the only one."""

    judge_max_tokens: int = 512
    """New tokens of a verdict; one that is cut off counts as garbled."""

    judge_options: str = "{}"
    """JSON fields for the judge's requests, as `options`."""

    temperature: float = 0.8
    """Sampling temperature."""

    turns: int = 4
    """Executions of code an attempt may have."""

    max_tokens: int = 2048
    """New tokens a turn."""

    code_seconds: float = 5.0
    """Seconds for one block of code."""

    output_chars: int = 600
    """Characters of a block's output that are shown."""

    attempt_seconds: float | None = None
    """Seconds after which an attempt is abandoned, waiting for the server included; None: the fields below bound it."""

    reexecute: bool = True
    """Keep a trace only if its blocks, run again in a fresh process, print the same."""

    seed: int = 42
    """A round's seed is this plus its number, from 0."""

    in_flight: int = 1000
    """Attempts at once. One whose code has run holds a process of some 10 MB until it ends."""

    server_wait: float = 10.0
    """Seconds to wait for a server that is not up yet, or still loads its model."""

    tries: int = 8
    """Tries of a request that breaks off or fails with 5xx."""

    pause: float = 0.5
    """Seconds to wait after a server's failure, unless it says how long; doubled each time, with jitter."""

    patience: float = 600.0
    """Seconds for which a request that gets 429 waits and retries, with fewer requests in flight, before it fails."""

    stall: float = 300.0
    """Seconds of silence after which a stream counts as broken."""

    failures: int = 200
    """Failed attempts in a row that end the run: the server is gone. Started again, it goes on where it ended."""

    price_prompt: float = 0.0
    """Price of a million prompt tokens."""

    price_cached: float | None = None
    """Price of a million prompt tokens that the server had cached; None is `price_prompt`."""

    price_completion: float = 0.0
    """Price of a million new tokens."""

    judge_price_prompt: float = 0.0
    """Price of a million prompt tokens of the judge."""

    judge_price_completion: float = 0.0
    """Price of a million new tokens of the judge."""

    budget: float | None = None
    """The run ends once it has cost this much, in the currency of the prices; None has no limit."""

    def __post_init__(self) -> None:
        for name in ("rounds", "keep", "turns", "in_flight", "tries", "failures", "judge_max_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("attempt_seconds", "stall", "server_wait"):
            if (seconds := getattr(self, name)) is not None and seconds <= 0:
                raise UserError(f"{name} is {seconds}; it must be above 0 seconds")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"limit is {self.limit}; it must be at least 1, or null for all problems")
        if self.on_servers and not self.base_url:
            raise UserError(
                f"base_url is empty, and engine is {self.engine}; say where its servers are: http://HOST:PORT"
            )
        if self.engine == "chat" and self.model is not None:
            raise UserError(f"model is {self.model}, which a chat server does not read; name its model in served_model")
        self._check_choice()
        for name in ("base_url", "judge_url"):
            _check_urls(name, getattr(self, name))
        self.request_options()
        _options("judge_options", self.judge_options)

    def _check_choice(self) -> None:
        if self.keep > self.rounds:
            raise UserError(f"keep is {self.keep}, of {self.rounds} attempts at a problem; raise rounds, or keep fewer")
        if not 0 < self.majority <= 1:
            raise UserError(f"majority is {self.majority}; it is a share of the attempts, above 0 and at most 1")
        if self.reference == "majority" and self.rounds < 2:
            raise UserError(f"reference is majority, and rounds is {self.rounds}: two attempts must agree at least")
        if self.judge and not self.judge_url:
            raise UserError("judge_url is empty, and judge is on; say where a chat server for it is: http://HOST:PORT")
        if not self.judge and (self.judge_url or self.judge_model):
            raise UserError("judge_url or judge_model is given, and judge is off; --set judge=true")
        if self.judge and self.integers:
            raise UserError(
                "integers and judge are both on: one leaves out what the other is for; set one of them to false"
            )

    @property
    def on_servers(self) -> bool:
        """Whether the engine is a server at `base_url`, which is not read otherwise."""
        return self.engine in ("chat", "openai")

    def request_options(self) -> dict[str, Any]:
        """`options` as a dict. Raises `UserError` where it is no JSON object."""
        return _options("options", self.options)

    def request_options_of_judge(self) -> dict[str, Any]:
        """The same of `judge_options`."""
        return _options("judge_options", self.judge_options)

    def rules(self) -> Rules:
        """What is kept of the attempts."""
        return Rules(
            code=self.code,
            last_block=self.last_block,
            last_output=self.last_output,
            duplicates=self.duplicates,
            keep=self.keep,
            all_rounds=self.all_rounds,
            majority=self.majority,
        )

    def config(self) -> SolverConfig:
        """The solver's settings for an attempt: one candidate, any integer, no forced answer."""
        return SolverConfig(
            candidates=1,
            turns=self.turns,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            code_seconds=self.code_seconds,
            output_chars=self.output_chars,
            force_answer=False,
            modulus=None,
            lowest=None,
            highest=None,
            seed=self.seed,
        )

    def seeds(self) -> range:
        """The seeds of the rounds, in order."""
        return range(self.seed, self.seed + self.rounds)

    def cost(self, tokens: Tokens) -> float:
        """The price of `tokens`, in the currency of the prices."""
        price_cached = self.price_prompt if self.price_cached is None else self.price_cached
        prompt = (tokens.prompt - tokens.cached) * self.price_prompt + tokens.cached * price_cached
        return (prompt + tokens.completion * self.price_completion) / 1e6

    def judge_cost(self, tokens: Tokens) -> float:
        """The price of the judge's `tokens`, in the same currency."""
        return (tokens.prompt * self.judge_price_prompt + tokens.completion * self.judge_price_completion) / 1e6


def _check_urls(name: str, urls: tuple[str, ...]) -> None:
    for url in urls:
        try:
            server_at(url)
        except EngineError as error:
            raise UserError(f"{name}: {error}") from None


def _options(name: str, text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f"{name} is {text!r}; it must be a JSON object, such as '{{\"seed\": null}}'")
    return options
