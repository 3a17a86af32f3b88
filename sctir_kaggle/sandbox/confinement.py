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
from collections.abc import Callable, Collection
from typing import TypeVar

from sctir_kaggle.sandbox import kernel, limits
from sctir_kaggle.sandbox.landlock import View
from sctir_kaggle.sandbox.layer import SWITCHED_OFF, Layer
from sctir_kaggle.sandbox.privileges import Unprivileged
from sctir_kaggle.sandbox.seccomp import Filter

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
