"""What one process takes of the machine, read from outside in /proc: CPU time, threads, memory, and deleted files.

Everyone may read `/proc/PID/stat`. Open files and memory maps may be read by the process's own user, if the process is
"dumpable" (`limits.be_observable`), and by root with CAP_SYS_PTRACE, which root in a container does not have: there the
calling thread takes on the process's user id for the moment (ptrace(2), "ptrace access mode checking").
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from sctir_kaggle.sandbox import kernel

_PAGE = os.sysconf("SC_PAGESIZE")
_TICK = os.sysconf("SC_CLK_TCK")

USUAL_FILES = 4
"""Descriptors of a child that has opened nothing: input, two for the output, the channel."""


class Usage(NamedTuple):
    """CPU time in seconds since the process began, its threads, and its resident memory in bytes."""

    cpu: float
    threads: int
    resident: int


def pid_of(pidfd: int) -> int | None:
    """The process id behind a pidfd, in the pid namespace of /proc; None where there is none any more."""
    with contextlib.suppress(OSError, StopIteration, ValueError), open(f"/proc/self/fdinfo/{pidfd}") as info:
        pid = next(int(line.split()[1]) for line in info if line.startswith("Pid:"))
        return pid if pid > 0 else None
    return None


def usage(pid: int) -> Usage | None:
    """CPU time, threads and memory of a process; None where it is gone or out of sight."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The second field is the name, in parentheses, and may hold anything. The third, the state, is the first of these.
    fields = text[text.rindex(b")") + 2 :].split()
    if len(fields) < 22:
        return None
    return Usage((int(fields[11]) + int(fields[12])) / _TICK, int(fields[17]), int(fields[21]) * _PAGE)


def proportional_memory(pid: int) -> int | None:
    """Bytes of memory, with those shared with other processes divided among them (PSS); None where it cannot be read.

    Takes about a millisecond, and more for a large process.
    """
    with contextlib.suppress(OSError, StopIteration), _as_owner(pid):
        lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(b"Pss:"))
    return None


def deleted_files(pid: int, *, usual: int = 0, mapped_at: int = 0) -> int | None:
    """Bytes on disk of files that have no name any more and that the process holds open; None where it cannot be read.

    Not looked at with no more than `usual` open files. With `mapped_at`, files that are only mapped count as well, by so
    many bytes each, since their size cannot be seen: that takes about half a millisecond.
    """
    with contextlib.suppress(OSError), _as_owner(pid):
        sizes: dict[int, int] = {}
        names = os.listdir(f"/proc/{pid}/fd")
        for name in names if len(names) > usual else ():
            with contextlib.suppress(OSError):  # closed meanwhile
                file = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                    sizes[file.st_ino] = file.st_blocks * 512
        if mapped_at:
            sizes = dict.fromkeys(_mapped(pid), mapped_at) | sizes
        return sum(sizes.values())
    return None


def _mapped(pid: int) -> Iterator[int]:
    """The inodes of deleted files that are mapped. Memory shared without a file looks like a deleted /dev/zero."""
    with open(f"/proc/{pid}/maps", "rb") as maps:
        for line in maps:
            if line.endswith(b" (deleted)\n"):
                fields = line.split(maxsplit=5)
                if not fields[5].startswith((b"/dev/zero", b"/memfd:", b"/SYSV")):
                    yield int(fields[4])


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 14)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _as_owner(pid: int) -> Iterator[None]:
    """Read the files of a process in /proc with the rights of its user, where this thread has not the rights itself.

    The user id that a thread has for access to files can be changed for the thread alone (setfsuid(2)).
    """
    owner = os.stat(f"/proc/{pid}").st_uid
    if os.geteuid() != 0 or owner == 0 or _may_trace():
        yield
        return
    dumpable = kernel.prctl(kernel.PR_GET_DUMPABLE, 0)
    libc = ctypes.PyDLL(None)
    libc.setfsgid(owner)
    libc.setfsuid(owner)
    try:
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(os.getegid())
        kernel.prctl(kernel.PR_SET_DUMPABLE, dumpable)  # the kernel resets it with every change of that user id


@cache
def _may_trace() -> bool:
    return bool(kernel.capabilities() >> kernel.CAP_SYS_PTRACE & 1)
