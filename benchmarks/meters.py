"""What is measured while problems are solved: vLLM's steps and tokens, re-sent tokens, the event loop's lag and CPU time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.types import Completion, Engine, Prompt, SamplingParams

BEAT = 0.01
"""Seconds between two heartbeats of the event loop."""

T = TypeVar("T")


@dataclass
class Steps:
    """Of vLLM's engine, from the wrapped engine's thread: seconds in its steps, steps, and tokens sampled by request.

    A token counts when it is sampled, also where its request is aborted later or a stop string cuts it off.
    """

    seconds: float = 0.0
    count: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


class StepMeter:
    """Stands in vLLM's engine, which has to serve in this process."""

    def __init__(self, engine: VLLMEngine) -> None:
        self._engine = engine._loop.engine
        self._step, self._get_output = self._engine.step, self._engine.engine_core.get_output
        self._engine.step, self._engine.engine_core.get_output = self._timed, self._counted
        self._steps = Steps()
        self.block = int(self._engine.vllm_config.cache_config.block_size)

    async def restart(self) -> Steps:
        """Begin anew, with an idle engine and an empty prefix cache; what the steps from here on are added to."""
        while self._engine.has_unfinished_requests() or not self._engine.reset_prefix_cache():
            await asyncio.sleep(BEAT)
        self._steps = Steps()
        return self._steps

    def _timed(self) -> Any:
        started = time.perf_counter()
        outputs = self._step()
        self._steps.seconds += time.perf_counter() - started
        self._steps.count += 1
        return outputs

    def _counted(self) -> Any:
        """vLLM's own ids begin with ours."""
        outputs = self._get_output()
        for output in outputs.outputs:
            self._steps.tokens[output.request_id.rpartition("#")[0]] += len(output.new_token_ids)
        return outputs


class Listened:
    """An `Engine` that hands everything on, and keeps what was completed, by request id."""

    def __init__(self, engine: Engine) -> None:
        self.completions: dict[str, Completion] = {}
        self._engine = engine

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        completion = await self._engine.generate(prompt, params, request_id=request_id)
        self.completions[request_id] = completion
        return completion

    def resent(self, *, block: int = 1) -> tuple[int, int]:
        """Of all turns but the first: prompt tokens sent before, and how many of those the prefix cache had.

        Sent before is what the candidate's last prompt and completion had together, at most the whole prompt. With
        `block`, only what lies in full blocks of so many tokens counts, all that a cache in blocks can find.
        """
        sent = found = 0
        for request_id, completion in self.completions.items():
            candidate, _, turn = request_id.rpartition("/")
            before = self.completions.get(f"{candidate}/{int(turn) - 1}")
            if before is not None:
                again = min(before.prompt_tokens + before.tokens, completion.prompt_tokens)
                again -= again % block
                sent += again
                found += min(completion.cached_tokens, again)
        return sent, found


@dataclass(frozen=True)
class Took:
    """Wall clock and the event loop's thread's CPU time in seconds; how late each heartbeat came, in seconds."""

    seconds: float
    cpu: float
    lags: list[float]


async def timed(work: Coroutine[Any, Any, T]) -> tuple[T, Took]:
    """The result of `work`, and what it took; the heartbeat's own CPU time is part of that."""
    lags: list[float] = []
    heart = asyncio.ensure_future(_beat(lags))
    cpu, started = time.thread_time(), time.perf_counter()
    try:
        result = await work
    finally:
        heart.cancel()
    return result, Took(time.perf_counter() - started, time.thread_time() - cpu, lags)


async def _beat(lags: list[float]) -> None:
    """Beats have fixed times: while the event loop hangs they all come late, so a long hang counts as many."""
    due = time.perf_counter()
    while True:
        due += BEAT
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        lags.append(time.perf_counter() - due)
