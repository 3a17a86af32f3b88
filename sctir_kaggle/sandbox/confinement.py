"""What holds a child back before it sees a line of the model's code, in layers; each is used where the kernel has it.

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
- no landlock: the filter refuses every opening for writing (so there is no use of the private folder); files can be READ
  as far as their permissions go, the environment of other processes of the same user (in /proc) included. With `user`
  that is what everyone may read.
- no seccomp: processes, network and signals are held by `namespaces` and `user` alone; without these, by nothing.
- no user: the number of threads is bounded by their stacks' address space only.
- no namespaces: nothing that seccomp does not hold already.
- not Linux: `limits` only, and of these no memory limit.

NOT covered by any of them: a bug of the kernel; whether a path exists and its size (stat); time and load as side
channels; the memory of all children together (each has its limit, and the kernel ends them before anything else); what a
block writes to the disk within the tenth of a second between two looks (`folder`); how a block says it ended. That last
is the word of a process that the block runs in, which could read the token that a reply begins with: it can only harm
its own candidate, since a child is stopped between blocks and time, memory and output are bounded from outside.

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

FIRST_USER = 1_500_000_000  # far above what people, services and containers are given
USERS = 100_000
"""Of one zygote; each zygote has a range of its own, or the limit on threads would count those of another's children."""
_RANGES = 20_000
_READ_ALL = 1 << kernel.CAP_DAC_READ_SEARCH


class Unprivileged:
    """How children become somebody else; decided once, by trying it in a fork."""

    def __init__(self, folder: str, *, confined_files: bool) -> None:
        """PermissionError, with the reason, where children have to stay root. It is tried out beneath `folder`.

        Python may lie where only root can read, as in /root. If the file view of `landlock` holds, a child may then
        keep the one capability that ignores read permissions.
        """
        self.capabilities, self._first = 0, FIRST_USER + secrets.randbelow(_RANGES) * USERS
        if self._works(folder):
            return
        self.capabilities = _READ_ALL
        if not confined_files or not self._works(folder):
            raise PermissionError("another user could not read this Python, or user ids cannot be changed")

    def enter(self, number: int, folder: str) -> None:
        """Become the user of the child of that number, for ever, and take the folder along."""
        user = self._first + number % USERS
        os.chown(folder, user, user)
        become(user, self.capabilities)

    def __str__(self) -> str:
        return "a user id for each child" + (", that may read what root can" if self.capabilities else "")

    def _works(self, folder: str) -> bool:
        """Whether a process that became another user can read Python and write to its folder."""
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
    """Change all user and group ids to `user`, and keep only the capabilities of that bit mask."""
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if capabilities else 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.keep_capabilities(capabilities)


T = TypeVar("T")


class Confinement:
    """The layers of this machine, prepared in the zygote and entered by each child."""

    def __init__(self, folder: str, *, memory_mb: int, namespaces: Layer, without: Collection[str]) -> None:
        self._folder, self._memory_mb, self._without, self._zygote = folder, memory_mb, without, os.getpid()
        self.layers = [self._limits(), namespaces]
        self._view = self._prepare("landlock", View)
        self._filter = self._prepare("seccomp", self._make_filter)
        self._user = self._prepare_user()

    def enter(self, number: int, *, channel: int, output: int) -> None:
        """Turn a fresh fork of the zygote into its child of that number; ends it where the zygote is gone."""
        os.setsid()
        if "limits" not in self._without:
            limits.lower_all(self._memory_mb)
        limits.give_up_privileges()
        folder = f"{self._folder}/{number}"
        os.mkdir(folder, 0o700)
        self._give_up_root(number, folder)
        limits.move_to(folder)
        if self._view:
            self._view.enter(folder)
        limits.die_with(self._zygote)
        limits.keep_only(channel, output)
        if "limits" not in self._without:
            limits.limit_open_files()
        if self._filter:
            self._filter.install(os.getpid())

    def _limits(self) -> Layer:
        if "limits" in self._without:
            return Layer("limits", False, SWITCHED_OFF)
        return Layer("limits", True, f"{self._memory_mb} MB, {limits.OPEN_FILES} open files")

    def _make_filter(self) -> Filter:
        kernel.check_filters()
        return Filter(writable=self._view is not None)

    def _prepare_user(self) -> Unprivileged | None:
        if os.geteuid() != 0:
            self.layers.append(Layer("user", None, f"not root: children have user id {os.geteuid()}"))
            return None
        os.chmod(self._folder, 0o711)  # children pass through it to their own
        return self._prepare("user", lambda: Unprivileged(self._folder, confined_files=self._view is not None))

    def _give_up_root(self, number: int, folder: str) -> None:
        if self._user:
            limits.limit_threads()
            self._user.enter(number, folder)
        elif "user" not in self._without:
            with contextlib.suppress(OSError):  # not Linux
                kernel.keep_capabilities(0)  # of root, or what a user namespace gave

    def _prepare(self, name: str, make: Callable[[], T]) -> T | None:
        """The layer, noted as active; or None, noted with the reason."""
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


_NEW = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID


def enter_namespaces() -> str:
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
