"""New namespaces for the zygote, and so for all of its children: no network, no foreign processes to see or signal.

Entered once, at the start: a namespace for each child would cost a millisecond each. See namespaces(7).
"""

from __future__ import annotations

import contextlib
import os
import signal

from sctir_kaggle.sandbox import kernel

_NEW = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def enter() -> str:
    """Enter what this user may; returns their names. OSError where none is allowed, as in most containers.

    With a namespace for pids the caller goes on in a fork, as pid 1 of it: when that ends, all of its children do.
    """
    try:
        kernel.unshare(_NEW)
        names = "network, ipc, pid"
    except PermissionError:
        if os.geteuid() == 0:  # a user namespace would take away the user ids that children could have
            raise
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(_NEW | kernel.CLONE_NEWUSER)
        _map_onto_itself(user, group)
        names = "user, network, ipc, pid"
    _go_on_in_a_fork()
    return names


def _map_onto_itself(user: int, group: int) -> None:
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _go_on_in_a_fork() -> None:
    """Return in the child; the parent stays to hand on its end, and takes the child along should it be killed."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(0, 1024)  # the host must see the end of its sockets when the child ends
    _, status = os.waitpid(pid, 0)
    os._exit(abs(os.waitstatus_to_exitcode(status)))
