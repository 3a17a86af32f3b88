"""Which of several replicas serves a request: the one that holds its candidate's prefix, else the one with least to do.

Covered: replicas of equal speed, any number of threads. Not covered: moving a candidate that has started to a replica
with less to do; that would compute its whole prefix anew, and new candidates even the load out.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

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
