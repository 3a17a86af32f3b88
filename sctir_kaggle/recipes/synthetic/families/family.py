"""A family generates synthetic problems of one kind, with their answers and programs that solve them.

A family is a plain Python function, the reference, under the `@family` decorator:

    @family(
        draw={"a": range(2, 100), "n": range(10, 100)},
        texts=("[Find|Compute] $<a>^{<n>} \\bmod 1000$.", ...),
        thoughts=("We let Python compute the power.", ...),
        programs=("print(<a> ** <n> % 1000)", ...),
    )
    def power(a: int, n: int) -> int:
        return pow(a, n, 1000)

`<a>` is the parameter's value. `[x|y]` is a choice (in texts and thoughts, not in programs). A program is a block of
code, or (code, sentence, code, ...): blocks that share their variables. The last thing that a program prints is its
answer. Parameters for which the reference returns None, or a number outside 0..999, are drawn again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

Params = Mapping[str, int]
Program = str | tuple[str, ...]
Reference = Callable[..., int | None]

ANSWERS = range(1000)

FAMILIES: dict[str, Family] = {}
"""Every family by the name of its reference function."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of problem. `direct` holds solutions without code, functions of the parameters; `programs` may be empty then."""

    name: str
    draw: Mapping[str, Sequence[int]]
    texts: tuple[str, ...]
    thoughts: tuple[str, ...]
    programs: tuple[Program, ...]
    direct: tuple[Callable[..., str], ...]
    reference: Reference

    def sample(self, rng: Random) -> Params:
        """Random parameters whose answer lies in 0..999."""
        while True:
            params = {name: rng.choice(values) for name, values in self.draw.items()}
            if self.reference(**params) in ANSWERS:
                return params

    def answer(self, params: Params) -> int:
        """The reference answer, 0..999. Raises `ValueError` for parameters that `sample` would not draw."""
        value = self.reference(**params)
        if value is None or value not in ANSWERS:
            raise ValueError(f"{self.name}{dict(params)} has the answer {value}, not one of 0..999; use `sample`")
        return value

    def text(self, params: Params, rng: Random) -> str:
        """The problem in one of its phrasings."""
        return phrase(rng.choice(self.texts), params, rng)


def family(
    *,
    draw: Mapping[str, Sequence[int]],
    texts: tuple[str, ...],
    thoughts: tuple[str, ...] = (),
    programs: tuple[Program, ...] = (),
    direct: tuple[Callable[..., str], ...] = (),
) -> Callable[[Reference], Family]:
    """Register the decorated reference as a family."""

    def register(reference: Reference) -> Family:
        made = Family(reference.__name__, draw, texts, thoughts, tuple(map(_clean, programs)), direct, reference)
        if made.name in FAMILIES:
            raise ValueError(f"two families are named {made.name!r}; rename one")
        FAMILIES[made.name] = made
        return made

    return register


def _clean(program: Program) -> Program:
    return inspect.cleandoc(program) if isinstance(program, str) else tuple(map(inspect.cleandoc, program))


def fill(template: str, params: Params) -> str:
    """Replace each `<n>` by the value of `n`."""
    return re.sub(r"<(\w+)>", lambda match: str(params[match[1]]), template)


def phrase(template: str, params: Params, rng: Random) -> str:
    """Make the choices `[x|y]`, then fill."""
    chosen = re.sub(r"\[([^\[\]]*\|[^\[\]]*)\]", lambda match: rng.choice(match[1].split("|")), template)
    return fill(chosen, params)
