"""Landlock rules: which files a child may read, and the one folder that it may write.

Sources: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h of the kernel. Not covered by
Landlock: whether a path exists, its metadata and changes of them (chmod, utime, ...; the system-call filter refuses
those), UDP and UNIX sockets.
"""

from __future__ import annotations

import contextlib
import os
import site
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable

from sctir_kaggle.sandbox import kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_EVERYTHING = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By version of the interface, the rights over files that it knows. Asking for others is an error (EINVAL)."""

_READ = READ_FILE | READ_DIR
_WRITE_IN_FOLDER = (1 << 15) - 1 - EXECUTE - (1 << 6) - (1 << 9) - (1 << 10) - (1 << 11)
"""All rights up to version 3 but to execute files, and to make devices, sockets and pipes: MAKE_CHAR (1 << 6), MAKE_SOCK
(1 << 9), MAKE_FIFO (1 << 10), MAKE_BLOCK (1 << 11)."""
_CONNECT_AND_BIND = 3
_SIGNALS_AND_ABSTRACT_SOCKETS = 3
_VERSION = 1
_PATH_BENEATH = 1

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
TIME_ZONES = ("/usr/share/zoneinfo", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def version() -> int:
    """The version of the kernel's interface. OSError where there is none or it is switched off."""
    return kernel.landlock(kernel.LANDLOCK_CREATE_RULESET, None, 0, _VERSION)


class FileRules:
    """The files that a child may read. Made once, in the zygote, which keeps the paths open for all of its children."""

    def __init__(self) -> None:
        self.version = version()
        known = max(number for number in _EVERYTHING if number <= self.version)
        self._handled = _EVERYTHING[known]
        network = _CONNECT_AND_BIND if self.version >= 4 else 0
        scoped = _SIGNALS_AND_ABSTRACT_SOCKETS if self.version >= 6 else 0
        # What is handled is refused unless a rule allows it. Older kernels accept a longer struct with trailing zeros.
        self._attributes = struct.pack("=3Q", self._handled, network, scoped)
        self._rules = [*self._open(readable_paths(), _READ), *self._open(DEVICES, READ_FILE)]
        self._rules += self._open(["/dev/null"], READ_FILE | WRITE_FILE | TRUNCATE)

    def enter(self, folder: str) -> None:
        """Restrict this process, irrevocably: it may read these files, write below `folder`, and open nothing else.

        OSError where the kernel refuses.
        """
        ruleset = kernel.landlock(kernel.LANDLOCK_CREATE_RULESET, self._attributes, len(self._attributes), 0)
        for rule in [*self._rules, *self._open([folder], _WRITE_IN_FOLDER)]:
            kernel.landlock(kernel.LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        kernel.landlock(kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)

    def __str__(self) -> str:
        return f"version {self.version}"

    def _open(self, paths: Iterable[str], rights: int) -> list[bytes]:
        """A rule (struct landlock_path_beneath_attr) for each path that exists."""
        rules = []
        for path in paths:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
                is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                allowed = rights if is_folder else rights & (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV)
                rules.append(struct.pack("=Qi", allowed & self._handled, descriptor))
        return rules


def readable_paths() -> list[str]:
    """Absolute paths of Python, its packages, shared libraries and time zones.

    Not the rest of `sys.path`, which may name a project folder with its data and keys.
    """
    prefixes = {f"{prefix}/{lib}" for prefix in (sys.prefix, sys.base_prefix) for lib in ("lib", "lib64")}
    named = {sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib")}
    linked = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    found = {*named, *prefixes, *site_folders(), *LIBRARIES, *TIME_ZONES, *linked}
    return sorted(path for path in found if path.startswith("/"))


def site_folders() -> list[str]:
    """Absolute paths of the folders that packages are installed in; some may not exist."""
    named = {sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")}
    return sorted({*named, *site.getsitepackages(), site.getusersitepackages()})
