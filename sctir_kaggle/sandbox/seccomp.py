"""The system calls that a child may make: an allow-list, as classic BPF that the kernel runs before every call.

Everything that is not listed is refused, so that what a later kernel adds is refused as well. A refused call fails as on
a machine that does not offer the thing, for ordinary code to go on; only a call by another machine's numbers ends the
process, since the numbers mean something else there. Paths are behind pointers, which a filter cannot follow: Landlock
decides about those, and where there is no Landlock nothing may be opened for writing.

Arguments arrive as 64 bits. The kernel takes most as 32-bit integers and ignores the upper half, and so does the filter:
comparing it as well would let a call through, or refuse it, for bits that do not count.

Sources: Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/{seccomp,filter,bpf_common,sched,fcntl,
prctl}.h of the kernel, seccomp(2), clone(2), ioctl_tty(2).
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from sctir_kaggle.sandbox import syscalls

ALLOW, KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

PID = -1
"""Stands for the process's own id among the values of a check."""

_ALL_BITS = 0xFFFFFFFF
_CLONE_MUST = 0x00010F00  # VM, FS, FILES, SIGHAND, THREAD: it shares everything with its process
_CLONE_MAY = 0x017C0000  # SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID, DETACHED (musl), CHILD_SETTID
_O_ACCMODE, _O_CREAT, _O_TRUNC, _O_TMPFILE = 0o3, 0o100, 0o1000, 0o20000000  # alike on both machines
_SIGCONT = 18
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF


class Unsupported(OSError):
    """There is no filter for this machine or this system."""


class Check(NamedTuple):
    """Passes where an argument, under the mask, is one of the values."""

    argument: int
    values: tuple[int, ...]
    mask: int = _ALL_BITS
    wide: bool = False
    """The kernel takes 64 bits: the upper half has to be zero."""
    but: bool = False
    """Passes where it is none of the values."""


class Rule(NamedTuple):
    """Allows a call whose arguments pass every check; the others get the verdict `otherwise`."""

    checks: tuple[Check, ...]
    otherwise: int


def _error(number: int) -> int:
    return _ERRNO | number


_REFUSED = _error(errno.EPERM)
_READ_ONLY = _error(errno.EROFS)
_NO_NETWORK = _error(errno.ENETDOWN)

_ALLOWED = """
    brk mmap munmap mremap mprotect madvise msync mincore membarrier
    exit exit_group futex get_robust_list set_robust_list set_tid_address rseq restart_syscall sched_yield
    sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu gettid
    wait4 waitid
    read write pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 lseek close dup dup2 dup3 fstat newfstatat
    stat lstat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir pipe pipe2
    fsync fdatasync flock sendfile copy_file_range ftruncate fadvise64 statfs fstatfs umask
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
    timerfd_create timerfd_settime timerfd_gettime
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage getitimer setitimer alarm
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause
    sendto recvfrom shutdown getsockname getpeername getsockopt
    getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid getpriority capget
    uname sysinfo getrandom getrlimit setrlimit
"""
"""Allowed with any arguments.

A descriptor that can be written was opened for writing (`ftruncate`), and the only sockets are connected
pairs, which refuse any other address (`sendto`). There are no children to wait for, which `wait4` says itself.
"""

_CHANGES_FOLDERS = "creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2"

_REFUSED_ITS_OWN_WAY = {
    "clone3": errno.ENOSYS,  # the flags are behind a pointer; the C library takes `clone` instead
    "openat2": errno.ENOSYS,  # likewise, `openat`
    "fallocate": errno.EOPNOTSUPP,  # takes room on the disk beyond the limit on a file's size; libraries then write
    **dict.fromkeys(("socket", "connect", "bind", "listen", "accept", "accept4"), errno.ENETDOWN),
}

_FCNTL = (
    *(0, 1, 2, 3, 4, 5, 6, 7),  # DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW; next are signals' owners
    *(36, 37, 38),  # OFD_GETLK, OFD_SETLK, OFD_SETLKW
    *(1030, 1032),  # DUPFD_CLOEXEC, GETPIPE_SZ; 1031 is SETPIPE_SZ, memory of the kernel
)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_PRCTL = (
    *(2, 3),  # GET_PDEATHSIG, GET_DUMPABLE; 1 and 4 set these
    *(15, 16),  # SET_NAME, GET_NAME
    *(21, 23, 39),  # GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS
    0x53564D41,  # SET_VMA: names memory; the C library does
)

_RULES = {
    # A new thread of this process, never a process. The bits below 0x100 are a signal at its end: threads have none.
    "clone": Rule((Check(0, (_CLONE_MUST,), ~_CLONE_MAY & _ALL_BITS, wide=True),), _REFUSED),
    # SIGCONT would undo the SIGSTOP with which the host ends a turn.
    "kill": Rule((Check(0, (PID,)), Check(1, (_SIGCONT,), but=True)), _error(errno.ESRCH)),
    "tgkill": Rule((Check(0, (PID,)), Check(2, (_SIGCONT,), but=True)), _error(errno.ESRCH)),
    "prlimit64": Rule((Check(0, (0, PID)),), _REFUSED),
    "prctl": Rule((Check(0, _PRCTL),), _REFUSED),
    "fcntl": Rule((Check(1, _FCNTL),), _REFUSED),
    "ioctl": Rule((Check(1, _IOCTL),), _error(errno.ENOTTY)),
    # CLOSE_RANGE_CLOEXEC is 4. CLOSE_RANGE_UNSHARE, 2, would give a thread a table, and a limit, of its own.
    "close_range": Rule((Check(2, (0, 4)),), _REFUSED),
    # Streams only: a datagram socket of a pair can send to any other by name.
    "socketpair": Rule((Check(0, (_AF_UNIX,)), Check(1, (_SOCK_STREAM,), _SOCK_TYPES)), _NO_NETWORK),
}

_SAFE_MODES = (0, 1, 2, 1 | _O_TRUNC, 2 | _O_TRUNC)
"""Access modes, with O_TRUNC where the file is opened for writing.

Landlock before Linux 6.2 looks at the access mode only: O_TRUNC with O_RDONLY, or with the mode 3 that can neither read
nor write, would empty files outside of the folder. So would `truncate`, which is refused for that reason.
"""


def _opens(argument: int, *, writable: bool) -> Rule:
    if writable:
        return Rule((Check(argument, _SAFE_MODES, _O_ACCMODE | _O_TRUNC),), _REFUSED)
    return Rule((Check(argument, (0,), _O_ACCMODE | _O_CREAT | _O_TRUNC | _O_TMPFILE),), _READ_ONLY)


def policy(*, writable: bool) -> dict[str, int | Rule]:
    """What is decided about each named call: a verdict, or a rule that looks at its arguments."""
    return {
        **dict.fromkeys(_ALLOWED.split(), ALLOW),
        **dict.fromkeys(_CHANGES_FOLDERS.split(), ALLOW if writable else _READ_ONLY),
        "truncate": _REFUSED if writable else _READ_ONLY,
        **{name: _error(number) for name, number in _REFUSED_ITS_OWN_WAY.items()},
        **_RULES,
        "open": _opens(1, writable=writable),
        "openat": _opens(2, writable=writable),
    }


_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
_JUMP, _IF_EQUAL, _IF_AT_LEAST = 0x05, 0x15, 0x35  # BPF_JMP with JA, JEQ|K, JGE|K
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

Label = int | Rule


class _Line(NamedTuple):
    code: int
    operand: int
    yes: Label | None
    no: Label | None


class Assembly:
    """Instructions whose jumps name labels; the offsets are worked out at the end. All jumps go forward."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._places: dict[Label, int] = {}
        self._labels = itertools.count()

    def label(self) -> int:
        """A label for a place to come."""
        return next(self._labels)

    def place(self, label: Label) -> None:
        """The label's place is before the next instruction."""
        self._places[label] = len(self._lines)

    def emit(self, code: int, operand: int = 0, *, yes: Label | None = None, no: Label | None = None) -> None:
        """An instruction; a jump without a label goes on with the next one."""
        self._lines.append(_Line(code, operand, yes, no))

    def finish(self) -> tuple[bytes, list[int]]:
        """struct sock_filter for every line, and the offsets at which the process id has to be written.

        ValueError where a jump is longer than its field; KeyError where a label has no place.
        """
        words = [self._encode(index, line) for index, line in enumerate(self._lines)]
        return b"".join(words), [8 * index + 4 for index, line in enumerate(self._lines) if line.operand == PID]

    def _encode(self, index: int, line: _Line) -> bytes:
        yes, no = (self._distance(index, label) for label in (line.yes, line.no))
        if line.code == _JUMP:
            return struct.pack("=HBBI", _JUMP, 0, 0, yes)
        if max(yes, no) > 0xFF:
            raise ValueError(f"instruction {index} jumps over {max(yes, no)} others, and 255 is the most")
        return struct.pack("=HBBI", line.code, yes, no, 0 if line.operand == PID else line.operand)

    def _distance(self, index: int, label: Label | None) -> int:
        distance = 0 if label is None else self._places[label] - index - 1
        if distance < 0:
            raise ValueError(f"instruction {index} jumps back")
        return distance


def _assemble(machine: str, decided: dict[str, int | Rule]) -> Assembly:
    """Machine first, then a binary search over ranges of numbers, then the rules, each once."""
    assembly = Assembly()
    native = assembly.label()
    assembly.emit(_LOAD, _MACHINE)
    assembly.emit(_IF_EQUAL, syscalls.AUDIT_ARCH[machine], yes=native)
    assembly.emit(_RETURN, KILL_PROCESS)
    assembly.place(native)
    assembly.emit(_LOAD, _NUMBER)
    ranges = list(_ranges(machine, decided))
    _search(assembly, ranges)
    for rule in dict.fromkeys(verdict for _, verdict in ranges if isinstance(verdict, Rule)):
        _decide(assembly, rule)
    return assembly


def _ranges(machine: str, decided: dict[str, int | Rule]) -> Iterator[tuple[int, int | Rule]]:
    """The first number of every range with one verdict, and the verdict; together they cover all numbers."""
    by_number = {number: decided[name] for name, number in syscalls.numbers(machine).items()}
    for verdict, numbers in itertools.groupby(range(syscalls.HIGHEST + 1), lambda n: by_number.get(n, _REFUSED)):
        yield next(numbers), verdict
    yield syscalls.HIGHEST + 1, _error(errno.ENOSYS)  # what a new C library tries first, and does without
    if machine == "x86_64":
        yield syscalls.X32_BIT, KILL_PROCESS


def _search(assembly: Assembly, ranges: list[tuple[int, int | Rule]]) -> None:
    if len(ranges) == 1:
        [(_, verdict)] = ranges
        if isinstance(verdict, Rule):  # may be far away
            assembly.emit(_JUMP, yes=verdict)
        else:
            assembly.emit(_RETURN, verdict)
        return
    middle, upper = len(ranges) // 2, assembly.label()
    assembly.emit(_IF_AT_LEAST, ranges[middle][0], yes=upper)
    _search(assembly, ranges[:middle])
    assembly.place(upper)
    _search(assembly, ranges[middle:])


def _decide(assembly: Assembly, rule: Rule) -> None:
    refused = assembly.label()
    assembly.place(rule)
    for check in rule.checks:
        _check(assembly, check, refused)
    assembly.emit(_RETURN, ALLOW)
    assembly.place(refused)
    assembly.emit(_RETURN, rule.otherwise)


def _check(assembly: Assembly, check: Check, refused: int) -> None:
    low, passed = _ARGUMENTS + 8 * check.argument, assembly.label()  # the lower half comes first on both machines
    if check.wide:
        assembly.emit(_LOAD, low + 4)
        assembly.emit(_IF_EQUAL, 0, no=refused)
    assembly.emit(_LOAD, low)
    if check.mask != _ALL_BITS:
        assembly.emit(_AND, check.mask)
    if check.but:
        for value in check.values:
            assembly.emit(_IF_EQUAL, value, yes=refused)
        return
    for value in check.values[:-1]:
        assembly.emit(_IF_EQUAL, value, yes=passed)
    assembly.emit(_IF_EQUAL, check.values[-1], no=refused)
    assembly.place(passed)


_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """The allow-list, assembled once in the zygote; only the process id differs between children."""

    def __init__(self, machine: str | None = None, *, writable: bool) -> None:
        """For `machine`, as uname(2) names it; by default this one. `writable`: files may be opened for writing.

        Unsupported where there is no table for the machine, or, by default, where this is not 64-bit Linux.
        """
        if machine is None and (sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8):
            raise Unsupported(errno.ENOSYS, "not 64-bit Linux")
        self._machine, self._writable = machine or os.uname().machine, writable
        if self._machine not in syscalls.AUDIT_ARCH:
            raise Unsupported(errno.ENOSYS, f"no table of system calls for {self._machine}")
        code, self._places = _assemble(self._machine, policy(writable=writable)).finish()
        self._code = ctypes.create_string_buffer(code, len(code))
        self._program = _Program(len(code) // 8, ctypes.addressof(self._code))
        self._prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)

    def program(self, pid: int) -> bytes:
        """struct sock_filter, repeated, for the process of that id; ValueError for what is not a process's id."""
        self._write(pid)
        return self._code.raw

    def install(self, pid: int) -> None:
        """Put this thread under the filter, for ever; it has to be the only one of its process.

        `pid` is the calling process's own id. no_new_privs has to be set. OSError where the kernel refuses.
        """
        self._write(pid)
        if self._prctl is None:
            raise Unsupported(errno.ENOSYS, "not Linux")
        if self._prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(self._program), 0, 0):
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")

    def __str__(self) -> str:
        files = "files can be written" if self._writable else "nothing can be opened for writing"
        return f"{self._machine}, {len(self._code) // 8} instructions, {files}"

    def _write(self, pid: int) -> None:
        if not 0 < pid < 1 << 31:  # 0 and below are groups of processes
            raise ValueError(f"{pid} is not the id of a process")
        for place in self._places:
            struct.pack_into("=I", self._code, place, pid)
