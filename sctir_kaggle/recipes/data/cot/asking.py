"""Process records with a model, many at once: each once, a rejected one is data, a server that is gone ends the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sctir_kaggle.recipes.data.cot.records import Output, Record, Rejected
from sctir_kaggle.scheduling import Ended, TaskPool
from sctir_kaggle.types import Engine, EngineError, SamplingParams


@dataclass(frozen=True, slots=True)
class Model:
    """An engine with the sampling parameters of a step."""

    engine: Engine
    temperature: float = 0.0
    max_tokens: int = 4096

    async def ask(self, prompt: str, request_id: str, *, temperature: float | None = None) -> str:
        """Return the reply. Raises `Rejected` where it was cut off at `max_tokens`: half a text is no record."""
        chosen = self.temperature if temperature is None else temperature
        params = SamplingParams(temperature=chosen, max_tokens=self.max_tokens)
        completion = await self.engine.generate((prompt,), params, request_id=request_id)
        if completion.finish_reason == "length":
            raise Rejected(f"the reply was cut off after {completion.tokens} tokens: raise max_tokens")
        return completion.text


Work = Callable[[Record], Awaitable[Sequence[Record]]]
"""Turns a record into those that take its place in the step's output."""


async def run(records: Iterable[Record], work: Work, output: Output, *, at_once: int, failures: int) -> None:
    """Do `work` on every record that the output lacks, `at_once` at a time, and write each as it is done.

    A record for which `work` raises `Rejected` or `EngineError` is noted and left to the next run. Raises `EngineError`
    after `failures` of the latter in a row: the server is gone.
    """

    async def lane(record: Record) -> Ended[Record]:
        try:
            output.add(*await work(record))
        except Rejected as error:  # the model's fault, not the server's: not a failure of the run
            output.reject(record, str(error))
        except EngineError as error:
            return Ended(str(error))
        return Ended()

    pool = TaskPool[Record](
        max_failures=failures, noun="requests", advice="start it again later", on_failed=output.reject
    )
    await pool.run(_missing(records, output), [lane] * at_once)


def _missing(records: Iterable[Record], output: Output) -> Iterator[Record]:
    """The records whose id the output lacks, one an id."""
    taken = set(output.done)
    for record in records:
        if record["id"] not in taken:
            taken.add(record["id"])
            yield record
