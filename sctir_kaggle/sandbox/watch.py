"""The limits of a child that only the host can keep: looked at from outside while a block runs, ten times a second.

Whatever a child takes is counted against that child alone; what another process of the machine writes or takes costs no
block its life. Where /proc does not show a child (no Linux, no pidfds, /proc mounted with `hidepid`), only its folder is
looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sctir_kaggle.sandbox import usage
from sctir_kaggle.sandbox.folder import TOTAL_MB, free_mb, size
from sctir_kaggle.sandbox.limits import FILE_MB, MIB, THREADS
from sctir_kaggle.sandbox.memory import Share, SharedMemory

LOOK_SECONDS = 0.1
"""Seconds between two looks at a running block; it can exceed its limits by what it takes in between."""

UNSEEN_SECONDS = 0.01
"""A child that has run for less since the last look is not looked at when its block ends: the look takes as long as a short
turn, and in so little time a child cannot take much."""

DISK_MB = 256
"""MiB of the disk that stay free for the host: with less, a block is stopped once it has itself written `WRITTEN_MB`."""

WRITTEN_MB = 16


class Watch:
    """What one child takes of the machine, against its limits. For the thread that runs its block."""

    def __init__(self, folder: str, pidfd: int | None, memory: SharedMemory, *, end: Callable[[], None]) -> None:
        """`end` kills the child; it is called, in another child's thread, where the memory of all is over its limit."""
        self._folder, self._memory = folder, memory
        self._pid = None if pidfd is None else usage.pid_of(pidfd)
        self._share = Share(self._pid, end) if self._pid else None
        self._cpu, self._free, self._written = 0.0, 0, 0
        self._last: usage.Usage | None = None
        self._ran, self._began = 0.0, 0.0  # seconds since the last look, and since when (monotonic) it runs

    def begin(self, cpu_seconds: float) -> None:
        """A block begins, which may use so much CPU time."""
        self._began = time.monotonic()
        if not self._ran:
            self._free = free_mb(self._folder)
        if not self._share:
            return
        # A child is stopped between two blocks, so that what was read at the end of the last one holds, or nearly so.
        self._last = self._last or usage.usage(self._share.pid)
        if self._last:
            self._cpu = self._last.cpu + cpu_seconds
            self._share.inherited = self._share.inherited or self._last.resident
            self._memory.begin(self._share)

    def look(self, *, ended: bool = False) -> str:
        """The limit that the block has exceeded (`files`, `disk`, `cpu`, `threads` or `shared memory`), or "".

        `ended`: the last look, after a block that ended by itself, which has to be quick.
        """
        now = time.monotonic()
        if ended and self._ran + now - self._began < UNSEEN_SECONDS:
            return ""
        self._ran, self._began = 0.0, now
        return self._used(ended=ended) or self._stored(ended=ended)

    def rest(self) -> None:
        """The child waits for its next block."""
        self._ran += time.monotonic() - self._began
        if self._share and self._last:
            self._memory.rest(self._share, self._last.resident)

    def leave(self) -> None:
        """The child is dead."""
        if self._share:
            self._memory.leave(self._share)

    def _used(self, *, ended: bool) -> str:
        now = usage.usage(self._share.pid) if self._share else None
        if now is None or self._share is None:
            return ""
        self._last = now
        if now.cpu > self._cpu and not ended:
            return "cpu"
        if now.threads > THREADS:
            return "threads"
        return "shared memory" if self._memory.must_end(self._share) else ""

    def _stored(self, *, ended: bool) -> str:
        free = free_mb(self._folder)
        named = size(self._folder)
        if named is None:
            return "files"
        # A file that is mapped and neither named nor open is found by a slow look only.
        thorough = not ended or self._free - free > WRITTEN_MB
        deleted = self._deleted(thorough=thorough) or 0
        before, total = self._written, named + deleted
        if total > TOTAL_MB * MIB:
            return "files"
        if free < DISK_MB and total - before > WRITTEN_MB * MIB:
            return "disk"
        if ended:
            self._written = total
        return ""

    def _deleted(self, *, thorough: bool) -> int | None:
        if self._pid is None:
            return 0
        if thorough:
            return usage.deleted_files(self._pid, mapped_at=FILE_MB * MIB)
        return usage.deleted_files(self._pid, usual=usage.USUAL_FILES)
