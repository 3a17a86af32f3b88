"""Linux system calls that Python has no function for, by ctypes. Elsewhere each of them raises OSError(ENOSYS).

Numbers and structures: include/uapi/linux/{prctl,landlock,capability,sched,mount}.h of the kernel, Documentation/
userspace-api/landlock.rst, capabilities(7), namespaces(7), mount(2). The numbers of the Landlock calls and of mount_setattr
are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE = 1 << 10, 1 << 11, 1 << 12, 1 << 14, 1 << 18
MNT_DETACH = 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000

CAP_DAC_READ_SEARCH, CAP_SYS_CHROOT = 2, 18
CAP_SYS_PTRACE = 19
_CAPABILITY_VERSION_3 = 0x20080522

_SIGACTION_BYTES, _SIGACTION_FLAGS = 152, 136  # struct sigaction of 64-bit C libraries: handler, mask, flags

_LIBC = ctypes.CDLL(None, use_errno=True)  # looked up once, in the zygote
_ON_LINUX = sys.platform == "linux"


def _checked(name: str, *arguments: object) -> int:
    """Call a function of the C library. OSError with its errno where it returns a negative number."""
    function = getattr(_LIBC, name, None) if _ON_LINUX else None
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, value: int) -> int:
    """prctl(2) with one argument. All five are passed as longs: the kernel wants zeros in those that are not used."""
    return _checked("prctl", option, *(ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)))


def check_filters() -> None:
    """OSError where the kernel has no system-call filters. One that has them gets as far as the null pointer: EFAULT."""
    try:
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def unshare(flags: int) -> None:
    """unshare(2): move this process into new namespaces of the kinds in `flags`; OSError leaves it in the old ones."""
    _checked("unshare", flags)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """mount(2); OSError where it is refused."""
    source_, kind_, options_ = (text if text is None else os.fsencode(text) for text in (source, kind, options))
    _checked("mount", source_, os.fsencode(target), kind_, ctypes.c_ulong(flags), options_)


def unmount(target: str) -> None:
    """umount2(2) of a mount with everything below it, at once even where it is in use."""
    _checked("umount2", os.fsencode(target), MNT_DETACH)


def bind_read_only(source: str, target: str) -> None:
    """Show `source` at `target` as well, with all that is mounted below it, read-only there; OSError where it is refused.

    mount_setattr (Linux 5.12) reaches the mounts below; without it these are left out, and their files with them.
    """
    mount(source, target, flags=MS_BIND | MS_REC)
    attributes = struct.pack("=4Q", MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)  # its first three bits are named alike
    try:
        words = [ctypes.c_long(_MOUNT_SETATTR), ctypes.c_long(_AT_FDCWD), os.fsencode(target)]
        _checked("syscall", *words, ctypes.c_long(_AT_RECURSIVE), attributes, ctypes.c_long(len(attributes)))
    except OSError as error:
        unmount(target)
        if error.errno != errno.ENOSYS:
            raise
        mount(source, target, flags=MS_BIND)
        kept = os.statvfs(target).f_flag & (MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)  # may be locked: they must stay
        mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)


def landlock(number: int, *arguments: int | bytes | None) -> int:
    """One of the three Landlock calls, by number. Integers are passed as 64 bits, bytes as a pointer to them."""
    words = [ctypes.c_uint64(word) if isinstance(word, int) else word for word in arguments]
    return _checked("syscall", ctypes.c_long(number), *words)


def ignore_stops_of_children() -> None:
    """Set SA_NOCLDSTOP on the installed SIGCHLD handler: each turn stops and continues a child, which needs no wake-up."""
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    _checked("sigaction", int(signal.SIGCHLD), None, action)
    (flags,) = struct.unpack_from("=i", action, _SIGACTION_FLAGS)
    struct.pack_into("=i", action, _SIGACTION_FLAGS, flags | 1)  # SA_NOCLDSTOP is 1
    _checked("sigaction", int(signal.SIGCHLD), action, None)


def capabilities() -> int:
    """The permitted capabilities of this process, one bit each."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def keep_capabilities(kept: int) -> None:
    """capset(2): keep the capabilities in the bit mask `kept`, effective and permitted, and drop all others."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))
