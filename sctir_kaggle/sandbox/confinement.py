"""The layers that confine a child before it runs model-generated code; each is used where the kernel has it.

| layer      | needs                    | holds                                                                         |
|------------|--------------------------|-------------------------------------------------------------------------------|
| limits     | Unix                     | memory, CPU time, stack, file size, open files; own session, folder and empty |
|            |                          | environment, no descriptors, no core; first for the out-of-memory killer      |
| seccomp    | Linux, x86_64 or aarch64 | an allow-list of system calls: no processes, network, signals to others,      |
|            |                          | tracing, mounts, metadata of files, hidden memory, new kernel interfaces      |
| landlock   | Linux 5.13, switched on  | reads Python and libraries only, writes the private folder only               |
| user       | root                     | a user id of its own without capabilities; a limit on threads that counts     |
| namespaces | root, or user namespaces | no network interfaces, no foreign processes, all end with the zygote          |

What is left when one is missing:
- no landlock: the filter refuses to open anything for writing, so the private folder cannot be used. Files can be READ as
  far as their permissions go, the environment of other processes of the same user (in /proc) included; with `user`, that
  is what everyone may read.
- no seccomp: processes, network and signals are held by `namespaces` and `user` alone; without these, by nothing.
- no user: the number of threads is bounded by the address space of their stacks only.
- no namespaces: nothing that seccomp does not hold already.
- not Linux: `limits` only, and of these no memory limit.

NOT covered by any of them: a bug of the kernel; whether a path exists, and its size (stat); time and load as side
channels; the memory of all children together (each has its limit, and the kernel kills them before anything else); what a
block writes to the disk within the tenth of a second between two checks (`folder`); how a block says it ended. That status
comes from a process that the block runs in, and the block could read the token that a reply begins with. It can only harm
its own candidate: a child is stopped between blocks, and time, memory and output are bounded from outside.

What ordinary code misses: `chmod`, and so `shutil.copy` (`copyfile` works); links; locks shared between processes
(`multiprocessing`, its `ThreadPool` included; `concurrent.futures` has one that works); anything else that needs a process.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sysconfig
from collections.abc import Callable, Collection
from typing import TypeVar

from sctir_kaggle.sandbox import kernel, limits
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.landlock import View
from sctir_kaggle.sandbox.protocol import SWITCHED_OFF, Layer
from sctir_kaggle.sandbox.seccomp import Filter

T = TypeVar("T")


class Confinement:
    """The layers of this machine: prepared and tried once in the zygote, then entered by each child.

    `layers` says for each whether it is active, and how or why not.
    """

    def __init__(self, folder: str, *, memory_mb: int, namespaces: Layer, without: Collection[str]) -> None:
        self._folder, self._memory_mb, self._without, self._zygote = folder, memory_mb, without, os.getpid()
        self.layers = [self._limits(), namespaces]
        self._view = self._prepare("landlock", View)
        self._filter = self._prepare("seccomp", self._make_filter)
        self._user = self._prepare_user()

    def enter(self, number: int, *, channel: int, output: int) -> None:
        """Turn a fresh fork of the zygote into its child of that number, for good.

        `channel` and `output` are the descriptors that it keeps. Ends the process where the zygote is gone. OSError where
        a layer that was prepared cannot be entered: then no code may run.

        The order matters: each step takes away something that an earlier one needs.
        """
        os.setsid()  # a process group of its own, which the zygote can kill as one
        if "limits" not in self._without:
            limits.lower_all(self._memory_mb)  # /proc/self is out of sight once Landlock holds
        limits.give_up_privileges()  # Landlock and seccomp want no_new_privs first
        folder = f"{self._folder}/{number}"
        os.mkdir(folder, 0o700)  # as root still, in a folder where the child's own user may not write
        self._give_up_root(number, folder)
        limits.move_to(folder)
        if self._view:
            self._view.enter(folder)  # once the folder exists, which one of its rules opens
        limits.die_with(self._zygote)  # after the change of user, which clears the parent-death signal
        limits.keep_only(channel, output)  # after Landlock, whose rules are descriptors that the zygote holds open
        if "limits" not in self._without:
            limits.limit_open_files()  # after the above, which closes all descriptors below the old limit
        if self._filter:
            self._filter.install(os.getpid())  # last: it refuses most of the system calls above

    def _limits(self) -> Layer:
        if "limits" in self._without:
            return Layer("limits", False, SWITCHED_OFF)
        return Layer("limits", True, f"{self._memory_mb} MB, {limits.OPEN_FILES} open files")

    def _make_filter(self) -> Filter:
        kernel.check_filters()
        return Filter(writable=self._view is not None)

    def _prepare_user(self) -> UnprivilegedUser | None:
        if os.geteuid() != 0:
            self.layers.append(Layer("user", None, f"not root: children have user id {os.geteuid()}"))
            return None
        os.chmod(self._folder, 0o711)  # children may pass through it to their own folder, and not list it
        return self._prepare("user", lambda: UnprivilegedUser(self._folder, confined_files=self._view is not None))

    def _give_up_root(self, number: int, folder: str) -> None:
        if self._user:
            limits.limit_threads()  # here only: the kernel counts the threads of a user, and this user is the child's alone
            self._user.enter(number, folder)
        elif "user" not in self._without:
            with contextlib.suppress(OSError):  # not Linux
                kernel.keep_capabilities(0)  # root's, or all those that a user namespace gave

    def _prepare(self, name: str, make: Callable[[], T]) -> T | None:
        """Make a layer and list it as active; or return None and list it with the reason why it is not."""
        if name in self._without:
            self.layers.append(Layer(name, False, SWITCHED_OFF))
            return None
        try:
            made = make()
        except (OSError, ValueError) as error:
            self.layers.append(Layer(name, False, str(error)))
            return None
        self.layers.append(Layer(name, True, str(made)))
        return made


FIRST_USER = 1_500_000_000
"""The lowest user id of a child: far above the ids of people, services and containers."""

USERS = 100_000
"""The number of user ids of one zygote. Each zygote takes a range of its own at random: the kernel counts threads per user,
so children of two zygotes with one id would share a limit."""

_RANGES = 20_000
_READ_ALL = 1 << kernel.CAP_DAC_READ_SEARCH


class UnprivilegedUser:
    """A user id for each child, where the zygote is root. How it is entered is decided once, by trying it in a fork."""

    def __init__(self, folder: str, *, confined_files: bool) -> None:
        """Try it below `folder`. PermissionError, with the reason, where children have to stay root.

        Python may be installed where only root can read, as in /root. A child may then keep the one capability that
        ignores read permissions, provided that its files are confined by Landlock.
        """
        self.capabilities, self._first = 0, FIRST_USER + secrets.randbelow(_RANGES) * USERS
        if self._works(folder):
            return
        self.capabilities = _READ_ALL
        if not confined_files or not self._works(folder):
            raise PermissionError("another user could not read this Python, or user ids cannot be changed")

    def enter(self, number: int, folder: str) -> None:
        """Become the user of the child of that number, irrevocably, and the owner of `folder`."""
        user = self._first + number % USERS
        os.chown(folder, user, user)
        become(user, self.capabilities)

    def __str__(self) -> str:
        return "a user id for each child" + (", that may read what root can" if self.capabilities else "")

    def _works(self, folder: str) -> bool:
        """Whether a process that has become another user can read Python and write to its folder."""
        probe = f"{folder}/probe"
        os.mkdir(probe, 0o700)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                self.enter(USERS - 1, probe)
                for kind in ("stdlib", "purelib"):
                    os.listdir(sysconfig.get_paths()[kind])
                os.mkdir(f"{probe}/inner")
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        remove(probe)
        return status == 0


def become(user: int, capabilities: int) -> None:
    """Change all user and group ids to `user`, and keep only the capabilities in that bit mask."""
    # Without KEEPCAPS a change from root to another id drops all permitted capabilities. Groups go first, users last: once
    # the user has changed, the process may no longer change groups.
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if capabilities else 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.keep_capabilities(capabilities)


_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def enter_namespaces() -> str:
    """Move the zygote into new namespaces; returns their names. OSError where none is allowed, as in most containers.

    The caller goes on in a fork, as pid 1 of the new pid namespace: when pid 1 ends, the kernel kills all others in it.
    """
    try:
        kernel.unshare(_NAMESPACES)
        names = "network, ipc, pid"
    except PermissionError:
        # Root stays out of a user namespace: with one id mapped, children could not have user ids of their own.
        if os.geteuid() == 0:
            raise
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(_NAMESPACES | kernel.CLONE_NEWUSER)
        _map_onto_itself(user, group)
        names = "user, network, ipc, pid"
    _go_on_in_a_fork()
    return names


def _map_onto_itself(user: int, group: int) -> None:
    """Give the new user namespace this user and group; the kernel wants setgroups denied before a gid is mapped."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


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
