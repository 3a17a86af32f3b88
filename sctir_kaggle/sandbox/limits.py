"""Resource limits, priority, descriptors and a working folder: the part of the confinement that every Unix offers.

See getrlimit(2). Soft and hard limits are set to one value, so that the child cannot raise them again. Two have room
between them: CPU time, which the kernel counts over a process's life, so the soft limit has to rise for each block; and
memory, where the last `SPARE_MEMORY` bytes are for reporting a MemoryError. Code can raise either: CPU time is also
counted by the host (`watch`), and memory bounded by the hard limit.
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

FEWEST_THREADS = 16
"""Threads of a child where the user or the cgroup may have few: a `PART_OF_THREADS` of what is allowed, but so many."""

PART_OF_THREADS = 16

NICENESS = 7
"""Of a child, above the host's: where both want a core, the host gets about five times as much of it (1,024 to 215, the
kernel's sched_prio_to_weight). With a smaller part, blocks would fail by their wall clock beside an engine that keeps all
cores busy."""

SESSION_NICENESS = 4
"""Of the session of all children, where Linux shares the cores out among sessions: two fifths of the host's part. Less
would be to the advantage of the machine's other sessions, too."""

FILE_MB = 64
"""The largest file in MiB. All files of a folder together are bounded from outside (`folder`)."""

_LIMITS = {
    resource.RLIMIT_CORE: 0,  # a core of a child would hold all the memory of the zygote on disk
    resource.RLIMIT_FSIZE: FILE_MB * MIB,  # Python ignores SIGXFSZ: the block gets an OSError (EFBIG)
    resource.RLIMIT_STACK: 64
    * MIB,  # 8 MiB, the usual limit, crashes on deep recursion: before 3.11 it is on the C stack
}


def lower_all(memory_mb: int) -> None:
    """Limit memory to `memory_mb` MiB beyond what is in use now, limit core, files and stack, stand back from the host, and
    volunteer to the OOM killer.

    Should the machine run out of memory, the kernel then kills a child, and not the host with the model in it.
    """
    stand_back()
    _limit_memory(memory_mb * MIB)
    for limit, value in _LIMITS.items():
        _lower(limit, value)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def limit_open_files() -> None:
    """Limit open descriptors to `OPEN_FILES`. After `keep_only`, which closes all up to the old limit."""
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)


def stand_back() -> None:
    """Lower the priority by NICENESS, for good: a block in a loop would slow the host as much as another process of it."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
        # Does not preempt a process that wakes up, which the host's event loop does all the time.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def stand_back_as_session() -> None:
    """Lower the priority of this process's session, which the zygote does once for itself and all of its children.

    Outside of cgroups, Linux shares the cores out among sessions first, and niceness counts within a session only
    (sched(7), "the autogroup feature"). For the same reason no child has a session of its own.
    """
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(SESSION_NICENESS))


def leave_threads_to_host() -> None:
    """Limit the threads of this process's user to three quarters of what they may be, for this process and its children.

    The kernel counts threads by user, and an ordinary user's children share theirs with the host. Called by the zygote
    before it enters a user namespace, which then holds all of its children to it together.
    """
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() != 0 and soft != resource.RLIM_INFINITY:
        _lower(resource.RLIMIT_NPROC, soft - soft // 4)


def threads_allowed() -> int:
    """Threads of one child: THREADS, and fewer where this user, or this cgroup, may have few."""
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0] if os.geteuid() != 0 else resource.RLIM_INFINITY
    known = [limit for limit in (soft, _pids_max()) if limit is not None and limit != resource.RLIM_INFINITY]
    return max(FEWEST_THREADS, min([THREADS, *(limit // PART_OF_THREADS for limit in known)]))


def limit_threads(threads: int) -> None:
    """Limit threads, for a process whose user id is its own, or its own in a user namespace: the kernel counts them there."""
    _lower(resource.RLIMIT_NPROC, threads)


def enter_own_user_namespace() -> None:
    """Enter a user namespace of one's own, where the kernel counts threads for this process alone; OSError where refused.

    Nothing is mapped in it, so that the user id looks like that of nobody. Access to files does not change. All children
    together keep to two thirds of what the zygote may have, so that it can always fork another one.
    """
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY:
        _lower(
            resource.RLIMIT_NPROC, soft - soft // 3
        )  # holds for the namespace that is made next, and all others beside it
    kernel.unshare(kernel.CLONE_NEWUSER)


def be_observable() -> None:
    """Let the host, and no other user, read in /proc which files this process holds open (PR_SET_DUMPABLE).

    For a process whose user id, or user namespace, is its own: others of the same user could read its memory as well.
    """
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


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


def _pids_max() -> int | None:
    """The number of processes and threads that this cgroup may have, if it is limited."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            root = {"": "/sys/fs/cgroup", "pids": "/sys/fs/cgroup/pids"}.get(controllers)
            # In a container the path may be that of the machine, and not exist: the root is the container's own there.
            for folder in (f"{root}{path}", root) if root else ():
                with contextlib.suppress(OSError, ValueError), open(f"{folder}/pids.max") as limit:
                    return int(limit.read())  # "max" is no number
    return None


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
