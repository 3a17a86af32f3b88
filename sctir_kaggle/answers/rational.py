"""Exact, bounded arithmetic: every result is a `Fraction` of at most `MAX_BITS` bits, or `Unreadable` is raised.

The size of a result is estimated before it is computed, so that no expression, however nested, takes much time or memory.
There are no floats: a root that is not exact has no value.
"""

from __future__ import annotations

import math
from fractions import Fraction

MAX_BITS = 4096
"""Limit of each numerator and denominator: 1,233 digits; Python refuses to print integers of more than 4,300."""

MAX_FACTORIAL = 1000
"""Largest argument of a factorial that is computed at all (`MAX_BITS` ends them at 536 already)."""


class Unreadable(ValueError):
    """The text denotes no rational number, or one above the limit."""


def bounded(value: Fraction) -> Fraction:
    """Return `value` if it is within the limit. Raises `Unreadable` otherwise."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise Unreadable(f"more than {MAX_BITS} bits")
    return value


def integer(value: Fraction) -> int:
    """Return `value` as an int. Raises `Unreadable` for a fraction."""
    if value.denominator != 1:
        raise Unreadable(f"{value} is not an integer")
    return value.numerator


def literal(digits: str) -> Fraction:
    """Parse a number: `42`, `4.20`, `.5`, `42.`, `4.2e1`.

    >>> literal("4.20"), literal("4.2e1")
    (Fraction(21, 5), Fraction(42, 1))
    """
    mantissa, _, exponent = digits.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    if len(mantissa) > MAX_BITS // 3 or len(exponent) > 5:
        raise Unreadable("too many digits")
    value = bounded(Fraction(int(whole + decimals), 10 ** len(decimals)))
    return bounded(value * power(Fraction(10), Fraction(int(exponent or "0"))))


def divide(above: Fraction, below: Fraction) -> Fraction:
    """Return the quotient. Raises `Unreadable` for a division by zero."""
    if below == 0:
        raise Unreadable("division by zero")
    return bounded(above / below)


def remainder(value: Fraction, modulus: Fraction) -> Fraction:
    """Return the least non-negative residue of an integer."""
    if modulus < 1:
        raise Unreadable("a modulus is positive")
    return Fraction(integer(value) % integer(modulus))


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """Return `base ** exponent` if it is rational: `2^{10}`, `2^{-1}`, `16^{1/2}`. Neither `0^0` nor roots of negatives."""
    if base == 0 and exponent <= 0:
        raise Unreadable("zero to a power that is not positive")
    if exponent.denominator != 1:
        if base < 0:
            raise Unreadable("a fractional power of a negative number")
        return power(root(base, exponent.denominator), Fraction(exponent.numerator))
    if abs(base) in (0, 1):
        return base if exponent.numerator % 2 else abs(base)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
    if abs(exponent.numerator) * max(bits, 1) > MAX_BITS:
        raise Unreadable("too large a power")
    return bounded(Fraction(base**exponent.numerator))


def root(value: Fraction, degree: int) -> Fraction:
    """Return the exact real root of `value`: 3 for `\\sqrt[3]{27}`, -3 for `\\sqrt[3]{-27}`. Raises `Unreadable` if inexact."""
    if degree < 1 or (value < 0 and degree % 2 == 0):
        raise Unreadable("no such real root")
    size = Fraction(_root(abs(value.numerator), degree), _root(value.denominator, degree))
    return size if value >= 0 else -size


def _root(number: int, degree: int) -> int:
    if number < 2 or degree == 1:
        return number
    if degree >= number.bit_length():
        raise Unreadable("an irrational root")
    found = math.isqrt(number) if degree == 2 else _newton(number, degree)
    if found**degree != number:
        raise Unreadable("an irrational root")
    return found


def _newton(number: int, degree: int) -> int:
    """The integer part of the root, by Newton's method from above; the start is less than twice the root."""
    guess = 1 << -(-number.bit_length() // degree)
    while (step := ((degree - 1) * guess + number // guess ** (degree - 1)) // degree) < guess:
        guess = step
    return guess


def factorial(value: Fraction) -> Fraction:
    """Return `value!` of a small non-negative integer."""
    if not 0 <= value <= MAX_FACTORIAL:
        raise Unreadable(f"a factorial outside 0..{MAX_FACTORIAL}")
    return bounded(Fraction(math.factorial(integer(value))))


def binomial(above: Fraction, below: Fraction) -> Fraction:
    """Return `above` choose `below` for non-negative integers."""
    of, chosen = integer(above), integer(below)
    if of < 0 or chosen < 0:
        raise Unreadable("a binomial of a negative number")
    fewer = max(0, min(chosen, of - chosen))
    if fewer and max(fewer * ((of // fewer).bit_length() - 1), 2 * fewer - fewer.bit_length() - 2) > MAX_BITS:
        raise Unreadable("too large a binomial")  # it is at least (of/fewer)^fewer, and 4^fewer/(2*fewer + 1)
    return bounded(Fraction(math.comb(of, fewer) if chosen <= of else 0))
