"""Several engines as one: requests go to the one with least to do, a candidate stays where its prefix is cached.

An engine that fails a request is not the end of it: the request is tried on every other one, once. Not covered: a request
that kills whatever serves it will kill them all, each as often as it is restarted; and one that is handed over at the
moment of a death, before the engine has it, waits for the restart.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.types import Completion, Engine, EngineError, Prompt, PromptTooLong, SamplingParams

CANDIDATES_KEPT = 4096
"""How many candidates' replicas are remembered, the last used ones: dozens of problems at 48 candidates each."""


class Balance:
    """Counts what runs on each of `replicas`, by index. Thread-safe. `clock` gives the seconds that `avoid` is told in."""

    def __init__(self, replicas: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        if replicas < 1:
            raise ValueError(f"replicas is {replicas}: there must be at least 1")
        self._clock = clock
        self._running = [0] * replicas
        self._taken = [0] * replicas
        self._avoided_until = [float("-inf")] * replicas
        self._replica_of: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def running(self) -> tuple[int, ...]:
        """The requests that each replica has now."""
        with self._lock:
            return tuple(self._running)

    @property
    def taken(self) -> tuple[int, ...]:
        """The requests that each replica has been given so far."""
        with self._lock:
            return tuple(self._taken)

    def take(self, request_id: str, *, without: Collection[int] = ()) -> int:
        """The replica for this request, which counts one more running there until `give_back`.

        None of `without`, those that have failed the request already. One to be avoided is chosen only where all that are
        left are; then it is the one whose time ends first. Raises `ValueError` where `without` leaves none.
        """
        candidate = candidate_of(request_id)
        with self._lock:
            index = self._choose(self._replica_of.get(candidate), without)
            self._running[index] += 1
            self._taken[index] += 1
            self._keep(candidate, index)
            return index

    def give_back(self, index: int) -> None:
        """A request that was taken for `index` has ended there, in whatever way."""
        with self._lock:
            if not self._running[index]:
                raise ValueError(f"replica {index} has no request to give back")
            self._running[index] -= 1

    def avoid(self, index: int, until: float) -> None:
        """Send nothing to this replica before the clock says `until`: infinity is for good, the past is not at all."""
        with self._lock:
            self._avoided_until[index] = until

    def forget(self, candidate_id: str) -> None:
        """The candidate has ended, or its replica has lost its prefix. Unknown ids are ignored."""
        with self._lock:
            self._replica_of.pop(candidate_id, None)

    def _choose(self, before: int | None, without: Collection[int]) -> int:
        now = self._clock()
        if before is not None and before not in without and self._avoided_until[before] <= now:
            return before
        left = [index for index in range(len(self._running)) if index not in without]
        return min(left, key=lambda index: self._cost(index, now))

    def _cost(self, index: int, now: float) -> tuple[float, int, int]:
        """The least of these is chosen; where equally much runs, it is the one that was taken less often so far."""
        return (max(self._avoided_until[index], now), self._running[index], self._taken[index])

    def _keep(self, candidate: str, index: int) -> None:
        self._replica_of[candidate] = index
        self._replica_of.move_to_end(candidate)
        if len(self._replica_of) > CANDIDATES_KEPT:
            self._replica_of.popitem(last=False)


def candidate_of(request_id: str) -> str:
    """ "{problem.id}/{candidate}" of a request "{problem.id}/{candidate}/{turn}"; an id without a slash is its own."""
    return request_id.rpartition("/")[0] or request_id


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
