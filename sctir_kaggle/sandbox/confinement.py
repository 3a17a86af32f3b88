"""What holds a child back once it has been forked, before it sees a line of the model's code.

Covered, against faulty code: memory (address space), CPU time, file sizes, open files, core dumps, stack; its own
session, so that one signal ends the group; death together with the zygote; no way to gain privileges; a private working
folder; first in line for the kernel's out-of-memory killer; no descriptor of the zygote.

NOT covered, yet: network, reading or writing any file the user may, creating processes (a fork bomb is a real one),
signals to other processes of the same user, memory that address space does not count (files in /dev/shm).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import tempfile
import time

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CHANNEL = 3
"""The child's descriptor for requests and replies; 0 is empty, 1 and 2 are the output pipe, all others are closed."""

MIB = 1 << 20
SPARE_MEMORY = 64 * MIB
"""What a child may take on top of its budget to report that the budget is spent."""

_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 64 * MIB,  # Python ignores SIGXFSZ: the block sees an OSError
    resource.RLIMIT_NOFILE: 256,
    resource.RLIMIT_STACK: 64 * MIB,  # deep recursion, before Python 3.11 on the C stack
}


_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # looked up once, in the zygote


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument; nothing where there is none."""
    if _prctl:
        _prctl(option, *(ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)))


def confine(*, channel: int, output: int, folder: str, memory_mb: int, zygote: int) -> None:
    """Turn a fresh fork of the zygote into a child; ends the process where the zygote is already gone."""
    os.setsid()
    _keep_only(channel, output)
    _move_to(folder)
    _limit_memory(memory_mb * MIB)
    for limit, value in _LIMITS.items():
        _lower(limit, value)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:
        os._exit(1)


def limit_cpu(seconds: float) -> None:
    """From now on the process may use `seconds` of CPU time, in all its threads; then SIGXCPU ends it."""
    _lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds), hard=resource.RLIM_INFINITY)


def spend_spare_memory() -> None:
    """Allow the little extra that reporting a MemoryError takes."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _keep_only(channel: int, output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(channel, CHANNEL, inheritable=False)
    os.closerange(CHANNEL + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _move_to(folder: str) -> None:
    os.mkdir(folder, 0o700)
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
