"""Several engines as one: requests go to the one with least to do, a candidate stays where its prefix is cached.

An engine that fails a request is not the end of it: the request is tried on every other one, once. Not covered: a request
that kills whatever serves it will kill them all, each as often as it is restarted; and one that is handed over at the
moment of a death, before the engine has it, waits for the restart.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.balance import Balance
from sctir_kaggle.types import Completion, Engine, EngineError, Prompt, PromptTooLong, SamplingParams

log = logging.getLogger("sctir_kaggle")


class Replica(Engine, Protocol):
    """An engine that says whether it would serve a request now."""

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    @property
    def context_length(self) -> int: ...

    @property
    def serving(self) -> bool:
        """False while it is being restarted, and once it has died for good."""
        ...

    def describe(self) -> dict[str, str | int]: ...

    def close(self) -> None: ...


class ReplicatedEngine:
    """`replicas` are of one model and context, and this closes them. An `Engine`, as each of them is."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = tuple(replicas)
        self._balance = Balance(len(self.replicas))

    @property
    def context_length(self) -> int:
        """The most tokens of a prompt and its completion together."""
        return min(replica.context_length for replica in self.replicas)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The checkpoint's, which they share."""
        return self.replicas[0].tokenizer

    @property
    def serving(self) -> bool:
        """Whether any of them is."""
        return any(replica.serving for replica in self.replicas)

    @property
    def running(self) -> tuple[int, ...]:
        """The requests that each replica has now."""
        return self._balance.running

    @property
    def taken(self) -> tuple[int, ...]:
        """The requests that each replica has been given so far, those that it failed among them."""
        return self._balance.taken

    def describe(self) -> dict[str, str | int]:
        """The facts of the first replica, the number of them, and the restarts of all."""
        facts = [replica.describe() for replica in self.replicas]
        restarts = sum(int(fact.get("restarts", 0)) for fact in facts)
        return {**facts[0], "replicas": len(facts), "restarts": restarts}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. Raises the last replica's `EngineError` where every one of them has failed the request."""
        failed: set[int] = set()
        while True:
            index = self._take(request_id, failed)
            try:
                return await self.replicas[index].generate(prompt, params, request_id=request_id)
            except PromptTooLong:
                raise
            except EngineError as error:
                failed.add(index)
                if len(failed) == len(self.replicas):
                    raise
                log.warning("replica %d failed %s, another one tries: %s", index, request_id, error)
            finally:
                self._balance.give_back(index)

    def close(self) -> None:
        """End all of them, the rest also where one raises at that."""
        with ThreadPoolExecutor(len(self.replicas)) as pool, ExitStack() as closings:
            for replica in self.replicas:
                closings.callback(pool.submit(replica.close).result)

    def _take(self, request_id: str, failed: set[int]) -> int:
        """One that has not failed this request; one that does not serve now only where nobody else is left."""
        for index, replica in enumerate(self.replicas):
            self._balance.avoid(index, -math.inf if replica.serving else math.inf)
        return self._balance.take(request_id, without=failed)


def start_all(starts: Sequence[Callable[[], Replica]]) -> ReplicatedEngine:
    """Start the replicas at once, each in a thread. Where one fails, the others are closed and its error is raised."""
    with ThreadPoolExecutor(len(starts)) as pool:
        futures = [pool.submit(start) for start in starts]
    with ExitStack() as undo:
        for future in futures:
            if future.exception() is None:
                undo.callback(future.result().close)
        replicas = [future.result() for future in futures]
        undo.pop_all()
    return ReplicatedEngine(replicas)
