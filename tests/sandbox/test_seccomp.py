"""The system-call filter: its verdict on every number by simulation, against a table of its own.

One wrong jump in such a filter can allow everything while all ordinary code works, so the table is written in another
form than in the module, and the table itself is tested: no change of one bit in the program may go unnoticed.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sctir_kaggle.sandbox import syscalls
from sctir_kaggle.sandbox.seccomp import Assembly, Filter, Unsupported
from tests.support import bpf
from tests.support.seccomp_table import (
    ALLOW,
    BY_ARGUMENTS,
    CASES,
    CLONE_VFORK,
    DANGEROUS,
    EDGES,
    ENETDOWN,
    ENOTTY,
    EPERM,
    ESRCH,
    FOLDER_CHANGES,
    FOREIGN,
    HARMLESS,
    KILL,
    NATIVE,
    PID,
    SIGCHLD,
    SIGCONT,
    THREAD,
    TIOCSTI,
    Case,
    Question,
    every_filter,
    expected,
    program,
    questions,
)

# -- by simulation -----------------------------------------------------------------------------------------------------


@every_filter
def test_the_kernel_would_load_the_program(case: Case) -> None:
    bpf.verify(program(case))
    assert len(program(case)) < 400


@pytest.mark.slow
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


@pytest.mark.slow
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
