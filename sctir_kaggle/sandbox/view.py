"""A view of files for children where Landlock is missing: a root folder that shows Python, its libraries and little else.

Made by mounts, in a mount namespace of the zygote: Python, its packages, shared libraries and time zones appear read-only
at their usual paths, with four devices and the folder of the children. There is no /proc, no /etc/passwd and no input in
it. A child enters by chroot, which it cannot undo: it has no capability, no descriptor of a folder outside, and seccomp.
Where mounts are refused, `jail` makes such a root of links.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from typing import Protocol

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.landlock import DEVICES, readable_paths
from sctir_kaggle.sandbox.namespaces import unshare

ALTERNATIVES = "/etc/alternatives"
"""Debian's choice between libraries: links on the way from one folder of libraries to another."""

_INSIDE = "/work"
"""Where the view shows the folder of the children."""

_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/boot", "/home", "/sys")
"""Folders that the root can be mounted on. This hides one of them from the zygote, which needs none; the machine and the
host do not see the mount, and nothing is left of it when the zygote ends."""

_SEMAPHORES = "/dev/shm"  # the C library looks whether a name is free, and only then is told that it may not take it
_CLOSED = (_SEMAPHORES, "/dev/ptmx", "/etc/passwd", "/etc/hosts")

_LINKS_ON_A_PATH = 40  # as many as the kernel follows


class View(Protocol):
    """A root folder for children."""

    needs_users: bool
    """Whether it holds only for children with user ids of their own."""

    def enter(self, folder: str, *, alone: bool) -> str:
        """Make it the root of this process, irrevocably once its capabilities are gone; returns where `folder` is now.

        `alone`: show no other child's folder, for children that have the user id of others. OSError where it is refused.
        """

    def remove(self) -> None:
        """Undo what stays on the disk."""


class MountedView:
    """A root folder made of read-only mounts."""

    needs_users = False

    def __init__(self, folder: str) -> None:
        """Make it, for children with folders below `folder`; OSError where mounts are refused."""
        unshare(kernel.CLONE_NEWNS)
        kernel.mount(None, "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)  # what follows stays in this namespace
        paths = [*readable_paths(), ALTERNATIVES]
        self._root = _mount_point([*paths, folder, __file__])
        # Its owner may be the user of the children: not even that one may list it. It becomes read-only in the end.
        kernel.mount("tmpfs", self._root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0111,size=4m")
        try:
            self._fill(folder, paths)
        except OSError:
            kernel.unmount(self._root)
            raise

    def enter(self, folder: str, *, alone: bool) -> str:
        inside = f"{_INSIDE}/{os.path.basename(folder)}"
        if alone:
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.mount(folder, self._root + _INSIDE, flags=kernel.MS_BIND)  # over the folder of all children
            inside = _INSIDE
        os.chroot(self._root)
        os.chdir(inside)
        return inside

    def remove(self) -> None:
        """Nothing stays: mounts end with their namespace."""

    def __str__(self) -> str:
        return "mounts: Python and its libraries, read-only"

    def _fill(self, folder: str, paths: Iterable[str]) -> None:
        for path in lay_out(self._root, paths):
            _make_place(path, self._root + path)
            kernel.bind_read_only(path, self._root + path)
        for path in filter(os.path.exists, DEVICES):
            _make_place(path, self._root + path)
            kernel.mount(path, self._root + path, flags=kernel.MS_BIND)
        _make_place(folder, self._root + _INSIDE)
        kernel.mount(folder, self._root + _INSIDE, flags=kernel.MS_BIND)
        put_up_closed_doors(self._root)
        flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount(None, self._root, flags=flags)


def _mount_point(needed: Iterable[str]) -> str:
    """A folder of the machine without any of the needed paths."""
    real = [os.path.realpath(path) for path in needed]
    for place in _MOUNT_POINTS:
        if os.path.isdir(place) and not any(f"{path}/".startswith(f"{os.path.realpath(place)}/") for path in real):
            return place
    raise OSError(errno.ENOENT, f"there is none of the folders {', '.join(_MOUNT_POINTS)} to mount it on")


def _make_place(path: str, place: str) -> None:
    """An empty folder, or file, as `path` is one, to mount it on."""
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o644))


def put_up_closed_doors(root: str) -> None:
    """Empty files and folders in place of what is left out, without permissions even for their owner.

    Code that asks for an input or a semaphore is then told that it may not, as by Landlock, and not that there is none.
    """
    for path in [f"/{entry.name}" for entry in os.scandir("/") if entry.is_dir(follow_symlinks=False)] + [*_CLOSED]:
        place = root + path
        with contextlib.suppress(FileExistsError):
            if os.path.isdir(path):
                os.mkdir(place, 0o111 if path == _SEMAPHORES else 0)
            elif os.path.exists(path):
                os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0))


def lay_out(root: str, paths: Iterable[str]) -> list[str]:
    """Make the symbolic links on the way to `paths` below `root` as well; returns the real paths to be put there.

    What does not exist is left out, and so is what lies in another of the folders that are returned.
    """
    real = {_follow(root, path) for path in paths if os.path.exists(path)} - {"/"}
    return sorted(path for path in real if not any(path.startswith(f"{other}/") for other in real))


def _follow(root: str, path: str) -> str:
    """The real path. Each link on the way is made below `root`, since with that root it leads from there."""
    done, left, links = "", path.split("/"), 0
    while left:
        name = left.pop(0)
        if name == "..":
            done = os.path.dirname(done)
        elif name in ("", "."):
            continue
        elif os.path.islink(f"{done}/{name}") and (links := links + 1) <= _LINKS_ON_A_PATH:
            target = os.readlink(f"{done}/{name}")
            os.makedirs(root + done, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.symlink(target, f"{root}{done}/{name}")
            done, left = "" if target.startswith("/") else done, target.split("/") + left
        else:
            done = f"{done}/{name}"
    return done.rstrip("/") or "/"
