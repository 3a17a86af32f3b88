"""Resource limits, a session of its own and a private folder: what every Unix offers without asking.

See getrlimit(2). Each limit can only be lowered again by the process itself, except for those on CPU time, which is
counted in full and therefore raised for each block, and the spare memory.
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
"""What a child may take on top of its budget to report that the budget is spent."""

OPEN_FILES = 256
THREADS = 64
FILE_MB = 64
"""The size of one file; the folder's quota is kept by the host."""

_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: FILE_MB * MIB,  # Python ignores SIGXFSZ: the block sees an OSError
    resource.RLIMIT_STACK: 64 * MIB,  # deep recursion, before Python 3.11 on the C stack
}


def lower_all(memory_mb: int) -> None:
    """The limits on memory, the size of files and the stack; and be the first that the kernel ends when memory runs out."""
    _limit_memory(memory_mb * MIB)
    for limit, value in _LIMITS.items():
        _lower(limit, value)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def limit_open_files() -> None:
    """Last, when all that were open are closed."""
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)


def limit_threads() -> None:
    """For a process whose user id is its own: the kernel counts all processes and threads of a user."""
    _lower(resource.RLIMIT_NPROC, THREADS)


def limit_cpu(seconds: float) -> None:
    """From now on the process may use `seconds` of CPU time, in all its threads; then SIGXCPU ends it."""
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds), hard=resource.RLIM_INFINITY)


def spend_spare_memory() -> None:
    """Allow the little extra that reporting a MemoryError takes."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def give_up_privileges() -> None:
    """No privileges by running a program, for ever; the filters of the kernel ask for it."""
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """End together with the parent, or at once if it is gone. After every change of user ids, which undoes it."""
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def keep_only(channel: int, output: int) -> None:
    """Keep the two descriptors, as CHANNEL and as standard output and error, and close all others."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(channel, CHANNEL, inheritable=False)
    os.closerange(CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # the zygote has none above


def move_to(folder: str) -> None:
    """Work in the folder."""
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder


def _limit_memory(budget: int) -> None:
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux, where the address space tells nothing
        return
    _lower(resource.RLIMIT_AS, used + budget, hard=used + budget + SPARE_MEMORY)


def _lower(limit: int, value: int, *, hard: int | None = None) -> None:
    """Set a limit, or the nearest that the limits already in force allow."""
    ceiling = resource.getrlimit(limit)[1]
    wanted = value if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        value, wanted = min(value, ceiling), ceiling if wanted == resource.RLIM_INFINITY else min(wanted, ceiling)
    resource.setrlimit(limit, (value, wanted))
