"""What is true of the host at one moment. A run of the corpus must not change any of it."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
import socket
import sysconfig
import threading
from pathlib import Path

from tests.sandbox.attacks.doors import Doors
from tests.sandbox.attacks.planted import Planted

MARKER = "attack-"
"""What every file begins with that a snippet tries to leave outside its folder."""

WATCHED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)

Facts = dict[str, object]


class Host:
    """The process that runs the sandbox, as it can be seen from within."""

    def __init__(self, planted: Planted, doors: Doors, *, jailed: bool) -> None:
        self._planted, self._doors, self._jailed = planted, doors, jailed
        self._signals: list[str] = []
        for signum in WATCHED:
            signal.signal(signum, lambda number, _: self._signals.append(signal.Signals(number).name))

    def facts(self) -> Facts:
        """Cheap enough to be taken after every block."""
        return {
            **{f"file {path}": text for path, text in self._planted.fingerprint().items()},
            **_of_this_process(),
            "signals": list(self._signals),
            "knocks": self._doors.knocks(),
            "scratch": _entries(self._planted.scratch),
            "marked files": _marked(),
            "Python's files": [_of_file(Path(module.__file__ or "")) for module in (os, hashlib, socket, threading)],
            "site-packages": _listing(Path(sysconfig.get_path("purelib"))),
            "processes": _processes() if self._jailed else 0,
            "mounts": _digest(Path("/proc/self/mounts")),
            "system V": [_digest(Path("/proc/sysvipc") / kind) for kind in ("shm", "sem", "msg")],
        }


def _of_this_process() -> Facts:
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "environment": sorted(os.environ.items()),
        "folder": os.path.exists("."),
        "host name": socket.gethostname(),
        "threads": threading.active_count(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "oom_score_adj": Path("/proc/self/oom_score_adj").read_text(),
        "limits": _digest(Path("/proc/self/limits")),
    }


def differences(before: Facts, after: Facts) -> list[str]:
    """In words; fewer of what is counted is no difference: a child less, a folder less."""
    counted = ("descriptors", "processes", "scratch", "threads")
    return [
        f"{name}: {before.get(name)!r} became {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if not _same(before.get(name), after.get(name), counted=name in counted)
    ]


def _same(before: object, after: object, *, counted: bool) -> bool:
    if counted and isinstance(before, int) and isinstance(after, int):
        return after <= before
    return before == after


def resident_kib() -> int:
    """This process's memory, after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * (os.sysconf("SC_PAGESIZE") >> 10)


def _marked() -> list[str]:
    """What a snippet left in the places that anyone may write to, or that root may."""
    roots = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/mnt", "/etc", "/root", ""]
    roots += [str(Path.home()), sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")]
    return sorted({f"{root}/{name}" for root in roots for name in _names(root or "/") if name.startswith(MARKER)})


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def sweep() -> None:
    """Remove what `_marked` finds, once it has been reported."""
    for path in _marked():
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _entries(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def _listing(folder: Path) -> str:
    names = sorted((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in os.scandir(folder))
    return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


def _of_file(path: Path) -> str:
    """What a write or a change of its metadata would change; not the number of links, which a view made of links does."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {oct(stat.st_mode)} {stat.st_uid} {_digest(path)}"


def _processes() -> int:
    return sum(name.isdigit() for name in os.listdir("/proc"))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
