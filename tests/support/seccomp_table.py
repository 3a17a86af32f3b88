"""What the system-call filter shall do, in words of its own: a verdict for every call, and the calls to ask about."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from sctir_kaggle.sandbox import syscalls
from sctir_kaggle.sandbox.seccomp import Filter
from tests.support import bpf

PID, SIGCONT = 0x0001_2345, 18
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, ESRCH, EOPNOTSUPP = ERRNO | 1, ERRNO | 38, ERRNO | 3, ERRNO | 95
EROFS, ENOTTY, ENETDOWN = ERRNO | 30, ERRNO | 25, ERRNO | 100
NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FOREIGN = (0x40000003, 0x40000028, 0xC000003E, 0xC00000B7, 0x8000003E, 0x4000003E, 0, 0xFFFFFFFF)


class Case(NamedTuple):
    """A filter, by what it is made for."""

    machine: str
    writable: bool


CASES = [Case(machine, writable) for machine in NATIVE for writable in (True, False)]
every_filter = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.machine}-{case.writable}")


# -- what the filter shall do, in words of its own ---------------------------------------------------------------------

HARMLESS_CALLS = """
    access alarm brk capget chdir clock_getres clock_gettime clock_nanosleep close copy_file_range dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 exit exit_group faccessat
    faccessat2 fadvise64 fchdir fdatasync flock fstat fstatfs fsync ftruncate futex get_robust_list getcpu
    getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid lseek lstat madvise membarrier mincore mmap mprotect mremap msync munmap nanosleep newfstatat pause pipe
    pipe2 poll ppoll pread64 preadv preadv2 pselect6 pwrite64 pwritev pwritev2 read readlink readlinkat readv recvfrom
    restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield select
    sendfile sendto set_robust_list set_tid_address setitimer setrlimit shutdown sigaltstack stat statfs statx sysinfo
    time timerfd_create timerfd_gettime timerfd_settime times umask uname wait4 waitid write writev
"""
HARMLESS = set(HARMLESS_CALLS.split())
DANGEROUS = {  # name: number on x86_64, on aarch64
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "fork": (57, None),
    "inotify_init1": (294, 26),
    "io_uring_enter": (426, 426),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_restrict_self": (446, 446),
    "linkat": (265, 37),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mknodat": (259, 33),
    "mlock": (149, 228),
    "mount": (165, 40),
    "mq_open": (240, 180),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "recvmsg": (47, 212),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "seccomp": (317, 277),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "setns": (308, 268),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "setresuid": (117, 147),
    "setsid": (112, 157),
    "setsockopt": (54, 208),
    "setuid": (105, 146),
    "setxattr": (188, 5),
    "shmget": (29, 194),
    "splice": (275, 76),
    "symlinkat": (266, 36),
    "timer_create": (222, 107),
    "tkill": (200, 130),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utimensat": (280, 88),
    "vfork": (58, None),
    "vmsplice": (278, 75),
}
FOLDER_CHANGES = {"creat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"}

FCNTL = {0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032}
IOCTL = {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}
PRCTL = {2, 3, 15, 16, 21, 23, 39, 0x53564D41}
THREAD = 0x003D0F00
"""The flags of glibc's threads; musl adds CLONE_DETACHED."""


def low(value: int) -> int:
    return value & 0xFFFFFFFF


def opening(flags: int, writable: bool) -> int:
    if writable:
        truncates_what_it_cannot_write = flags & 0o1000 and flags & 3 not in (1, 2)
        return EPERM if truncates_what_it_cannot_write or flags & 3 == 3 else ALLOW
    return EROFS if any(flags & bit for bit in (1, 2, 0o100, 0o1000, 0o20000000)) else ALLOW


def cloning(flags: int) -> int:
    shares_everything = all(flags & bit for bit in (0x100, 0x200, 0x400, 0x800, 0x10000))
    free = 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x400000 | 0x1000000
    return ALLOW if shares_everything and flags & ~(0x10F00 | free) == 0 else EPERM


def pairing(family: int, kind: int) -> int:
    return ALLOW if low(family) == 1 and kind & 15 == 1 else ENETDOWN


BY_ARGUMENTS: dict[str, Callable[[list[int], bool], int]] = {
    "open": lambda a, writable: opening(low(a[1]), writable),
    "openat": lambda a, writable: opening(low(a[2]), writable),
    "clone": lambda a, _: cloning(a[0]),
    "kill": lambda a, _: ALLOW if low(a[0]) == PID and low(a[1]) != SIGCONT else ESRCH,
    "tgkill": lambda a, _: ALLOW if low(a[0]) == PID and low(a[2]) != SIGCONT else ESRCH,
    "prlimit64": lambda a, _: ALLOW if low(a[0]) in (0, PID) else EPERM,
    "prctl": lambda a, _: ALLOW if low(a[0]) in PRCTL else EPERM,
    "fcntl": lambda a, _: ALLOW if low(a[1]) in FCNTL else EPERM,
    "ioctl": lambda a, _: ALLOW if low(a[1]) in IOCTL else ENOTTY,
    "close_range": lambda a, _: ALLOW if low(a[2]) in (0, 4) else EPERM,
    "socketpair": lambda a, _: pairing(a[0], a[1]),
}


@functools.cache
def names(machine: str) -> dict[int, str]:
    return {number: name for name, number in syscalls.numbers(machine).items()}


def expected(case: Case, machine: int, number: int, arguments: list[int]) -> int:
    """The verdict that the filter has to give."""
    if machine != NATIVE[case.machine] or (case.machine == "x86_64" and number >= 0x40000000):
        return KILL
    if number > 471:
        return ENOSYS
    name = names(case.machine).get(number, "")
    if name in BY_ARGUMENTS:
        return BY_ARGUMENTS[name](arguments, case.writable)
    if name in HARMLESS:
        return ALLOW
    if name in FOLDER_CHANGES:
        return ALLOW if case.writable else EROFS
    if name in ("clone3", "openat2"):
        return ENOSYS
    if name == "fallocate":
        return EOPNOTSUPP
    if name in ("socket", "connect", "bind", "listen", "accept", "accept4"):
        return ENETDOWN
    return EROFS if name == "truncate" and not case.writable else EPERM


# -- calls to ask about ------------------------------------------------------------------------------------------------

ACCEPTED: dict[str, list[list[int]]] = {
    "open": [[0, flags] for flags in (0, 1, 2, 0o100 | 0o1000 | 1, 0o1000 | 2, 0o2000000)],
    "openat": [[-100, 0, flags] for flags in (0, 1, 2, 0o1000 | 1, 0o100 | 0o1000 | 2, 0o20200000 | 2)],
    "clone": [[THREAD], [THREAD | 0x400000], [0x10F00], [0x50F00 | 0x1000000]],
    "kill": [[PID, 9], [PID, SIGCONT]],
    "tgkill": [[PID, PID, 9], [PID, PID, SIGCONT]],
    "prlimit64": [[0, 7], [PID, 7]],
    "prctl": [[option, 1] for option in PRCTL],
    "fcntl": [[3, command, 1] for command in FCNTL],
    "ioctl": [[3, request] for request in IOCTL],
    "close_range": [[3, 9, 0], [3, 9, 4]],
    "socketpair": [[1, 1], [1, 1 | 0o4000 | 0o2000000]],
}
"""Arguments that a filter for writing allows, one set at least for each branch; and the one signal that it does not."""

TIOCSTI, SIGCHLD, CLONE_VFORK = 0x5412, 17, 0x4000
KNOWN = sorted({value for sets in ACCEPTED.values() for values in sets for value in values})
EDGES = [*KNOWN, -PID, -1, TIOCSTI, SIGCHLD, SIGCHLD | CLONE_VFORK | 0x100, 2**31, 2**32, 2**32 + PID, 2**63]


def variations(accepted: list[int]) -> Iterator[list[int]]:
    """The arguments; each with any bit changed, replaced by any edge, or with any upper half; more arguments behind."""
    for place, value in enumerate(accepted):
        replacements = [value ^ 1 << bit for bit in range(64)] + [value - 1, value + 1, *EDGES]
        for replacement in [*replacements, *(value | known << 32 for known in KNOWN)]:
            yield [*accepted[:place], replacement, *accepted[place + 1 :]]
    for filler in (0, 2, SIGCONT, PID, THREAD, -1):
        yield [*accepted, *[filler] * 6]


def arguments_for(name: str, chance: random.Random) -> Iterator[list[int]]:
    """What each rule allows, for every call: a number that goes to the wrong rule is seen by that only."""
    for accepted in ACCEPTED.get(name, []):
        yield from map(list, variations(accepted))
    yield from (sets[0] for sets in ACCEPTED.values())
    yield [0] * 6
    yield [-1] * 6
    yield [SIGCONT] * 6
    yield [chance.getrandbits(64) for _ in range(6)]


class Question(NamedTuple):
    """A call, and the verdict that it shall get."""

    data: tuple[int, ...]
    verdict: int


@functools.cache
def questions(case: Case) -> list[Question]:
    """Every number up to some that nobody has given out yet, with the arguments that matter; calls of other machines."""
    chance, native = random.Random(0), NATIVE[case.machine]
    numbers = [*range(syscalls.HIGHEST + 200), *(1 << bit for bit in range(10, 32)), 0x3FFFFFFF, 0x40000001, 0xFFFFFFFF]
    numbers += [0x40000000 | number for number in range(512, 548)]
    calls = [(native, n, a) for n in numbers for a in arguments_for(names(case.machine).get(n, ""), chance)]
    calls = [(machine, number, (arguments + [0] * 6)[:6]) for machine, number, arguments in calls]
    foreign = {*FOREIGN, *(native ^ 1 << bit for bit in range(32))} - {native}
    calls += [(machine, number, [0] * 6) for machine in foreign for number in (0, 1, 39, 57, 172, 500)]
    return [Question(bpf.call(*each), expected(case, *each)) for each in calls]


@functools.cache
def program(case: Case) -> list[bpf.Instruction]:
    return bpf.decode(Filter(case.machine, writable=case.writable).program(PID))
