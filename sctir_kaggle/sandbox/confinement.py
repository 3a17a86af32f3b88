"""The layers that confine a child before it runs model-generated code; each is used where the kernel has it.

| layer      | needs                    | holds                                                                         |
|------------|--------------------------|-------------------------------------------------------------------------------|
| limits     | Unix                     | memory, CPU time, stack, file size, open files; low priority; own process     |
|            |                          | group, folder and empty environment, no descriptors, no core; first for the   |
|            |                          | out-of-memory killer. Looked at by the host (`watch`, Linux 5.3): files that  |
|            |                          | were deleted and are held open, threads, CPU time, the memory of all children |
| seccomp    | Linux, x86_64 or aarch64 | an allow-list of system calls: no processes, network, signals to others,      |
|            |                          | tracing, mounts, metadata of files, hidden memory, new kernel interfaces      |
| landlock   | Linux 5.13, switched on  | reads Python and libraries only, writes the private folder only               |
| view       | root, or user namespaces | the same where landlock is missing: a root folder without the rest of the     |
|            |                          | machine, made of read-only mounts, or of links where mounts are refused       |
| user       | root                     | a user id of its own without capabilities; a limit on threads that counts     |
| namespaces | root, or user namespaces | no network interfaces, no foreign processes, all end with the zygote          |

What is left when one is missing:
- no landlock: the view holds what it held. One of links (`jail`) needs `user`, and shows a choice of packages only.
- no landlock and no view (an ordinary user in a container): the filter refuses to open anything for writing, so the
  private folder cannot be used, and matplotlib and temporary files fail. Files can be READ as far as their permissions go,
  the environment of other processes of the same user (in /proc) included; with `user`, that is what everyone may read.
- no seccomp: processes, network and signals are held by `namespaces` and `user` alone; without these, by nothing.
- no user: the kernel counts the threads of all children and of the host together, if they have one user. Where it allows
  user namespaces, each child enters one of its own, in which its threads are counted alone. Elsewhere the children leave a
  quarter of the user's allowance to the host, and one with too many threads is ended at the host's next look.
- no namespaces: nothing that seccomp does not hold already.
- not Linux: `limits` only, and of these no memory limit.

NOT covered by any of them: a bug of the kernel; whether a path exists, and its size (stat); time and load as side
channels; what a block writes to the disk, or takes of the memory of all, within the tenth of a second between two looks
(`watch`); sixty threads of one block against one of the host on the same core; how a block says it ended. That status comes
from a process that the block runs in, and the block could read the token that a reply begins with. It can only harm its own
candidate: a child is stopped between blocks, and time, memory and output are bounded from outside.

What ordinary code misses: `chmod`, and so `shutil.copy` (`copyfile` works); links; locks shared between processes
(`multiprocessing`, its `ThreadPool` included; `concurrent.futures` has one that works); anything else that needs a process.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sysconfig
from collections.abc import Callable, Collection
from typing import TypeVar

from sctir_kaggle.sandbox import kernel, limits
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.jail import Jail
from sctir_kaggle.sandbox.landlock import FileRules
from sctir_kaggle.sandbox.namespaces import id_ranges, succeeds_in_a_fork
from sctir_kaggle.sandbox.protocol import LAYERS, SWITCHED_OFF, Layer
from sctir_kaggle.sandbox.seccomp import Filter
from sctir_kaggle.sandbox.view import MountedView, View

T = TypeVar("T")


class Confinement:
    """The layers of this machine: prepared and tried once in the zygote, then entered by each child.

    `layers` says for each whether it is active, and how or why not.
    """

    def __init__(self, folder: str, *, memory_mb: int, namespaces: Layer, without: Collection[str]) -> None:
        self._folder, self._memory_mb, self._without, self._zygote = folder, memory_mb, without, os.getpid()
        self._threads = limits.threads_allowed()
        self._layers = {"limits": self._limits(), "namespaces": namespaces}
        self._rules = self._prepare("landlock", FileRules)
        self._view = self._prepare_view()
        self._user = self._prepare_user()
        self._check_view()
        self._filter = self._prepare("seccomp", self._make_filter)

    @property
    def layers(self) -> list[Layer]:
        """All layers, in the order of `LAYERS`."""
        return [self._layers[name] for name in LAYERS]

    def enter(self, number: int, *, channel: int, output: int) -> None:
        """Turn a fresh fork of the zygote into its child of that number, for good.

        `channel` and `output` are the descriptors that it keeps. Ends the process where the zygote is gone. OSError where
        a layer that was prepared cannot be entered: then no code may run.

        The order matters: each step takes away something that an earlier one needs.
        """
        os.setpgrp()  # of its own, so that the zygote can kill it as one; no session: see `stand_back_as_session`
        if "limits" not in self._without:
            limits.lower_all(self._memory_mb)  # /proc/self is out of sight once Landlock or the view holds
        limits.give_up_privileges()  # Landlock and seccomp want no_new_privs first
        folder = f"{self._folder}/{number}"
        os.mkdir(folder, 0o700)  # as root still, in a folder where the child's own user may not write
        folder = self._give_up_root(number, folder)
        limits.move_to(folder)
        if self._rules:
            self._rules.enter(folder)  # once the folder exists, which one of its rules opens
        limits.die_with(self._zygote)  # after the change of user, which clears the parent-death signal
        limits.keep_only(channel, output)  # after Landlock, whose rules are descriptors that the zygote holds open
        if "limits" not in self._without:
            limits.limit_open_files()  # after the above, which closes all descriptors below the old limit
        if self._filter:
            self._filter.install(os.getpid())  # last: it refuses most of the system calls above

    def remove(self) -> None:
        """Undo what the layers left on the disk, once all children are gone."""
        if self._view:
            self._view.remove()

    def _limits(self) -> Layer:
        if "limits" in self._without:
            return Layer("limits", False, SWITCHED_OFF)
        return Layer("limits", True, f"{self._memory_mb} MB, {limits.OPEN_FILES} open files")

    def _make_filter(self) -> Filter:
        kernel.check_filters()
        return Filter(writable=self._files_are_confined)

    @property
    def _files_are_confined(self) -> bool:
        return self._rules is not None or self._view is not None

    def _prepare_view(self) -> View | None:
        if self._rules:
            self._layers["view"] = Layer("view", None, "not needed: landlock confines the files")
            return None
        return self._prepare("view", lambda: make_view(self._folder))

    def _check_view(self) -> None:
        """Do without a view that does not hold for these children, and say what takes the place of what."""
        if self._view and self._view.needs_users and not self._user:
            self._view = None
            self._layers["view"] = Layer("view", False, "a changed root needs a user id for each child")
        if self._view and self._layers["landlock"].detail != SWITCHED_OFF:
            detail = self._layers["landlock"].detail
            self._layers["landlock"] = Layer("landlock", False, f"{detail}; the view confines the files instead")
        if not self._files_are_confined and self._layers["view"].detail != SWITCHED_OFF:
            detail = f"{self._what_is_open()} ({self._layers['view'].detail})"
            self._layers["view"] = Layer("view", False, detail)

    def _what_is_open(self) -> str:
        """What code can do where nothing confines the files, in words for a user who has to decide about it."""
        if self._user:
            return "code can READ what every user may, inputs and devices included, and write nothing"
        return (
            f"code can READ what user {os.geteuid()} may, the inputs and the secrets in the environment of its processes"
            " included, and write nothing; run as root, or where user namespaces are allowed"
        )

    def _prepare_user(self) -> UnprivilegedUser | None:
        if os.geteuid() != 0:
            self._layers["user"] = Layer("user", None, f"not root: children have user id {os.geteuid()}")
            return None
        os.chmod(self._folder, 0o711)  # children may pass through it to their own folder, and not list it
        return self._prepare(
            "user", lambda: UnprivilegedUser(self._folder, self._view, confined_by_rules=bool(self._rules))
        )

    def _give_up_root(self, number: int, folder: str) -> str:
        """Become the child's own user, in its view of files; returns the path of its folder there."""
        if self._user:
            limits.limit_threads(self._threads)
            folder = self._user.enter(number, folder)
            limits.be_observable()  # after the change of user, which undoes it
            return folder
        # A user namespace comes first: no process with a changed root may make one.
        alone = "user" not in self._without and self._limit_threads_of_shared_user()
        if self._view:
            folder = self._view.enter(folder, alone=True)
        if self._view or "user" not in self._without:  # root with its capabilities could leave a view
            with contextlib.suppress(OSError):  # not Linux
                kernel.keep_capabilities(0)  # root's, or all those that a user namespace gave
            if alone:
                limits.be_observable()
        return folder

    def _limit_threads_of_shared_user(self) -> bool:
        """Have the threads of this child counted by themselves, in a user namespace; False where that is not possible."""
        if "limits" in self._without or os.geteuid() == 0:  # the kernel does not hold root to this limit
            return False
        with contextlib.suppress(OSError):
            limits.enter_own_user_namespace()
            limits.limit_threads(self._threads)
            return True
        return False

    def _prepare(self, name: str, make: Callable[[], T]) -> T | None:
        """Make a layer and list it as active; or return None and list it with the reason why it is not."""
        if name in self._without:
            self._layers[name] = Layer(name, False, SWITCHED_OFF)
            return None
        try:
            made = make()
        except (OSError, ValueError) as error:
            self._layers[name] = Layer(name, False, getattr(error, "strerror", None) or str(error))
            return None
        self._layers[name] = Layer(name, True, str(made))
        return made


def make_view(folder: str) -> View:
    """A view by mounts, or else by links; OSError, with both reasons, where neither is possible."""
    # Folders on the way to Python can be passed through, and nobody, not their owner, may list them.
    umask = os.umask(0o666)
    try:
        try:
            return MountedView(folder)
        except OSError as error:
            refused = error
        os.umask(0o066)  # those of a jail belong to root, and are filled by it
        try:
            return Jail(folder)
        except OSError as error:
            reasons = f"mounts: {refused.strerror or refused}; chroot: {error.strerror or error}"
            raise OSError(error.errno, reasons) from None
    finally:
        os.umask(umask)


FIRST_USER = 1_500_000_000
"""The lowest user id of a child: far above the ids of people, services and containers."""

USERS = 100_000
"""The number of user ids of one zygote. Each zygote takes a range of its own at random: the kernel counts threads per user,
so children of two zygotes with one id would share a limit."""

_RANGES = 20_000
_FEWEST_IDS = 1_000
"""As many children must be able to live at a time: two with one id could read each other's folders."""

_READ_ALL = 1 << kernel.CAP_DAC_READ_SEARCH


class UnprivilegedUser:
    """A user id for each child, where the zygote is root. How it is entered is decided once, by trying it in a fork."""

    def __init__(self, folder: str, view: View | None, *, confined_by_rules: bool) -> None:
        """Try it below `folder`, in the view. PermissionError, with the reason, where children have to stay root.

        Python may be installed where only root can read, as in /root. A view shows it in a place that is open. Without one
        a child may keep the one capability that ignores read permissions, provided that rules of Landlock hold.
        """
        self.capabilities, self._view = 0, view
        self._first, self._ids = _free_ids()
        if self._works(folder):
            return
        self.capabilities = _READ_ALL
        if not confined_by_rules or not self._works(folder):
            raise PermissionError("another user could not read this Python, or user ids cannot be changed")

    def enter(self, number: int, folder: str) -> str:
        """Become the user of the child of that number, irrevocably, and the owner of `folder`; returns its path now."""
        user = self._first + number % self._ids
        os.chown(folder, user, user)
        if self._view:
            folder = self._view.enter(folder, alone=False)  # takes a capability that the user has no more
        become(user, self.capabilities)
        return folder

    def __str__(self) -> str:
        return "a user id for each child" + (", that may read what root can" if self.capabilities else "")

    def _works(self, folder: str) -> bool:
        """Whether a process that has become another user can read Python and write to its folder."""
        probe = f"{folder}/probe"
        os.mkdir(probe, 0o700)
        needed = [path for kind in ("stdlib", "purelib") if os.path.isdir(path := sysconfig.get_paths()[kind])]
        works = succeeds_in_a_fork(lambda: self._probe(probe, needed))
        remove(probe)
        return works

    def _probe(self, folder: str, needed: list[str]) -> None:
        inside = self.enter(self._ids - 1, folder)
        for path in needed:
            os.listdir(path)
        os.mkdir(f"{inside}/inner")


def _free_ids() -> tuple[int, int]:
    """The first user id for children, and how many follow: from `FIRST_USER`, or else from what a user namespace has.

    A container without privileges has 65,536 ids or so. The upper half of them belongs to nobody as a rule.
    """
    ranges = id_ranges()
    if any(first <= FIRST_USER and first + count >= FIRST_USER + _RANGES * USERS for first, count in ranges):
        return FIRST_USER + secrets.randbelow(_RANGES) * USERS, USERS
    first, count = max(ranges, key=lambda found: found[1])
    ids = min(USERS, count // 8)
    if ids < _FEWEST_IDS:
        raise PermissionError(f"the user namespace has {count} ids only")
    return first + count // 2 + secrets.randbelow(count // 2 - ids), ids


def become(user: int, capabilities: int) -> None:
    """Change all user and group ids to `user`, and keep only the capabilities in that bit mask."""
    # Without KEEPCAPS a change from root to another id drops all permitted capabilities. Groups go first, users last: once
    # the user has changed, the process may no longer change groups.
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if capabilities else 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.keep_capabilities(capabilities)
