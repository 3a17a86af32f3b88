"""Recurrences and sums, by hand."""

from __future__ import annotations

from sctir_kaggle.recipes.synthetic.chains.chain import chain, reduced, terms


@chain
def recurrence(p: int, q: int, u: int, v: int, n: int) -> str:
    values = [p, q]
    while len(values) < n:
        values.append((u * values[-1] + v * values[-2]) % 1000)
    return f"The terms modulo 1000 [are|go]: {terms(values)}. Term {n} is {values[-1]}."


@chain
def arithmetic_sum(a: int, d: int, n: int) -> str:
    last = a + d * (n - 1)
    total = n * (a + last) // 2
    return (
        f"The last term is {a} + {d} * {n - 1} = {last}. [First plus last|The ends]: {a} + {last} = {a + last}. "
        f"{n} * {a + last} / 2 = {reduced(total, 1000)}."
    )


@chain
def power_sum(k: int, n: int, m: int) -> str:
    powers = [i**k % m for i in range(1, n + 1)]
    return f"Modulo {m} the powers [are|begin] {terms(powers)}. Their sum leaves {sum(powers) % m}."


@chain
def collatz(n: int) -> str:
    start, values = n, []
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        values.append(n)
    return f"From {start} [we get|it goes to] {terms(values)}. The number of steps is {len(values)}."


@chain
def iterated_map(x: int, c: int, m: int, n: int) -> str:
    values = []
    for _ in range(n):
        x = (x * x + c) % m
        values.append(x)
    return f"The values [are|go]: {terms(values)}. After {n} steps it is {x}."
