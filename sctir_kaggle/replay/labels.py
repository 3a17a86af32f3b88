"""What is wrong with some labels of the MATH validation sets, and the integer that was meant.

The sets hold the problems whose boxed answer Python's `int()` reads, and `int("2112_6")` is 21126: twelve answers in a base
slipped in, their base read as digits. Three more problems have several right answers, of which the label is one. All
fifteen are found from text and label alone; on the 1,475 problems of both levels nothing else is. Other flaws are not
looked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sctir_kaggle.answers import read_answer
from sctir_kaggle.types import Problem, UserError

BASE_N = "its label runs a number and its base together"
SEVERAL = "it has several right answers"

_SEVERAL = {"0a5be6b9495e", "bb08bc2ec212", "7b0810b288b3"}
"""Digests of the texts of those with several answers."""

_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "binary": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """A problem of a set with its label put right, and what was wrong with it, "" for nothing."""

    problem: Problem
    flaw: str


def repaired(text: str, label: int | float | str, solution: str = "") -> tuple[int, str]:
    """The integer that the label should be, and what was wrong, "" for nothing.

    Raises `UserError` for a label that is no integer.
    """
    answer = _integer(label)
    digits = _digits_in_base(label, solution)
    if digits is None:
        digits = _without_base(text, answer)
    if digits is not None:
        return digits, BASE_N
    return answer, SEVERAL if digest(text) in _SEVERAL else ""


def digest(text: str) -> str:
    """Twelve hex digits for a problem's text, however it is broken into lines."""
    return hashlib.blake2b("".join(text.split()).encode("utf-8", "replace"), digest_size=6).hexdigest()


def _integer(label: int | float | str) -> int:
    """As the source means it: 142.0 is 142, and "2112_6" the 21126 that `int()` makes of it."""
    try:
        number = int(label)
        if number == label or isinstance(label, str):
            return number
    except (ValueError, OverflowError):
        pass
    if isinstance(label, str) and re.fullmatch(r"[-+]?\d+\.0+", label.strip()):
        return int(float(label))
    raise UserError(f"the label {label!r} is no integer; use a copy of the set with integer labels")


def _digits_in_base(label: object, solution: str) -> int | None:
    """From `2112_6`, where the label is still text or the solution boxes it."""
    boxed = read_answer(solution, modulus=None, lowest=None, highest=None).boxed if solution else None
    for written in (label, boxed):
        if isinstance(written, str) and (found := re.fullmatch(r"([-+]?\d+)_\{?\d+\}?", written.strip())):
            return int(found[1])
    return None


def _without_base(text: str, answer: int) -> int | None:
    """The digits before the base, where the label ends with a base that the text names and they are digits of it."""
    written = str(abs(answer))
    for base in _bases(text.lower()):
        digits = written.removesuffix(str(base))
        if digits and digits != written and all(int(digit) < base for digit in digits):
            return int(digits) if answer > 0 else -int(digits)
    return None


def _bases(text: str) -> Iterator[int]:
    for word in re.findall(r"\bbase[-\s]*\$?\{?(\w+)|\b(binary)\b", text):
        name = "".join(word)
        if name.isdecimal() or name in _WORDS:
            yield int(_WORDS.get(name, name))
