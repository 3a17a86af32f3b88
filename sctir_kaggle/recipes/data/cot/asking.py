"""Records through a model, many at once: each is done once, failures are data, and a server that is gone ends the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from sctir_kaggle.recipes.data.cot.records import Output, Record, Rejected
from sctir_kaggle.types import Engine, EngineError, SamplingParams


@dataclass(frozen=True, slots=True)
class Model:
    """An engine and how it is asked."""

    engine: Engine
    temperature: float = 0.0
    max_tokens: int = 4096

    async def ask(self, prompt: str, request_id: str, *, temperature: float | None = None) -> str:
        """The reply. Raises `Rejected` where it was cut off: half a text is no record."""
        chosen = self.temperature if temperature is None else temperature
        params = SamplingParams(temperature=chosen, max_tokens=self.max_tokens)
        completion = await self.engine.generate((prompt,), params, request_id=request_id)
        if completion.finish_reason == "length":
            raise Rejected(f"the reply was cut off after {completion.tokens} tokens: raise max_tokens")
        return completion.text


Work = Callable[[Record], Awaitable[Sequence[Record]]]
"""A record -> those that it becomes."""


async def run(records: Iterable[Record], work: Work, output: Output, *, at_once: int, failures: int) -> None:
    """`work` on every record that the output lacks, `at_once` at a time, written as they are done.

    What `Rejected` or an `EngineError` ends is noted and left to the next run. Raises `EngineError` after `failures` of
    the engine in a row.
    """
    waiting, taken, broken = iter(records), set(output.done), 0

    async def worker() -> None:
        nonlocal broken
        for record in waiting:
            if record["id"] in taken:
                continue
            taken.add(record["id"])
            try:
                output.add(*await work(record))
                broken = 0
            except Rejected as error:
                output.reject(record, str(error))
                broken = 0
            except EngineError as error:
                output.reject(record, str(error))
                broken += 1
                if broken >= failures:
                    raise EngineError(f"{broken} failures in a row, the last: {error}; start it again later") from error

    tasks = [asyncio.create_task(worker()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
