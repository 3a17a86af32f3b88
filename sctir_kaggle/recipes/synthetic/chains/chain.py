"""A chain of thought: a family's solution in words and numbers, without code, and the helpers that several of them use.

A chain is a function of the family's parameters, named like the family, under the decorator `@chain`. `[x|y]` in its text
is a choice of words. Its last number is the answer. Covered: the steps that a person would write down in a few lines.
Not covered: what takes a hundred steps by hand; such a chain says how it goes, shows its beginning and states the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Chain = Callable[..., str]

CHAINS: dict[str, Chain] = {}
"""Every chain by the name of its family."""

LONGEST = 20
"""Terms that are written out; of more, the first `SHOWN`."""

SHOWN = 5


def chain(solution: Chain) -> Chain:
    """Register the solution of the family that it is named after."""
    name = solution.__name__
    if name in CHAINS:
        raise ValueError(f"two chains are named {name!r}; rename one")
    CHAINS[name] = solution
    return solution


def terms(values: Sequence[int], separator: str = ", ") -> str:
    """All values, or the first few and dots."""
    few = len(values) <= LONGEST
    return separator.join([*map(str, values if few else values[:SHOWN]), *([] if few else ["..."])])


def reduced(value: int, modulus: int) -> str:
    """`1234, modulo 1000 it is 234`; the value alone where there is nothing to reduce."""
    return f"{value}" if value < modulus else f"{value}, modulo {modulus} it is {value % modulus}"


def factors(n: int) -> list[tuple[int, int]]:
    """Primes and exponents of n, which is at least 2."""
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
    """`2^3 * 5`."""
    return " * ".join(f"{prime}^{exponent}" if exponent > 1 else f"{prime}" for prime, exponent in factors(n))


def euclid(a: int, b: int) -> tuple[list[str], int]:
    """The divisions of Euclid's algorithm, and the greatest common divisor."""
    lines = []
    while b:
        lines.append(f"{a} = {a // b} * {b} + {a % b}")
        a, b = b, a % b
    return lines, a
