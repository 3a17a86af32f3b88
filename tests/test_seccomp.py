"""The system-call filter: its verdict on every number by simulation, against a table of its own; then live, in processes.

One wrong jump in such a filter can allow everything while all ordinary code works, so the table is written here in
another form than in the module, and the table itself is tested: no change of one bit in the program may go unnoticed.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sctir_kaggle.sandbox import syscalls
from sctir_kaggle.sandbox.seccomp import Assembly, Filter, Unsupported
from tests import bpf

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


# -- by simulation -----------------------------------------------------------------------------------------------------


@every_filter
def test_the_kernel_would_load_the_program(case: Case) -> None:
    bpf.verify(program(case))
    assert len(program(case)) < 400


@every_filter
def test_every_call_gets_the_verdict_of_the_table(case: Case) -> None:
    wrong = [(q.data[:6], hex(q.verdict)) for q in questions(case) if bpf.run(program(case), q.data) != q.verdict]
    assert len(questions(case)) > 3000
    assert wrong == []


@every_filter
def test_the_table_is_about_every_name_that_the_filter_knows(case: Case) -> None:
    explained = {*HARMLESS, *BY_ARGUMENTS, *FOLDER_CHANGES, "clone3", "openat2", "fallocate", "truncate"}
    explained |= {"socket", "connect", "bind", "listen", "accept", "accept4"}
    assert set(syscalls.numbers(case.machine)) <= explained
    assert case.machine != "x86_64" or explained == set(syscalls.numbers("x86_64"))


@every_filter
@pytest.mark.parametrize("name", DANGEROUS)
def test_what_reaches_beyond_the_process_is_refused_whatever_its_arguments(case: Case, name: str) -> None:
    number = DANGEROUS[name][list(NATIVE).index(case.machine)]
    if number is None:
        number = 471  # the last one: it has no fork
    chance = random.Random(0)
    for arguments in ([0] * 6, [PID] * 6, *([chance.getrandbits(64) for _ in range(6)] for _ in range(20))):
        assert bpf.run(program(case), bpf.call(NATIVE[case.machine], number, arguments)) == EPERM


@every_filter
@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("clone", [SIGCHLD], EPERM),
        ("clone", [0x100 | CLONE_VFORK | SIGCHLD], EPERM),
        ("clone", [THREAD | 0x10000000], EPERM),
        ("clone", [THREAD | 0x80], EPERM),
        ("clone", [THREAD | 2**32], EPERM),
        ("clone", [THREAD], ALLOW),
        ("kill", [0, 9], ESRCH),
        ("kill", [-1, 9], ESRCH),
        ("kill", [-PID, 9], ESRCH),
        ("kill", [0xFFFFFFFF_00000000 | PID, 9], ALLOW),
        ("tgkill", [-1, PID, 9], ESRCH),
        ("kill", [PID, SIGCONT], ESRCH),
        ("kill", [PID, 0xFFFFFFFF_00000000 | SIGCONT], ESRCH),
        ("tgkill", [PID, PID, SIGCONT], ESRCH),
        ("ioctl", [0, TIOCSTI], ENOTTY),
        ("ioctl", [0, 2**32 | TIOCSTI], ENOTTY),
        ("fcntl", [0, 8, 1], EPERM),
        ("fcntl", [0, 10, 1], EPERM),
        ("prctl", [1, 0], EPERM),
        ("prctl", [4, 0], EPERM),
        ("prctl", [22, 0], EPERM),
        ("socketpair", [1, 2], ENETDOWN),
        ("socketpair", [16, 3], ENETDOWN),
        ("prlimit64", [1, 7], EPERM),
    ],
)
def test_the_arguments_that_matter_most_are_told_apart(
    case: Case, name: str, arguments: list[int], verdict: int
) -> None:
    data = bpf.call(NATIVE[case.machine], syscalls.numbers(case.machine)[name], arguments)
    assert bpf.run(program(case), data) == verdict


any_number = st.one_of(st.integers(0, 700), st.integers(0, 2**32 - 1))
any_word = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([edge % 2**64 for edge in EDGES]), st.integers(0, 1100))
any_machine = st.sampled_from([*NATIVE.values(), *FOREIGN])


@given(st.sampled_from(CASES), any_machine, any_number, st.lists(any_word, min_size=6, max_size=6))
@example(CASES[0], NATIVE["x86_64"], 56, [SIGCHLD, 0, 0, 0, 0, 0])
def test_a_random_call_gets_the_verdict_of_the_table(
    case: Case, machine: int, number: int, arguments: list[int]
) -> None:
    assert bpf.run(program(case), bpf.call(machine, number, arguments)) == expected(case, machine, number, arguments)


@given(st.integers(1, 2**31 - 1), st.sampled_from([-1, 0, 1]))
def test_the_process_id_is_the_only_thing_that_differs(pid: int, step: int) -> None:
    template = Filter("x86_64", writable=True)
    for name in ("kill", "tgkill"):
        data = bpf.call(NATIVE["x86_64"], syscalls.numbers("x86_64")[name], [pid + step])
        assert bpf.run(bpf.decode(template.program(pid)), data) == (ESRCH if step else ALLOW)
    differing = [a for a, b in zip(bpf.decode(template.program(pid)), program(CASES[0]), strict=True) if a != b]
    assert {instruction.operand for instruction in differing} <= {pid}


# -- the table notices -------------------------------------------------------------------------------------------------


Witnesses = dict[int, list[Question]]
"""The questions that come to an instruction, by what the accumulator holds then."""


def witnesses(case: Case) -> list[Witnesses]:
    found: list[Witnesses] = [{} for _ in program(case)]
    for question in questions(case):
        visits: list[bpf.Visit] = []
        bpf.run(program(case), question.data, visits)
        for at, accumulator in visits:
            found[at].setdefault(accumulator, []).append(question)
    return found


def mutants(instruction: bpf.Instruction) -> Iterator[bpf.Instruction]:
    """The instruction with one bit of its constant or of a jump changed."""
    for bit in range(32):
        yield instruction._replace(operand=instruction.operand ^ 1 << bit)
    if instruction.code in bpf.CONDITIONS:
        for bit in range(8):
            yield instruction._replace(yes=instruction.yes ^ 1 << bit)
            yield instruction._replace(no=instruction.no ^ 1 << bit)


def affected(asked: Witnesses, old: bpf.Instruction, new: bpf.Instruction) -> Witnesses:
    """Who may see the change: of a jump only those that now jump elsewhere."""
    if old.code not in (bpf.JUMP, *bpf.CONDITIONS):
        return asked
    return {held: asked[held] for held in asked if bpf.jump(old, held) != bpf.jump(new, held)}


def noticed(mutated: list[bpf.Instruction], at: int, asked: Witnesses) -> bool:
    try:
        return any(
            bpf.run(mutated, question.data, start=bpf.Visit(at, held)) != question.verdict
            for held, asking in asked.items()
            for question in asking
        )
    except bpf.Faulty:
        return True


def looked_at(program: list[bpf.Instruction], question: Question) -> set[int]:
    visits: list[bpf.Visit] = []
    bpf.run(program, question.data, visits)
    return {program[visit.at].operand for visit in visits if program[visit.at].code == bpf.LOAD}


def makes_no_difference(original: list[bpf.Instruction], mutated: list[bpf.Instruction], asked: Witnesses) -> bool:
    """A jump to another place that decides alike and looks at nothing more: there are many equal returns."""
    return bool(asked) and all(
        looked_at(mutated, question) <= looked_at(original, question)
        for asking in asked.values()
        for question in asking
    )


@every_filter
def test_no_changed_bit_of_a_jump_or_a_constant_goes_unnoticed(case: Case) -> None:
    original = program(case)
    mutated, survivors = list(original), []
    for at, asked in enumerate(witnesses(case)):
        for mutant in mutants(original[at]):
            mutated[at] = mutant
            seeing = affected(asked, original[at], mutant)
            if not noticed(mutated, at, seeing) and not makes_no_difference(original, mutated, seeing):
                survivors.append((at, original[at], mutant))
        mutated[at] = original[at]
    assert survivors == []


# -- what is not the program -------------------------------------------------------------------------------------------


def header_numbers(path: Path) -> dict[str, int]:
    """Numbers by name; a header may define one name as another one."""
    defined: dict[str, str] = dict(re.findall(r"#define (__NR\w*)\s+(\w+)", path.read_text()))
    found = {}
    for name, value in defined.items():
        number = defined.get(value, value)
        if name.startswith("__NR_") and number.isdigit():
            found[name.removeprefix("__NR_")] = int(number)
    return found


HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


@pytest.mark.parametrize("machine", NATIVE)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip(f"the kernel's header {HEADERS[machine]} is not installed")
    known = header_numbers(header)
    assert len(known) > 250
    assert syscalls.numbers(machine) == {name: known.get(name) for name in syscalls.numbers(machine)}
    dangerous = {name: numbers[list(NATIVE).index(machine)] for name, numbers in DANGEROUS.items()}
    assert dangerous == {name: known.get(name) for name in dangerous}


def test_calls_of_later_kernels_have_one_number_everywhere() -> None:
    x86_64, aarch64 = (syscalls.numbers(machine) for machine in ("x86_64", "aarch64"))
    assert {n: x86_64[n] for n in x86_64 if x86_64[n] >= 424} == {n: aarch64[n] for n in aarch64 if aarch64[n] >= 424}


@pytest.mark.parametrize("machine", ["riscv64", "i686", "aarch64_be", "X86_64"])
def test_another_machine_is_not_supported(machine: str) -> None:
    with pytest.raises(Unsupported, match=f"no table of system calls for {machine}"):
        Filter(machine, writable=True)


def test_another_system_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="not 64-bit Linux"):
        Filter(writable=True)


@pytest.mark.parametrize("pid", [0, -1, -PID, 2**31])
def test_a_group_of_processes_is_not_a_process_id(pid: int) -> None:
    with pytest.raises(ValueError, match="not the id of a process"):
        Filter("x86_64", writable=True).program(pid)


def test_a_jump_that_is_too_long_is_refused_not_cut() -> None:
    for between, fits in ((255, True), (256, False)):
        assembly = Assembly()
        far = assembly.label()
        assembly.emit(bpf.IF_EQUAL, 1, yes=far)
        for _ in range(between):
            assembly.emit(bpf.RETURN, ALLOW)
        assembly.place(far)
        assembly.emit(bpf.RETURN, KILL)
        if fits:
            assert bpf.decode(assembly.finish()[0])[0].yes == 255
        else:
            with pytest.raises(ValueError, match="jumps over 256 others"):
                assembly.finish()


def test_a_jump_back_or_to_nowhere_is_refused() -> None:
    back, nowhere = Assembly(), Assembly()
    label = back.label()
    back.place(label)
    back.emit(bpf.JUMP, yes=label)
    with pytest.raises(ValueError, match="jumps back"):
        back.finish()
    nowhere.emit(bpf.JUMP, yes=nowhere.label())
    with pytest.raises(KeyError):
        nowhere.finish()


RETURN_ALLOW = bpf.Instruction(bpf.RETURN, 0, 0, ALLOW)


@pytest.mark.parametrize(
    "faulty",
    [
        [],
        [bpf.Instruction(bpf.LOAD, 0, 0, 0)],
        [bpf.Instruction(bpf.LOAD, 0, 0, 64), RETURN_ALLOW],
        [bpf.Instruction(bpf.LOAD, 0, 0, 2), RETURN_ALLOW],
        [bpf.Instruction(0x28, 0, 0, 0), RETURN_ALLOW],
        [bpf.Instruction(0x16, 0, 0, 0), RETURN_ALLOW],
        [bpf.Instruction(bpf.JUMP, 0, 0, 1), RETURN_ALLOW],
        [bpf.Instruction(bpf.IF_EQUAL, 1, 1, 0), RETURN_ALLOW],
        [bpf.Instruction(bpf.IF_EQUAL, 0, 1, 1), RETURN_ALLOW],
    ],
)
def test_the_simulator_takes_no_program_that_the_kernel_refuses(faulty: list[bpf.Instruction]) -> None:
    with pytest.raises(bpf.Faulty):
        bpf.verify(faulty)
    with pytest.raises(bpf.Faulty):
        bpf.run(faulty, bpf.call(0, 0, [0] * 6))


@pytest.mark.parametrize(
    ("code", "operand", "yes"),
    [
        *((bpf.IF_EQUAL, 6, 0), (bpf.IF_GREATER, 5, 0), (bpf.IF_AT_LEAST, 6, 0), (bpf.IF_ANY_BIT, 2, 0)),
        *((bpf.IF_EQUAL, 5, 1), (bpf.IF_GREATER, 4, 1), (bpf.IF_AT_LEAST, 5, 1), (bpf.IF_ANY_BIT, 4, 1)),
    ],
)
def test_the_simulator_compares_without_signs_and_as_the_kernel(code: int, operand: int, yes: int) -> None:
    for value, operand_ in ((5, operand), (0xFFFFFFF5, operand + 0xFFFFFFF0)):
        if code == bpf.IF_ANY_BIT:
            operand_ = operand
        lines = [bpf.Instruction(bpf.LOAD, 0, 0, 0), bpf.Instruction(code, 1, 0, operand_)]
        lines += [bpf.Instruction(bpf.RETURN, 0, 0, verdict) for verdict in (0, 1)]
        assert bpf.run(lines, bpf.call(0, value, [])) == yes


# -- live --------------------------------------------------------------------------------------------------------------

PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys, threading
from sctir_kaggle.sandbox.seccomp import Filter
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
WRITABLE = json.loads(sys.argv[1])
Filter(writable=WRITABLE).install(os.getpid())

def error(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]

def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return errno.errorcode.get(ctypes.get_errno())

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""
"""The process puts itself under the filter. No snippet forks more than once, and what is forked ends at once."""

live = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NATIVE, reason="there is a filter for 64-bit Linux only"
)
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86_64")


def confined(code: str, folder: Path, *, writable: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the code in an interpreter of its own, under the filter, in the folder."""
    command = [sys.executable, "-c", PRELUDE + code, json.dumps(writable)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)


def answer(code: str, folder: Path, *, writable: bool = True) -> Any:
    """What the code prints, as JSON."""
    done = confined(code, folder, writable=writable)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@live
def test_what_the_filter_refuses_fails_with_an_error_that_code_expects(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    code = """
import subprocess, time
pid, parent = os.getpid(), os.getppid()
print(json.dumps({
    "fork": error(fork),
    "exec": error(lambda: os.execv("/bin/true", ["true"])),
    "subprocess": error(lambda: subprocess.run(["/bin/true"])),
    "system": os.system("true") != 0,
    "signal to the parent": error(lambda: os.kill(parent, 0)),
    "signal to init": error(lambda: os.kill(1, 0)),
    "signal to the group": error(lambda: os.kill(0, 0)),
    "signal to its group by id": error(lambda: os.kill(-pid, 0)),
    "signal to all": error(lambda: os.kill(-1, 0)),
    "network": [error(lambda: socket.socket(family, kind)) for family in (socket.AF_INET, socket.AF_INET6,
        socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)],
    "datagram pair": error(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "chmod": error(lambda: os.chmod("file", 0o777)),
    "utime": error(lambda: os.utime("file")),
    "truncate": error(lambda: os.truncate("file", 0)),
    "open to read, and empty": error(lambda: os.open("file", os.O_RDONLY | os.O_TRUNC)),
    "open for neither, and empty": error(lambda: os.open("file", 3 | os.O_TRUNC)),
    "link": error(lambda: os.link("file", "link")),
    "symlink": error(lambda: os.symlink("file", "link")),
    "memfd": error(lambda: os.memfd_create("name")),
    "setuid": error(lambda: os.setuid(os.getuid())),
    "nice": error(lambda: os.nice(1)),
    "setsid": error(os.setsid),
    "affinity": error(lambda: os.sched_setaffinity(0, [0])),
}))
"""
    assert answer(code, tmp_path) == {
        **dict.fromkeys(("fork", "exec", "subprocess", "chmod", "utime", "truncate", "link", "symlink"), "EPERM"),
        **dict.fromkeys(("open to read, and empty", "open for neither, and empty", "memfd"), "EPERM"),
        **dict.fromkeys(("setuid", "nice", "setsid", "affinity"), "EPERM"),
        **dict.fromkeys(("signal to the parent", "signal to init", "signal to the group"), "ESRCH"),
        **dict.fromkeys(("signal to its group by id", "signal to all"), "ESRCH"),
        "network": ["ENETDOWN"] * 10,
        "datagram pair": "ENETDOWN",
        "system": True,
    }
    assert (tmp_path / "file").read_text() == "kept"


@live
def test_raw_calls_get_the_verdict_that_the_simulation_gave(tmp_path: Path) -> None:
    column = list(NATIVE).index(platform.machine())
    numbers = {name: pair[column] for name, pair in DANGEROUS.items() if pair[column] and name not in ("fork", "vfork")}
    code = f"print(json.dumps({{name: call(number, -1, -1, 0, 0, 0) for name, number in {numbers}.items()}}))"
    assert answer(code, tmp_path) == dict.fromkeys(numbers, "EPERM")
    known = syscalls.numbers(platform.machine())
    asked = ("clone", "clone3", "openat2", "prctl", "ioctl", "fcntl", "tgkill", "prlimit64")
    code = f"""
{", ".join(asked)} = {[known[name] for name in asked]}
pid = os.getpid()
inherited = os.open(".", os.O_RDONLY)
print(json.dumps([call(clone, 17), call(clone, 0x3D0F00 | 1 << 32), call(clone3, 0, 0), call(openat2, -100, 0, 0, 0),
    call({syscalls.HIGHEST + 1}), call(prctl, 1, 0), call(prctl, 4, 0), call(ioctl, 0, 0x5412, 0),
    call(fcntl, inherited, 8, pid), call(fcntl, inherited, 10, 9), call(tgkill, os.getppid(), os.getppid(), 0),
    call(tgkill, pid, pid, 0), call(prlimit64, os.getppid(), 7, 0, 0), call(prlimit64, pid, 7, 0, 0)]))
"""
    refused = ["EPERM", "EPERM", "ENOSYS", "ENOSYS", "ENOSYS", "EPERM", "EPERM", "ENOTTY", "EPERM", "EPERM", "ESRCH"]
    assert answer(code, tmp_path) == [*refused, None, "EPERM", None]


@live
def test_a_connected_pair_sends_to_nobody_else(tmp_path: Path) -> None:
    """Two names are listened at outside: an abstract one and a file. The filter allows `sendto`; the socket does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract, socket.socket(socket.AF_UNIX) as file:
        abstract.bind(f"\0sctir-test-{os.getpid()}")
        file.bind(str(tmp_path / "socket"))
        abstract.listen()
        file.listen()
        code = f"""
ours, theirs = socket.socketpair()
print(json.dumps([
    error(lambda: ours.sendto(b"x", "\\0sctir-test-{os.getpid()}")), error(lambda: ours.sendto(b"x", "socket")),
    error(lambda: ours.connect("socket")), error(lambda: ours.bind("other")), error(ours.listen),
    error(lambda: ours.sendmsg([b"x"])), ours.send(b"yes"), theirs.recv(9).decode(),
]))
"""
        expected = ["EISCONN", "EISCONN", "ENETDOWN", "ENETDOWN", "ENETDOWN", "EPERM", 3, "yes"]
        assert answer(code, tmp_path) == expected


@live
def test_without_a_file_view_nothing_is_opened_for_writing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    code = """
modes = [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC, 3, os.O_TMPFILE | os.O_RDWR]
print(json.dumps([
    *(error(lambda: os.open("file" if mode != os.O_TMPFILE | os.O_RDWR else ".", mode)) for mode in modes),
    error(lambda: open("new", "w")), error(lambda: os.mkdir("new")), error(lambda: os.rmdir("folder")),
    error(lambda: os.unlink("file")), error(lambda: os.rename("file", "new")), error(lambda: os.truncate("file", 0)),
    error(lambda: os.mknod("new")),
]))
"""
    assert answer(code, tmp_path, writable=False) == ["EROFS"] * 12 + ["EPERM"]
    code = "os.chdir('folder'); print(json.dumps([open('../file').read(), os.listdir('..')]))"
    text, names = answer(code, tmp_path, writable=False)
    assert (text, sorted(names)) == ("kept", ["file", "folder"])


MACHINE_CODE = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex({code!r}))
function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(json.dumps("alive"), flush=True)
print(json.dumps(function()))
"""
GETPID_OF_I386 = "b814000000cd80c3"  # mov eax, 20; int 0x80; ret
GETPID_OF_X32 = "b827000040" + "0f05c3"  # mov eax, 0x40000000 + 39; syscall; ret
GETPID = "b827000000" + "0f05c3"


@live
@on_x86_64
@pytest.mark.parametrize(("code", "ends"), [(GETPID_OF_I386, True), (GETPID_OF_X32, True), (GETPID, False)])
def test_a_call_by_the_numbers_of_another_machine_ends_the_process(tmp_path: Path, code: str, ends: bool) -> None:
    done = confined(MACHINE_CODE.format(code=code), tmp_path)
    assert done.stdout.startswith('"alive"\n')
    assert done.returncode == (-signal.SIGSYS if ends else 0)


@live
def test_the_filter_cannot_be_put_on_without_its_conditions(tmp_path: Path) -> None:
    code = """
import errno, os, sys
from sctir_kaggle.sandbox.seccomp import Filter
os.geteuid() or os.setresuid(65534, 65534, 65534)  # root needs no permission
try:
    Filter(writable=True).install(os.getpid())
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, timeout=60)
    assert done.stdout == "EACCES\n", done.stderr


ORDINARY = {
    "a thread": """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(seen) == list(range(8))""",
    "a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]""",
    "asyncio": """
import asyncio
async def main():
    stream = await asyncio.to_thread(int, "3")
    return stream + sum(await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(5))))
assert asyncio.run(main()) == 13""",
    "a signal to itself": """
import os, signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
os.kill(os.getpid(), 0)
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
assert len(seen) == 3""",
    "an alarm": """
import signal
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
assert seen""",
    "temporary files": """
import tempfile, os, shutil
with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+", dir=folder) as file:
    file.write("text")
    file.flush()
    shutil.copyfile(file.name, folder + "/copy")
    os.replace(folder + "/copy", folder + "/moved")
    os.makedirs(folder + "/a/b")
    assert open(folder + "/moved").read() == "text"
    file.truncate(0)
with tempfile.TemporaryFile() as file:
    file.write(b"x")""",
    "paths": """
import pathlib, glob, os
path = pathlib.Path("a.txt")
path.touch(); path.touch()
path.write_text("x"); path.rename("b.txt")
assert glob.glob("*.txt") == ["b.txt"] and os.path.getsize("b.txt") == 1
pathlib.Path("b.txt").unlink()
assert list(os.walk(".")) and os.getcwd() and pathlib.Path("~").expanduser()""",
    "sqlite": """
import sqlite3
for name in (":memory:", "file.db"):
    base = sqlite3.connect(name)
    base.execute("create table t (x)")
    base.execute("insert into t values (1)")
    base.commit()
    assert base.execute("select x from t").fetchall() == [(1,)]
    base.close()
base = sqlite3.connect("file.db")
base.execute("pragma journal_mode=wal")
base.execute("insert into t values (2)")
base.commit()""",
    "archives": """
import gzip, zipfile, tarfile, lzma, bz2
for module in (gzip, lzma, bz2):
    with module.open("x.z", "wb") as file: file.write(b"text")
    assert module.open("x.z").read() == b"text"
with zipfile.ZipFile("x.zip", "w") as file: file.writestr("inside", "text")
zipfile.ZipFile("x.zip").extractall("out")
assert open("out/inside").read() == 'text'""",
    "mapped files": """
import mmap
with open("mapped", "w+b") as file:
    file.truncate(4096)
    with mmap.mmap(file.fileno(), 4096) as view: view[:2] = b"ok"
    assert file.read(2) == b'ok'""",
    "pickles": "import pickle, copy, random; assert pickle.loads(pickle.dumps(random.Random(1))).random() < 1",
    "time": """
import time, datetime, zoneinfo
time.sleep(0.001); time.process_time(); time.thread_time(); time.localtime(); time.monotonic()
assert datetime.datetime.now(datetime.timezone.utc).year > 2000
try: zoneinfo.ZoneInfo("Europe/Paris")
except zoneinfo.ZoneInfoNotFoundError: pass""",
    "decimals and fractions": "from decimal import Decimal; from fractions import Fraction; assert Decimal(1) / 4 == 0.25",
    "foreign functions": """
import ctypes
back = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)
assert back(1) == 2 and ctypes.CDLL(None).abs(-3) == 3""",
    "the system": """
import os, platform, resource, sys, locale, uuid, secrets, getpass, shutil, logging, warnings, faulthandler
os.cpu_count(); len(os.sched_getaffinity(0)); platform.uname(); os.getloadavg; uuid.uuid4(); secrets.token_hex()
resource.getrlimit(resource.RLIMIT_AS); resource.getrusage(resource.RUSAGE_SELF); os.times(); os.getpgrp(); os.getsid(0)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); shutil.get_terminal_size(); sys.stdout.isatty(); os.urandom(8)
faulthandler.enable(); logging.getLogger().warning; os.getrandom(4); shutil.disk_usage("."); os.umask(0o22)""",
    "descriptors": """
import os, select, socket, fcntl
reading, writing = os.pipe()
os.set_blocking(reading, False)
os.set_inheritable(reading, True)
os.write(writing, b"x")
assert select.select([reading], [], [], 1)[0]
poll = select.epoll(); poll.register(reading); assert poll.poll(1)
os.close(os.dup(reading)); os.dup2(reading, writing)
with open("locked", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB); os.fsync(file.fileno())
open(os.devnull, "w").write("x"); open("/dev/urandom", "rb").read(1)""",
    "waiting for children": """
import os
try: os.wait()
except ChildProcessError: pass
else: raise AssertionError""",
    "an allocation": "data = bytearray(300 << 20); data[-1] = 1; del data",
    "deep recursion": """
import sys, threading
sys.setrecursionlimit(50_000); threading.stack_size(64 << 20)
def deep(n): return n and 1 + deep(n - 1)
thread = threading.Thread(target=deep, args=(9000,)); thread.start(); thread.join()""",
}
SCIENTIFIC = {
    "numpy": """
import numpy as np
a = np.random.default_rng(0).random((200, 200))
assert np.allclose(np.linalg.inv(a) @ a, np.eye(200)) and np.linalg.svd(a)[1][0] > 1
np.save("a.npy", a); assert np.load("a.npy", mmap_mode="r").shape == (200, 200)
np.memmap("b", dtype=float, mode="w+", shape=(4,))[:] = 1; np.fft.fft(a); np.savetxt("c.txt", a[:2])""",
    "sympy": """
import sympy as sp
x = sp.symbols("x")
assert sp.solve(x**2 - 5 * x + 6, x) == [2, 3] and sp.integrate(x, (x, 0, 2)) == 2 and sp.isprime(97)""",
    "scipy": """
import importlib.util
if importlib.util.find_spec("scipy"):
    from scipy import integrate, optimize
    assert abs(optimize.brentq(lambda x: x * x - 2, 0, 2) ** 2 - 2) < 1e-9
    assert abs(integrate.quad(lambda x: x, 0, 1)[0] - 0.5) < 1e-9""",
    "networkx": """
import importlib.util
if importlib.util.find_spec("networkx"):
    import networkx as nx
    assert nx.shortest_path_length(nx.cycle_graph(6), 0, 3) == 3""",
}
TRY_ALL = """
import traceback
failed = {{}}
for name, code in {snippets!r}.items():
    try:
        exec(code, {{"__name__": "__main__"}})
    except BaseException:
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


@live
@pytest.mark.parametrize("snippets", [ORDINARY, SCIENTIFIC], ids=["standard library", "scientific"])
def test_ordinary_code_notices_nothing(tmp_path: Path, snippets: dict[str, str]) -> None:
    if snippets is SCIENTIFIC:
        pytest.importorskip("numpy")
        pytest.importorskip("sympy")
    assert answer(TRY_ALL.format(snippets=snippets), tmp_path) == {}


@live
def test_one_template_serves_many_processes(tmp_path: Path) -> None:
    code = """
import os, signal
from sctir_kaggle.sandbox.seccomp import Filter
import ctypes
shared = Filter(writable=True)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            shared.install(os.getpid())
            os.kill(os.getpid(), 0)
            try:
                os.kill(os.getppid(), 0)
            except ProcessLookupError:
                os._exit(7)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, timeout=60)
    assert done.stdout == "7\n7\n7\n", done.stderr
