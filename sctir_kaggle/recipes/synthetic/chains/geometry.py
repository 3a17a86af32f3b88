"""Lattice points, triangles, areas, by hand. Angles: their family has solutions without code of its own."""

from __future__ import annotations

from math import isqrt

from sctir_kaggle.recipes.synthetic.chains.chain import chain, reduced, terms


@chain
def disk_points(a: int, b: int, n: int) -> str:
    columns = [2 * isqrt(n - x * x) + 1 for x in range(isqrt(n) + 1)]
    side = sum(columns[1:])
    return (
        f"Moving the centre from ({a}, {b}) to the origin [keeps|does not change] the number. The columns 0, 1, ... have "
        f"{terms(columns)} points. All but the first count twice: {columns[0]} + 2 * {side} = {columns[0] + 2 * side}."
    )


@chain
def integer_triangles(n: int, k: int) -> str:
    counts = [sum(b <= n - a - b < a + b for b in range(a, n)) for a in range(k, n // 3 + 1)]
    return (
        f"For the shortest side {k}, {k + 1}, ... there are {terms(counts)} triangles. [Together|In all] {sum(counts)}."
    )


@chain
def double_area(a: int, b: int, c: int, d: int) -> str:
    first, second = sorted((a * d, b * c), reverse=True)
    return (
        f"[The determinant is|We need] {a} * {d} - {b} * {c}. {a} * {d} = {a * d} and {b} * {c} = {b * c}. "
        f"{first} - {second} = {first - second}."
    )


@chain
def box_surface(a: int, b: int, c: int) -> str:
    faces = [a * b, b * c, c * a]
    return (
        f"The faces: {a} * {b} = {a * b}, {b} * {c} = {b * c}, {c} * {a} = {c * a}. [Their|The] sum is {sum(faces)}, "
        f"twice that {reduced(2 * sum(faces), 1000)}."
    )
