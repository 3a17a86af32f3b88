"""Mistakes in a block of code: each turns working code into a broken block, a remark and a repair.

No traceback is invented: the broken block runs like any other, and a draft whose broken block does not fail is dropped. A
repair may use variables of the failed block, since a candidate's blocks share their state.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Mistake:
    """A block that fails, the remark after its traceback, and the block that repairs it."""

    broken: str
    remark: str
    repair: str


def make_mistake(code: str, rng: Random) -> Mistake | None:
    """One of the mistakes that fit this code; None where none does."""
    found = [mistake for make in MAKERS if (mistake := make(code, rng)) and mistake.broken != code]
    return rng.choice(found) if found else None


def forget_import(code: str, rng: Random) -> Mistake | None:
    """The import is missing: NameError."""
    imports = re.match(r"(?:from .*\n)+\n*", code)
    return Mistake(code[imports.end() :], "We forgot the import.", code) if imports else None


def misspell_module(code: str, rng: Random) -> Mistake | None:
    """The import names a module that does not exist: ModuleNotFoundError."""
    broken = code.replace("from math import", "from maths import", 1).replace(
        "from sympy import", "from simpy import", 1
    )
    return Mistake(broken, "The module's name was wrong.", code)


def misspell(code: str, rng: Random) -> Mistake | None:
    """The last line prints a name that does not exist: NameError."""
    last = _last_print(code)
    name = last and re.match(r"print\(([a-z]{3,})\b(?!\()", last)
    if not last or not name:
        return None
    wrong = rng.choice((name[1][:-1], name[1] + "s", name[1][0].upper() + name[1][1:]))
    broken = code[: -len(last)] + last.replace(name[1], wrong, 1)
    return Mistake(broken, "The name was misspelt.", last)


def add_text(code: str, rng: Random) -> Mistake | None:
    """A text and a number are added: TypeError."""
    last = _last_print(code)
    if not last:
        return None
    broken = code[: -len(last)] + 'print("answer: " + ' + last.removeprefix("print(")
    return Mistake(broken, "We cannot add text and a number.", last)


def start_at_zero(code: str, rng: Random) -> Mistake | None:
    """Divisors are tried from zero: ZeroDivisionError."""
    if "for d in range(1, " not in code:
        return None
    return Mistake(code.replace("for d in range(1, ", "for d in range(", 1), "We must not divide by zero.", code)


def forget_colon(code: str, rng: Random) -> Mistake | None:
    """A colon is missing: SyntaxError."""
    return Mistake(code.replace(":\n", "\n", 1), "A colon was missing.", code) if ":\n" in code else None


MAKERS: tuple[Callable[[str, Random], Mistake | None], ...] = (
    forget_import,
    misspell_module,
    misspell,
    add_text,
    start_at_zero,
    forget_colon,
)


def _last_print(code: str) -> str:
    """The last line if it is a print at the top level, else nothing."""
    last = code.rsplit("\n", 1)[-1]
    return last if last.startswith("print(") else ""
