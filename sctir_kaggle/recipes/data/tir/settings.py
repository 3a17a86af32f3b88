"""Settings of `recipes.data.tir_data`: the fields of its YAML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.recipes.data.tir.attempts import Tokens
from sctir_kaggle.types import UserError


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

    budget: float | None = None
    """The run ends once it has cost this much, in the currency of the prices; None has no limit."""

    def __post_init__(self) -> None:
        for name in ("rounds", "turns", "in_flight", "tries", "failures"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("attempt_seconds", "stall"):
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
        self.request_options()

    @property
    def on_servers(self) -> bool:
        """Whether the engine is a server at `base_url`, which is not read otherwise."""
        return self.engine in ("chat", "openai")

    def request_options(self) -> dict[str, Any]:
        """`options` as a dict. Raises `UserError` where it is no JSON object."""
        try:
            options = json.loads(self.options)
        except ValueError:
            options = None
        if not isinstance(options, dict):
            raise UserError(f"options is {self.options!r}; it must be a JSON object, such as '{{\"seed\": null}}'")
        return options

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
