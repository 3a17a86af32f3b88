"""Runs classic BPF as seccomp does, in Python, to ask a filter for its verdict on any call without making it.

Strict: what the kernel would refuse to load (kernel/seccomp.c and net/core/filter.c, seccomp_check_filter and
bpf_check_classic) raises Faulty, and so does every instruction that the filter has no business using.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, IF_EQUAL, IF_GREATER, IF_AT_LEAST, IF_ANY_BIT = 0x05, 0x15, 0x25, 0x35, 0x45
CONDITIONS = (IF_EQUAL, IF_GREATER, IF_AT_LEAST, IF_ANY_BIT)
MOST_INSTRUCTIONS = 4096
DATA_BYTES = 64


class Faulty(Exception):
    """The program would not be loaded, or runs astray."""


class Instruction(NamedTuple):
    """struct sock_filter"""

    code: int
    yes: int
    no: int
    operand: int


Program = Sequence[Instruction]


def decode(code: bytes) -> list[Instruction]:
    """The instructions of a program as the kernel is given it."""
    if len(code) % 8:
        raise Faulty("not whole instructions")
    return [Instruction(*fields) for fields in struct.iter_unpack("=HBBI", code)]


def verify(program: Program) -> None:
    """Raise Faulty where the kernel would refuse the program, or an unused field is not zero."""
    if not 0 < len(program) <= MOST_INSTRUCTIONS:
        raise Faulty("length")
    if program[-1].code != RETURN:
        raise Faulty("does not end with a return")
    for index, instruction in enumerate(program):
        for target in _targets(index, instruction):
            if target >= len(program):
                raise Faulty(f"instruction {index} jumps out of the program")


def _targets(index: int, instruction: Instruction) -> list[int]:
    code, yes, no, operand = instruction
    if code in CONDITIONS:
        return [index + 1 + yes, index + 1 + no]
    if yes or no:
        raise Faulty(f"instruction {index} is no condition and has jumps")
    if code == JUMP:
        return [index + 1 + operand]
    if code == LOAD and (operand % 4 or operand >= DATA_BYTES):
        raise Faulty(f"instruction {index} loads from {operand}")
    if code not in (LOAD, AND, RETURN):
        raise Faulty(f"instruction {index} has the unknown code {code:#x}")
    return []


def call(machine: int, number: int, arguments: Sequence[int]) -> tuple[int, ...]:
    """struct seccomp_data of a system call as 32-bit words; arguments are taken modulo 2**64."""
    padded = [argument % 2**64 for argument in arguments] + [0] * (6 - len(arguments))
    return struct.unpack("=16I", struct.pack("=IIQ6Q", number, machine, 0x1234_5678_9ABC, *padded))


class Visit(NamedTuple):
    """An instruction about to run, and what the accumulator holds."""

    at: int
    accumulator: int


START = Visit(0, 0)


def run(program: Program, data: Sequence[int], visits: list[Visit] | None = None, *, start: Visit = START) -> int:
    """The verdict on a call; the way to it is appended to `visits`."""
    at, accumulator = start
    while True:
        if at >= len(program):
            raise Faulty("ran out of the program")
        if visits is not None:
            visits.append(Visit(at, accumulator))
        instruction = program[at]
        if instruction.code == RETURN:
            return instruction.operand
        if instruction.code == LOAD:
            accumulator = _load(data, instruction.operand)
        elif instruction.code == AND:
            accumulator &= instruction.operand
        at += 1 + jump(instruction, accumulator)


def jump(instruction: Instruction, accumulator: int) -> int:
    """How many instructions are left out after this one."""
    code, yes, no, operand = instruction
    if code in (LOAD, AND):
        return 0
    if code == JUMP:
        return operand
    return yes if _holds(code, accumulator, operand) else no


def _load(data: Sequence[int], offset: int) -> int:
    if offset % 4 or offset >= DATA_BYTES:
        raise Faulty(f"loads from {offset}")
    return data[offset // 4]


def _holds(code: int, accumulator: int, operand: int) -> bool:
    if code == IF_EQUAL:
        return accumulator == operand
    if code == IF_AT_LEAST:
        return accumulator >= operand
    if code == IF_GREATER:
        return accumulator > operand
    if code == IF_ANY_BIT:
        return accumulator & operand != 0
    raise Faulty(f"unknown code {code:#x}")
