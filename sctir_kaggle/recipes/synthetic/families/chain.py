"""Chains of thought: the solution of a family in words and numbers, without code, for stage 1's training data.

A chain is a function of the family's parameters under the decorator `@chain(family)`, right behind that family. `[x|y]` in
its text is a choice of words. Its last number is the answer. Covered: the steps that a person would write down in a few
lines. Not covered: what takes a hundred steps by hand; such a chain describes the method, shows its beginning and states the
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sctir_kaggle.recipes.synthetic.families.family import Family

Chain = Callable[..., str]

CHAINS: dict[str, Chain] = {}
"""Every chain by the name of its family."""


def chain(family: Family) -> Callable[[Chain], Chain]:
    """Register the decorated function as the chain of thought of `family`."""

    def register(solution: Chain) -> Chain:
        if family.name in CHAINS:
            raise ValueError(f"{family.name!r} has a chain already; remove one")
        CHAINS[family.name] = solution
        return solution

    return register


LONGEST = 20
"""The most terms that `terms` writes out; of longer sequences it shows the first `SHOWN`."""

SHOWN = 5


def terms(values: Sequence[int], separator: str = ", ") -> str:
    """`1, 2, 3`; of more than `LONGEST` values the first few and dots."""
    few = len(values) <= LONGEST
    return separator.join([*map(str, values if few else values[:SHOWN]), *([] if few else ["..."])])


def reduced(value: int, modulus: int) -> str:
    """`1234, modulo 1000 it is 234`; the value alone where there is nothing to reduce."""
    return f"{value}" if value < modulus else f"{value}, modulo {modulus} it is {value % modulus}"


def factors(n: int) -> list[tuple[int, int]]:
    """Primes and exponents of n >= 2: `factors(360)` is [(2, 3), (3, 2), (5, 1)]."""
    found, prime = [], 2
    while n > 1:
        exponent = 0
        while n % prime == 0:
            n, exponent = n // prime, exponent + 1
        if exponent:
            found.append((prime, exponent))
        prime += 1
    return found


def factored(n: int) -> str:
    """`factored(40)` is `2^3 * 5`."""
    return " * ".join(f"{prime}^{exponent}" if exponent > 1 else f"{prime}" for prime, exponent in factors(n))


def euclid(a: int, b: int) -> tuple[list[str], int]:
    """The divisions of Euclid's algorithm, and the greatest common divisor."""
    lines = []
    while b:
        lines.append(f"{a} = {a // b} * {b} + {a % b}")
        a, b = b, a % b
    return lines, a
