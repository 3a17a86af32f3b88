"""Try what the active layers forbid, and what they must allow, in a child like any other, before the first block.

A filter with one wrong jump can allow everything while all ordinary code works: only an attempt shows it.
"""

from __future__ import annotations

import errno
import importlib
import os
import socket
import threading
from collections.abc import Callable, Collection
from functools import partial

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.landlock import readable_paths


def failures(active: Collection[str]) -> list[str]:
    """What the layers named in `active` allow and should not, or refuse and should not. Runs in a confined child."""
    found = [
        f"{layer} does not refuse {what}"
        for layer in active
        for what, (attempt, expected) in _FORBIDDEN.get(layer, {}).items()
        if _error(attempt) not in expected
    ]
    files = not {"landlock", "view"}.isdisjoint(active)
    allowed = {**_ALLOWED, **(_ALLOWED_WITH_A_FOLDER if files or "seccomp" not in active else {})}
    return found + [f"{what} fails: {error}" for what, attempt in allowed.items() if (error := _trouble(attempt))]


def _error(attempt: Callable[[], object]) -> int | None:
    try:
        attempt()
    except OSError as error:
        return error.errno
    return None


def _trouble(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return repr(error)
    return ""


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _write(path: str) -> None:
    with open(path, "w") as file:
        file.write("1")


def _read(path: str) -> None:
    """Open a file, or list a folder; a device is not read, which might wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if os.path.isdir(path):
            os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _read_source() -> None:
    """Read this file: of a project folder, unless it is installed among the packages, which may be read."""
    if any(__file__.startswith(f"{folder}/") for folder in readable_paths()):
        raise PermissionError(errno.EACCES, "readable on purpose")
    _read(__file__)


PRIVATE = (
    *("/etc/passwd", "/etc/hostname", "/kaggle/input", "/kaggle/working", "/root/.ssh", "/home", "/tmp", "/sys"),
    *("/proc", "/proc/self/environ", "/proc/self/mem", "/proc/1/environ", "/proc/1/root"),
    *("/dev", "/dev/full", "/dev/tty", "/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/shm"),
)
"""Files and folders of the machine that code must not read: inputs, other processes, devices. Some may not exist."""

_CLOSED = (errno.EACCES, errno.ENOENT)
_FILES: dict[str, tuple[Callable[[], object], tuple[int, ...]]] = {
    **{f"reading {path}": (partial(_read, path), _CLOSED) for path in PRIVATE},
    "reading its parent's environment": (lambda: _read(f"/proc/{os.getppid()}/environ"), _CLOSED),
    "reading a file of the project": (_read_source, _CLOSED),
    "listing /": (lambda: os.listdir("/"), (errno.EACCES,)),
    "listing other children's folders": (lambda: os.listdir(".."), (errno.EACCES,)),
    "writing outside of the folder": (lambda: _write("../selftest"), (errno.EACCES, errno.EROFS)),
    "writing to Python's files": (lambda: open(os.__file__, "r+b").close(), (errno.EACCES, errno.EROFS)),
}
_FORBIDDEN: dict[str, dict[str, tuple[Callable[[], object], tuple[int, ...]]]] = {
    "seccomp": {
        "a process": (_fork, (errno.EPERM,)),
        "a socket": (socket.socket, (errno.ENETDOWN,)),
        "a signal to the zygote": (lambda: os.kill(os.getppid(), 0), (errno.ESRCH,)),
        "a namespace": (lambda: kernel.unshare(kernel.CLONE_NEWUSER), (errno.EPERM,)),
        "a change of permissions": (lambda: os.chmod(".", 0o777), (errno.EPERM,)),
    },
    "landlock": _FILES,
    "view": {**_FILES, "a change of the root": (lambda: os.chroot("."), (errno.EPERM,))},
    "user": {"a return to root": (lambda: os.setuid(0), (errno.EPERM,))},
}
"""By layer, what it must refuse, and with which error."""

_ALLOWED: dict[str, Callable[[], object]] = {
    "a thread": _thread,
    "the import of another module": lambda: importlib.import_module("colorsys"),
    "reading /dev/urandom": lambda: open("/dev/urandom", "rb").close(),
}
_ALLOWED_WITH_A_FOLDER: dict[str, Callable[[], object]] = {
    "a file in the folder": lambda: _write("selftest"),
    "writing to /dev/null": lambda: _write("/dev/null"),
}
