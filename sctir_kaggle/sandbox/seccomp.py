"""The system calls that a child may make: an allow-list, compiled to classic BPF that the kernel runs before each call.

The file goes from the policy (which calls, which arguments) over the assembler to the `Filter` that is installed.

Everything that is not listed is refused, so what a later kernel adds is refused as well. A refused call fails with the
error of a machine that lacks the feature, so that ordinary code can go on. Only a call by another machine's numbers ends
the process, since those numbers mean other calls. Paths are behind pointers, which a filter cannot follow: Landlock
or a view of files decides about paths, and without either nothing may be opened for writing.

Arguments arrive as 64 bits. The kernel takes most of them as 32-bit integers and ignores the upper half, and so does the
filter: if it compared the upper half as well, bits that do not count could change the verdict.

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

from sctir_kaggle.sandbox import kernel, syscalls

ALLOW, KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

PID = -1
"""Among the values of a check, stands for the id of the process that installs the filter."""

_ALL_BITS = 0xFFFFFFFF
_CLONE_MUST = 0x00010F00  # VM, FS, FILES, SIGHAND, THREAD: it shares everything with its process
_CLONE_MAY = 0x017C0000  # SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID, DETACHED (musl), CHILD_SETTID
_O_ACCMODE, _O_CREAT, _O_TRUNC, _O_TMPFILE = 0o3, 0o100, 0o1000, 0o20000000  # alike on both machines
_SIGCONT = 18
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF


class Unsupported(OSError):
    """There is no filter for this machine or operating system."""


class Check(NamedTuple):
    """Passes where an argument, under the mask, is one of the values."""

    argument: int
    """Its position, from 0."""
    values: tuple[int, ...]
    mask: int = _ALL_BITS
    wide: bool = False
    """Whether the kernel reads all 64 bits of it: then the upper half has to be zero."""
    but: bool = False
    """Invert the check: it passes where the argument is none of the values."""


class Rule(NamedTuple):
    """Allow a call whose arguments pass every check; any other gets the verdict `otherwise`."""

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

`ftruncate` needs a descriptor that was opened for writing, which is decided at `open`. `sendto` can reach no address: the
only sockets are connected pairs. `wait4` finds no children.
"""

_CHANGES_FOLDERS = "creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2"

_REFUSED_ITS_OWN_WAY = {
    "clone3": errno.ENOSYS,  # its flags are behind a pointer; after ENOSYS the C library uses `clone`
    "openat2": errno.ENOSYS,  # likewise, and then `openat`
    "fallocate": errno.EOPNOTSUPP,  # can take space on disk beyond RLIMIT_FSIZE; libraries fall back to writing
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
    """The decision about each named call: a verdict, or a rule that looks at its arguments.

    `writable`: whether files may be opened for writing, which takes Landlock or a view to say where.
    """
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
"""A place to jump to; a rule is the label of its own code."""


class _Line(NamedTuple):
    """An instruction with labels in place of its jumps. A comparison goes on at `yes` or `no`; None is the next line."""

    code: int
    operand: int
    yes: Label | None
    no: Label | None


class Assembly:
    """Instructions whose jumps name labels; `finish` replaces them by offsets. All jumps go forward, as BPF demands."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._places: dict[Label, int] = {}
        self._labels = itertools.count()

    def label(self) -> int:
        """A new label, for a place that is still to come."""
        return next(self._labels)

    def place(self, label: Label) -> None:
        """Let the label point to the next instruction."""
        self._places[label] = len(self._lines)

    def emit(self, code: int, operand: int = 0, *, yes: Label | None = None, no: Label | None = None) -> None:
        """Append an instruction; a comparison without a label goes on with the next one."""
        self._lines.append(_Line(code, operand, yes, no))

    def finish(self) -> tuple[bytes, list[int]]:
        """The program (struct sock_filter, 8 bytes each), and the offsets where the process id is still to be written.

        ValueError where a conditional jump is too long or goes back; KeyError where a label has no place.
        """
        words = [self._encode(index, line) for index, line in enumerate(self._lines)]
        return b"".join(words), [8 * index + 4 for index, line in enumerate(self._lines) if line.operand == PID]

    def _encode(self, index: int, line: _Line) -> bytes:
        """struct sock_filter: code (16 bits), jump if true and if false (8 bits each), operand (32 bits).

        A jump counts the instructions that it skips, so 0 is the next one. The conditional ones have 8 bits and reach over
        255 instructions; the unconditional one carries its distance in the operand and reaches anything.
        """
        yes, no = (self._distance(index, label) for label in (line.yes, line.no))
        if line.code == _JUMP:
            return struct.pack("=HBBI", _JUMP, 0, 0, yes)
        if max(yes, no) > 0xFF:
            raise ValueError(f"instruction {index} jumps over {max(yes, no)} others, and 255 is the most")
        return struct.pack("=HBBI", line.code, yes, no, 0 if line.operand == PID else line.operand)

    def _distance(self, index: int, label: Label | None) -> int:
        """How many instructions lie between that of `index` and the label."""
        distance = 0 if label is None else self._places[label] - index - 1
        if distance < 0:
            raise ValueError(f"instruction {index} jumps back")
        return distance


def _assemble(machine: str, decided: dict[str, int | Rule]) -> Assembly:
    """Check the machine, then search the number in ranges (binary search), then the code of each rule, once."""
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
    """The first number of each run of numbers with one verdict, and the verdict; the ranges cover all numbers."""
    by_number = {number: decided[name] for name, number in syscalls.numbers(machine).items()}
    for verdict, numbers in itertools.groupby(range(syscalls.HIGHEST + 1), lambda n: by_number.get(n, _REFUSED)):
        yield next(numbers), verdict
    # Newer calls look as if the kernel were too old: a new C library tries them first and then falls back.
    yield syscalls.HIGHEST + 1, _error(errno.ENOSYS)
    if machine == "x86_64":
        yield syscalls.X32_BIT, KILL_PROCESS


def _search(assembly: Assembly, ranges: list[tuple[int, int | Rule]]) -> None:
    """Find the range of the loaded number, in about 7 comparisons for 130 ranges: this runs on every system call.

    The tree keeps conditional jumps short: each skips at most the lower half of its own ranges.
    """
    if len(ranges) == 1:
        [(_, verdict)] = ranges
        if isinstance(verdict, Rule):  # behind the whole tree, out of reach of a conditional jump
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
    """Return ALLOW if all checks of the rule pass, else its other verdict."""
    refused = assembly.label()
    assembly.place(rule)
    for check in rule.checks:
        _check(assembly, check, refused)
    assembly.emit(_RETURN, ALLOW)
    assembly.place(refused)
    assembly.emit(_RETURN, rule.otherwise)


def _check(assembly: Assembly, check: Check, refused: int) -> None:
    """Go on with the next instruction if the check passes, else at `refused`. BPF loads 32 bits at a time."""
    low, passed = _ARGUMENTS + 8 * check.argument, assembly.label()  # little-endian: the lower half comes first
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


class _Program(ctypes.Structure):
    """struct sock_fprog: the number of instructions, and a pointer to them."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """The compiled allow-list. Assembled once, in the zygote; only the process id differs between children."""

    def __init__(self, machine: str | None = None, *, writable: bool) -> None:
        """Compile for `machine`, a name as in uname(2); None is this one. `writable`: files may be opened for writing.

        Raises `Unsupported` where there is no table for the machine, and, for None, where this is not 64-bit Linux.
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
        """The program for the process `pid`: struct sock_filter, repeated. ValueError where `pid` is no process id."""
        self._write(pid)
        return self._code.raw

    def install(self, pid: int) -> None:
        """Put the calling thread, which must be the only one of its process, under the filter, irrevocably.

        `pid` is the process's own id; no_new_privs has to be set. OSError where the kernel refuses.
        """
        self._write(pid)
        if self._prctl is None:
            raise Unsupported(errno.ENOSYS, "not Linux")
        mode = ctypes.c_ulong(kernel.SECCOMP_MODE_FILTER)
        if self._prctl(kernel.PR_SET_SECCOMP, mode, ctypes.byref(self._program), 0, 0):
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")

    def __str__(self) -> str:
        files = "files can be written" if self._writable else "nothing can be opened for writing"
        return f"{self._machine}, {len(self._code) // 8} instructions, {files}"

    def _write(self, pid: int) -> None:
        if not 0 < pid < 1 << 31:  # for kill(2), 0 and below stand for groups of processes
            raise ValueError(f"{pid} is not the id of a process")
        for place in self._places:
            struct.pack_into("=I", self._code, place, pid)
