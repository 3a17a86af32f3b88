"""Namespaces of the zygote and its children: without the machine's network and processes, and with mounts of their own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from sctir_kaggle.sandbox import kernel

_KINDS = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def enter_namespaces() -> str:
    """Move the zygote into new namespaces; returns their names. OSError where none is allowed, as in most containers.

    The caller goes on in a fork, as pid 1 of the new pid namespace: when pid 1 ends, the kernel kills all others in it.
    """
    in_a_user_namespace = unshare(_KINDS)
    _go_on_in_a_fork()
    return "user, network, ipc, pid" if in_a_user_namespace else "network, ipc, pid"


def unshare(kinds: int) -> bool:
    """Move this process, which must have one thread, into new namespaces of these kinds; OSError where that is refused.

    Returns whether it took a new user namespace, in which everyone may make the others. That one cannot be left again, so
    it is tried in a fork first.
    """
    try:
        kernel.unshare(kinds)
    except PermissionError:
        with_user = kinds | kernel.CLONE_NEWUSER
        if not succeeds_in_a_fork(lambda: _unshare_with_ids(with_user)):
            raise
        _unshare_with_ids(with_user)
        return True
    return False


def succeeds_in_a_fork(attempt: Callable[[], object]) -> bool:
    """Whether `attempt` raises nothing in a process that ends with it."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            attempt()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    return status == 0


def _unshare_with_ids(kinds: int) -> None:
    """Enter a user namespace that has root's ids, all of them, or this user's alone."""
    if os.geteuid() == 0:
        _unshare_with_all_ids(kinds)
    else:
        _unshare_with_own_id(kinds)


def _unshare_with_own_id(kinds: int) -> None:
    """Without privileges, only the own ids can be mapped; the kernel wants setgroups denied before a gid is."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kinds)
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _unshare_with_all_ids(kinds: int) -> None:
    """Root without CAP_SYS_ADMIN, as in a container, maps every id to itself: children need user ids of their own.

    Only a process outside of the new namespace may map more than one id, hence the fork that waits for it.
    """
    maps = {name: _identity(name) for name in ("uid_map", "gid_map")}
    entered, enter = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(enter)
            os.read(entered, 1)
            for name, text in maps.items():
                with open(f"/proc/{os.getppid()}/{name}", "w") as file:
                    file.write(text)
            os._exit(0)
        os._exit(1)
    os.close(entered)
    try:
        kernel.unshare(kinds)
    finally:
        os.close(enter)
        _, status = os.waitpid(pid, 0)
    if status:
        raise PermissionError("the ids of a user namespace cannot be mapped")


def id_ranges(name: str = "uid_map") -> list[tuple[int, int]]:
    """The ids that this process's user namespace has: the first of each range, and how many."""
    with open(f"/proc/self/{name}") as file:
        return [(int(first), int(count)) for first, _, count in map(str.split, file)]


def _identity(name: str) -> str:
    """A map of every id of this user namespace to itself."""
    return "".join(f"{first} {first} {count}\n" for first, count in id_ranges(name))


def _go_on_in_a_fork() -> None:
    """Return in the child, since unshare moves only later forks into a new pid namespace.

    The parent waits and passes on the child's exit code; the child is killed with it (PR_SET_PDEATHSIG).
    """
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(0, 1024)  # the host must see the end of its sockets when the child ends
    _, status = os.waitpid(pid, 0)
    os._exit(abs(os.waitstatus_to_exitcode(status)))
