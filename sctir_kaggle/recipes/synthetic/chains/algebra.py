"""Equations and polynomials, by hand."""

from __future__ import annotations

from math import comb

from sctir_kaggle.recipes.synthetic.chains.chain import chain, reduced, terms


@chain
def linear_system(a: int, b: int, c: int, d: int, s: int, t: int) -> str:
    total, factor = s * d + t * b, a * d + b * c
    x = total // factor
    y = (s - a * x) // b
    return (
        f"We [eliminate|get rid of] y: {d} times the first plus {b} times the second equation. "
        f"{a} * {d} + {c} * {b} = {factor} and {s} * {d} + {t} * {b} = {total}, so {factor}x = {total} and x = {x}. "
        f"Then {b}y = {s} - {a * x} = {s - a * x}, y = {y}, and {x} + {y} = {x + y}."
    )


@chain
def root_powers(s: int, p: int, k: int) -> str:
    squares = s * s - 2 * p
    start = f"[By Vieta|We know that] u + v = {s} and uv = {p}. u^2 + v^2 = {s * s} - {2 * p} = {squares}."
    if k == 2:
        return f"{start} This is {reduced(squares, 1000)}."
    if k == 3:
        value = s * squares - p * s
        return f"{start} u^3 + v^3 = {s} * {squares} - {p} * {s} = {reduced(value, 1000)}."
    value = squares * squares - 2 * p * p
    return f"{start} u^4 + v^4 = {squares}^2 - 2 * {p}^2 = {reduced(value, 1000)}."


@chain
def cubic_value(a: int, b: int, c: int, d: int, k: int) -> str:
    steps, value = [], a
    for coefficient in (b, c, d):
        before, value = value, (value * k + coefficient) % 1000
        steps.append(f"{before} * {k} + {coefficient} = {reduced(before * k + coefficient, 1000)}")
    return f"We use Horner's [rule|scheme] modulo 1000. {'; '.join(steps)}."


@chain
def coefficient(a: int, b: int, n: int, k: int) -> str:
    parts = [comb(n, k) % 1000, a**k % 1000, b ** (n - k) % 1000]
    first = parts[0] * parts[1]
    return (
        f"By the binomial theorem it is C({n},{k}) * {a}^{k} * {b}^{n - k}. [Modulo|Mod] 1000 these are "
        f"{terms(parts)}. {parts[0]} * {parts[1]} = {reduced(first, 1000)}. "
        f"{first % 1000} * {parts[2]} = {reduced(first % 1000 * parts[2], 1000)}."
    )


@chain
def quadratic_inequality(a: int, b: int) -> str:
    inside = [x for x in range(-200, 201) if x * x + a * x <= b]
    low, high = inside[0], inside[-1]
    return (
        f"At {high} we have {high * high + a * high}, and {high + 1} is too large. At {low} we have "
        f"{low * low + a * low}, and {low - 1} is too small. [So|Hence] {low} <= x <= {high}. "
        f"{high} - ({low}) + 1 = {high - low + 1}."
    )
