"""What a child takes of this machine besides memory: descriptors here, and a process; and how to say that it is missing.

Each live child costs the host three descriptors: its channel, its output and a pidfd.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource

WANTED = 8192
"""Descriptors that this process may have open once it has a sandbox, if the hard limit allows: 2,700 live children."""

KEPT_FREE = 16
"""Descriptors that are left to the rest of this process: a journal cannot be written without any."""


class Shortage(Exception):
    """No child can be started now; the message says what is missing and where the limit is. It may pass."""


def raise_limit() -> None:
    """Raise the soft limit on descriptors to WANTED, or to the hard limit if that is lower. Never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_room() -> None:
    """Raise `Shortage` where this process cannot open KEPT_FREE descriptors more. Tried before a child is forked in vain."""
    opened: list[int] = []
    try:
        for _ in range(KEPT_FREE):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if not opened else os.dup(opened[0]))
    except OSError as error:
        raise shortage(error.errno or errno.EMFILE, here=True) from None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def shortage(number: int, *, here: bool) -> Shortage:
    """What the errno of a failed fork or of a failed descriptor means, in this process or in the zygote."""
    if number in (errno.EMFILE, errno.ENFILE):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit, flag = (soft, "-n") if here else (hard, "-Hn")
        reason = f"out of descriptors: ulimit {flag} is {limit}, and each live candidate takes {3 if here else 1}"
    elif number == errno.ENOMEM:
        reason = "out of memory for another process"
    elif number == errno.EAGAIN:
        reason = "out of processes: ulimit -u, or pids.max of the cgroup, is reached"
    else:
        reason = f"not able to start a process: {os.strerror(number)}"
    return Shortage(f"is {reason}; raise the limit or run fewer candidates at a time")
