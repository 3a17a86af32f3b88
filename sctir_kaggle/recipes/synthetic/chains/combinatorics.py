"""Choices, arrangements, paths, partitions, by hand."""

from __future__ import annotations

from itertools import combinations
from math import comb

from sctir_kaggle.recipes.synthetic.chains.chain import chain, reduced, terms


@chain
def binomial_mod(n: int, k: int, m: int) -> str:
    return (
        f"This is {n} * {n - 1} * ... * {n - k + 1} over {k}!, so [we cancel|cancelling] and reduce modulo {m}. "
        f"The remainder is {comb(n, k) % m}."
    )


@chain
def committees(a: int, b: int, c: int, d: int) -> str:
    first, second = comb(a, c), comb(b, d)
    return (
        f"C({a},{c}) = {reduced(first, 1000)}. C({b},{d}) = {reduced(second, 1000)}. [We multiply|Multiply]: "
        f"{first % 1000} * {second % 1000} = {reduced(first % 1000 * (second % 1000), 1000)}."
    )


@chain
def blocked_paths(a: int, b: int, c: int, d: int) -> str:
    total, start, rest = comb(a + b, a), comb(c + d, c), comb(a + b - c - d, a - c)
    return (
        f"All paths: C({a + b},{a}) = {total}. [Through the point|Forbidden]: C({c + d},{c}) = {start} times "
        f"C({a + b - c - d},{a - c}) = {rest}, {start * rest}. The difference is {reduced(total - start * rest, 1000)}."
    )


@chain
def bounded_triples(n: int, a: int, b: int, c: int) -> str:
    bounds, total, text = (a, b, c), comb(n + 2, 2), []
    for size, verb in ((1, "subtract"), (2, "add"), (3, "subtract")):
        left = [n - sum(bound + 1 for bound in chosen) for chosen in combinations(bounds, size)]
        counts = [comb(rest + 2, 2) for rest in left if rest >= 0]
        if counts:
            total += (-1) ** size * sum(counts)
            text.append(f"{verb} {terms(counts, ' + ')} with {size} too large, we have {total}")
    start = f"Without bounds C({n + 2},2) = {comb(n + 2, 2)} [solutions|ways]"
    return f"{'; '.join([start, *text])}. This gives {total}."


@chain
def arrangements(a: int, b: int, c: int) -> str:
    first, second = comb(a + b + c, a), comb(b + c, b)
    return (
        f"[We place|Place] the first kind: C({a + b + c},{a}) = {reduced(first, 1000)}. Then the second: "
        f"C({b + c},{b}) = {reduced(second, 1000)}. {first % 1000} * {second % 1000} = "
        f"{reduced(first % 1000 * (second % 1000), 1000)}."
    )


@chain
def coin_change(n: int, a: int, b: int, c: int) -> str:
    counts = [sum((rest - b * y) % a == 0 for y in range(rest // b + 1)) for rest in range(n, -1, -c)]
    return (
        f"We [use|take] z = 0, 1, 2, ... times {c}. The rest can be paid in {terms(counts)} ways. "
        f"Together {sum(counts)}."
    )
