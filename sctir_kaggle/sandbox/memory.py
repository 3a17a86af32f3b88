"""The memory of all children together: how much there is for them, and which one has to go when they take more.

Each child has a limit of its own, and the kernel counts it. But 48 children may take 48 times as much, and when the machine
runs out of memory the kernel ends whichever child it finds the largest, without a word. Linux limits the memory of several
processes together in cgroups only, which few users may make. So the host counts: for nothing as long as the running
children cannot exceed the total even at their own limits, and else ten times a second for each that runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sctir_kaggle.sandbox import usage
from sctir_kaggle.sandbox.limits import MIB, SPARE_MEMORY

SMALL_MB = 64
"""A running child with less than this is not ended; the largest of those that wait for their next turn is, instead."""

RESERVE_MB = 4096
"""MiB that are left to the host by default: so many, or a quarter of the memory if that is more, but never over a half."""

_V1, _V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"


def machine_mb() -> int:
    """MiB of memory that this process may use: the machine's, or what its cgroups leave of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")]
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                found += _limits(path, unified=not controllers)
    return min(found) // MIB


def _limits(path: str, *, unified: bool) -> list[int]:
    """The limits of a cgroup and of those above it. In a container its path may not exist: there the root is its own."""
    root, name = (_V2, "memory.max") if unified else (_V1, "memory.limit_in_bytes")
    found = []
    while True:
        with contextlib.suppress(OSError, ValueError), open(f"{root}{path.rstrip('/')}/{name}") as file:
            found.append(int(file.read()))  # "max" is no number
        if path in ("", "/"):
            return found
        path = os.path.dirname(path)


def default_total_mb() -> int:
    """MiB for all children together, unless the user says otherwise."""
    memory = machine_mb()
    return memory - min(max(RESERVE_MB, memory // 4), memory // 2)


@dataclass(eq=False)
class Share:
    """One living child's part of the memory.

    `end` kills it, from any thread. `size` is in bytes: what it had when last looked at. `exact`: that was `measure`d, and
    not only bounded from above by its resident memory, which counts what it shares with the others.
    """

    pid: int
    end: Callable[[], None]
    inherited: int = 0
    size: int = 0
    exact: bool = False
    running: bool = False

    def measure(self) -> None:
        """Find its memory out exactly, or nearly: where that cannot be read, what it has beyond what it began with."""
        self.exact = True
        if (exact := usage.proportional_memory(self.pid)) is not None:
            self.size = exact
        elif now := usage.usage(self.pid):
            self.size = max(0, now.resident - self.inherited)
        else:
            self.size = 0


class SharedMemory:
    """The memory of all living children of one sandbox: `total_mb` MiB. Thread-safe.

    `each_mb` is what one child may take beyond the memory that it inherits.
    """

    def __init__(self, total_mb: int, *, each_mb: int) -> None:
        self.total_mb, self._each = total_mb, each_mb * MIB + SPARE_MEMORY
        self._lock = threading.Lock()
        self._shares: set[Share] = set()

    def begin(self, share: Share) -> None:
        """A block begins to run in this child."""
        with self._lock:
            self._shares.add(share)
            share.running = True

    def rest(self, share: Share, resident: int) -> None:
        """The block has ended, and its child, of so many resident bytes, keeps what it has until the next."""
        with self._lock:
            share.running, share.size, share.exact = False, resident, False

    def leave(self, share: Share) -> None:
        """The child is dead."""
        with self._lock:
            self._shares.discard(share)

    def must_end(self, share: Share) -> bool:
        """Whether this running child has to be ended, as the largest of those that run, since all take too much.

        Where those that run are small, the largest of the others is ended.
        """
        with self._lock:
            shares = list(self._shares)
        if sum(map(self._bound, shares)) <= self.total_mb * MIB:
            return False
        for other in shares:
            if other.running or not other.exact:
                other.measure()
        if sum(other.size for other in shares) <= self.total_mb * MIB:
            return False
        largest = max((other for other in shares if other.running), key=_size, default=share)
        if largest.size >= SMALL_MB * MIB:
            return largest is share
        waiting = [other for other in shares if not other.running and other.size]
        if waiting:
            largest = max(waiting, key=_size)
            largest.end()
            self.leave(largest)
        return False

    def _bound(self, share: Share) -> int:
        """The most that a child can have by now."""
        return share.inherited + self._each if share.running else share.size


def _size(share: Share) -> int:
    return share.size
