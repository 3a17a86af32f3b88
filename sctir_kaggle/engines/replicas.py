"""Several engines of one model as one `Engine`, and the load balancer that they share with the OpenAI-compatible servers.

A request goes to the replica with the fewest running; a candidate stays where its prefix is cached. A request that a
replica fails is tried on every other one, once. Not covered: a request that kills its engine kills all of them in turn,
each as often as it is restarted; and a request handed over at the moment of a death, before the engine has taken it, waits
for the restart.
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
"""Candidates whose replica is remembered, least recently used out first: dozens of problems at 48 candidates each."""

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
    """An `Engine` over `replicas` of one model and one context length, which it closes."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = tuple(replicas)
        self._balancer = LoadBalancer(len(self.replicas))

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
        """Whether any replica serves now."""
        return any(replica.serving for replica in self.replicas)

    @property
    def running(self) -> tuple[int, ...]:
        """The requests that each replica has now."""
        return self._balancer.running

    @property
    def taken(self) -> tuple[int, ...]:
        """The requests that each replica has been given so far, including those that it failed."""
        return self._balancer.taken

    def describe(self) -> dict[str, str | int]:
        """Return the facts of the first replica, the number of replicas, and the restarts of all."""
        facts = [replica.describe() for replica in self.replicas]
        restarts = sum(int(fact.get("restarts", 0)) for fact in facts)
        return {**facts[0], "replicas": len(facts), "restarts": restarts}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. Raises the last replica's `EngineError` once every replica has failed the request."""
        failed: set[int] = set()
        while True:
            for index, replica in enumerate(self.replicas):
                # A replica that is down is avoided without a time limit: it may still be taken where no other is left.
                self._balancer.avoid(index, -math.inf if replica.serving else math.inf)
            index = self._balancer.acquire(request_id, without=failed)
            try:
                return await self.replicas[index].generate(prompt, params, request_id=request_id)
            except PromptTooLong:  # it is too long for all of them
                raise
            except EngineError as error:
                failed.add(index)
                if len(failed) == len(self.replicas):
                    raise
                log.warning("replica %d failed %s, another one tries: %s", index, request_id, error)
            finally:
                self._balancer.release(index)

    def close(self) -> None:
        """Close all replicas at once; one that raises does not keep the others open."""
        with ThreadPoolExecutor(len(self.replicas)) as pool, ExitStack() as closings:
            for replica in self.replicas:
                closings.callback(pool.submit(replica.close).result)


def start_all(starts: Sequence[Callable[[], Replica]]) -> ReplicatedEngine:
    """Start the replicas at once, each in a thread. If one fails, the others are closed and its error is raised."""
    with ThreadPoolExecutor(len(starts)) as pool:
        futures = [pool.submit(start) for start in starts]
    with ExitStack() as undo:
        for future in futures:
            if future.exception() is None:
                undo.callback(future.result().close)
        replicas = [future.result() for future in futures]
        undo.pop_all()
    return ReplicatedEngine(replicas)


class LoadBalancer:
    """Chooses among `replicas`, by index, and counts what runs on each. Thread-safe. `clock` is in seconds."""

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

    def acquire(self, request_id: str, *, without: Collection[int] = ()) -> int:
        """Choose a replica for this request and count the request as running there until `release`.

        The order of preference: the candidate's last replica, for its cached prefix; then the one with the fewest
        running; then the one that was taken less often. Never one of `without`, which have failed the request already. A
        replica to be avoided is chosen only where no other is left, the one whose time ends first. Raises `ValueError`
        where `without` leaves none.
        """
        candidate = candidate_of(request_id)
        with self._lock:
            index = self._choose(self._replica_of.get(candidate), without)
            self._running[index] += 1
            self._taken[index] += 1
            self._replica_of[candidate] = index
            self._replica_of.move_to_end(candidate)
            if len(self._replica_of) > CANDIDATES_KEPT:
                self._replica_of.popitem(last=False)
            return index

    def release(self, index: int) -> None:
        """Count one request fewer on the replica `index`, however the request ended there."""
        with self._lock:
            if not self._running[index]:
                raise ValueError(f"replica {index} has no request to release")
            self._running[index] -= 1

    def avoid(self, index: int, until: float) -> None:
        """Send nothing to this replica before the clock says `until`: infinity for good, the past to lift it."""
        with self._lock:
            self._avoided_until[index] = until

    def _choose(self, before: int | None, without: Collection[int]) -> int:
        now = self._clock()
        if before is not None and before not in without and self._avoided_until[before] <= now:
            return before
        left = [index for index in range(len(self._running)) if index not in without]
        # Avoidances that are over count alike (as `now`), so that only the load decides between those replicas.
        return min(
            left, key=lambda index: (max(self._avoided_until[index], now), self._running[index], self._taken[index])
        )


def candidate_of(request_id: str) -> str:
    """Return "{problem.id}/{candidate}" of "{problem.id}/{candidate}/{turn}"; an id without a slash is its own.

    >>> candidate_of("aime/2024/5/17/3")
    'aime/2024/5/17'
    """
    return request_id.rpartition("/")[0] or request_id
