"""Resource limits, descriptors and a working folder: the part of the confinement that every Unix offers.

See getrlimit(2). Soft and hard limits are set to one value, so that the child cannot raise them again. Two have room
between them: CPU time, which the kernel counts over a process's life, so the soft limit has to rise for each block; and
memory, where the last `SPARE_MEMORY` bytes are for reporting a MemoryError. Code can raise either: CPU time is also
bounded by the host's clock, and memory by the hard limit.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import tempfile
import time

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.protocol import CHANNEL

MIB = 1 << 20
SPARE_MEMORY = 64 * MIB
"""Bytes that a child may take beyond its budget, to report that the budget is spent."""

OPEN_FILES = 256
"""Far more than ordinary code needs; 48 children with as many each stay far below the usual limits of a machine."""

THREADS = 64
"""Enough for a pool of threads on a large machine, and an end to code that starts threads in a loop."""

FILE_MB = 64
"""The largest file in MiB. All files of a folder together are bounded from outside (`folder`)."""

_LIMITS = {
    resource.RLIMIT_CORE: 0,  # a core of a child would hold all the memory of the zygote on disk
    resource.RLIMIT_FSIZE: FILE_MB * MIB,  # Python ignores SIGXFSZ: the block gets an OSError (EFBIG)
    resource.RLIMIT_STACK: 64
    * MIB,  # 8 MiB, the usual limit, crashes on deep recursion: before 3.11 it is on the C stack
}


def lower_all(memory_mb: int) -> None:
    """Limit memory to `memory_mb` MiB beyond what is in use now, limit core, files and stack, and volunteer to the OOM killer.

    Should the machine run out of memory, the kernel then kills a child, and not the host with the model in it.
    """
    _limit_memory(memory_mb * MIB)
    for limit, value in _LIMITS.items():
        _lower(limit, value)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def limit_open_files() -> None:
    """Limit open descriptors to `OPEN_FILES`. After `keep_only`, which closes all up to the old limit."""
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)


def limit_threads() -> None:
    """Limit threads to `THREADS`, for a process whose user id is its own: the kernel counts them per user."""
    _lower(resource.RLIMIT_NPROC, THREADS)


def limit_cpu(seconds: float) -> None:
    """Allow `seconds` of CPU time from now on, over all threads, rounded up to whole seconds; then SIGXCPU ends the process.

    The wall clock does not see this: ten busy threads use ten times as much. The hard limit stays unlimited, or the next
    block's could not be higher.
    """
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds), hard=resource.RLIM_INFINITY)


def spend_spare_memory() -> None:
    """Raise the limit on memory to its hard value, which leaves `SPARE_MEMORY` bytes for reporting a MemoryError."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def give_up_privileges() -> None:
    """Set no_new_privs, for good: no program that is run (setuid, say) gives privileges. Landlock and seccomp require it."""
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies. After every change of user ids, which clears that."""
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call, and then no signal comes: end at once.
    if os.getppid() != parent:
        os._exit(1)


def keep_only(channel: int, output: int) -> None:
    """Keep two descriptors, `channel` as CHANNEL and `output` as standard output and error; close all others but 0."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(channel, CHANNEL, inheritable=False)
    os.closerange(CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # the zygote has none above


def move_to(folder: str) -> None:
    """Make `folder` the working directory, the home and the place of temporary files."""
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder


def _limit_memory(budget: int) -> None:
    """Limit the address space to `budget` bytes beyond what the warm interpreter already maps (shared, so not counted).

    The address space, since Linux enforces no limit on resident memory (RLIMIT_RSS).
    """
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux, where the address space says nothing about the memory in use
        return
    _lower(resource.RLIMIT_AS, used + budget, hard=used + budget + SPARE_MEMORY)


def _lower(limit: int, value: int, *, hard: int | None = None) -> None:
    """Set a soft limit, and the hard one to `hard` (default: the same), or as near as the hard limit in force allows."""
    ceiling = resource.getrlimit(limit)[1]
    wanted = value if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        value, wanted = min(value, ceiling), ceiling if wanted == resource.RLIM_INFINITY else min(wanted, ceiling)
    resource.setrlimit(limit, (value, wanted))
