"""Remainders, divisors, primes, digits, by hand."""

from __future__ import annotations

from math import prod

from sctir_kaggle.recipes.synthetic.chains.chain import chain, euclid, factored, factors, reduced


@chain
def power_mod(a: int, n: int, m: int) -> str:
    steps, value = [], 1
    for bit in bin(n)[2:]:
        value = value * value * (a if bit == "1" else 1) % m
        steps.append(f"{value}")
    return (
        f"{n} is {n:b} in binary. Starting from 1 we square, times {a} where the digit is 1, modulo {m}: "
        f"{', '.join(steps)}. [The remainder is|We arrive at] {value}."
    )


@chain
def divisor_sum(n: int) -> str:
    sums = [sum(prime**power for power in range(exponent + 1)) for prime, exponent in factors(n)]
    return f"{n} = {factored(n)}. [The powers|These] add up to {' * '.join(map(str, sums))} = {prod(sums)}."


@chain
def divisor_count(n: int) -> str:
    counts = [exponent + 1 for _, exponent in factors(n)]
    return (
        f"{n} = {factored(n)}. [We multiply the exponents plus 1|So]: {' * '.join(map(str, counts))} = {prod(counts)}."
    )


@chain
def coprime_count(n: int) -> str:
    parts = [prime ** (exponent - 1) * (prime - 1) for prime, exponent in factors(n)]
    return f"{n} = {factored(n)}. [Euler's function is|So] {' * '.join(map(str, parts))} = {prod(parts)}."


@chain
def lcm_mod(a: int, b: int) -> str:
    lines, gcd = euclid(max(a, b), min(a, b))
    return (
        f"[Euclid|Euclid's algorithm]: {'; '.join(lines)}. The gcd is {gcd}. {a} / {gcd} = {a // gcd}, and "
        f"{a // gcd} * {b} = {reduced(a // gcd * b, 1000)}."
    )


@chain
def inverse_mod(a: int, m: int) -> str:
    lines, _ = euclid(m, a)
    inverse = pow(a, -1, m)
    return (
        f"[Euclid|Euclid's algorithm]: {'; '.join(lines)}. Backwards, {a} * {inverse} = {a * inverse} = "
        f"{a * inverse // m} * {m} + 1. So the inverse is {inverse}."
    )


@chain
def two_congruences(a: int, p: int, b: int, q: int) -> str:
    need, steps = (b - a) % q, (b - a) * pow(p, -1, q) % q
    return (
        f"[We write|Write] n = {a} + {p}t. Modulo {q}, {p % q}t must be {need}, so t = {steps}. "
        f"{p} * {steps} = {p * steps}, plus {a} is {a + p * steps}."
    )


@chain
def power_digit_sum(a: int, n: int) -> str:
    digits = str(a**n)
    return f"The [number|power] {a}^{n} has {len(digits)} digits. Their sum is {sum(map(int, digits))}."


@chain
def trailing_zeros(n: int) -> str:
    counts = []
    left = n
    while left >= 5:
        counts.append(left // 5)
        left //= 5
    return (
        f"We [count|need] the factors 5. Dividing {n} by 5 again and again: {', '.join(map(str, counts))}. "
        f"{' + '.join(map(str, counts))} = {sum(counts)}."
    )
