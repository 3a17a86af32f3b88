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

from sctir_kaggle.sandbox import kernel


def failures(active: Collection[str]) -> list[str]:
    """What the layers named in `active` allow and should not, or refuse and should not. Runs in a confined child."""
    found = [
        f"{layer} does not refuse {what}"
        for layer in active
        for what, (attempt, expected) in _FORBIDDEN.get(layer, {}).items()
        if _error(attempt) != expected
    ]
    allowed = {**_ALLOWED, **(_ALLOWED_WITH_A_FOLDER if "landlock" in active or "seccomp" not in active else {})}
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


_FORBIDDEN: dict[str, dict[str, tuple[Callable[[], object], int]]] = {
    "seccomp": {
        "a process": (_fork, errno.EPERM),
        "a socket": (socket.socket, errno.ENETDOWN),
        "a signal to the zygote": (lambda: os.kill(os.getppid(), 0), errno.ESRCH),
        "a namespace": (lambda: kernel.unshare(kernel.CLONE_NEWUSER), errno.EPERM),
        "a change of permissions": (lambda: os.chmod(".", 0o777), errno.EPERM),
    },
    "landlock": {
        "reading /etc/passwd": (lambda: open("/etc/passwd").close(), errno.EACCES),
        "listing /": (lambda: os.listdir("/"), errno.EACCES),
        "reading /proc": (lambda: open("/proc/self/environ").close(), errno.EACCES),
        "writing outside of the folder": (lambda: _write("../selftest"), errno.EACCES),
    },
    "user": {"a return to root": (lambda: os.setuid(0), errno.EPERM)},
}
_ALLOWED: dict[str, Callable[[], object]] = {
    "a thread": _thread,
    "the import of another module": lambda: importlib.import_module("colorsys"),
    "reading /dev/urandom": lambda: open("/dev/urandom", "rb").close(),
}
_ALLOWED_WITH_A_FOLDER: dict[str, Callable[[], object]] = {
    "a file in the folder": lambda: _write("selftest"),
    "writing to /dev/null": lambda: _write("/dev/null"),
}
