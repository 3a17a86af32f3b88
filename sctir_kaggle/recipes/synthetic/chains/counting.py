"""Counts that a person does by cases."""

from __future__ import annotations

from itertools import combinations
from math import comb, lcm

from sctir_kaggle.recipes.synthetic.chains.chain import chain, terms


@chain
def multiples(n: int, a: int, b: int) -> str:
    both = lcm(a, b)
    parts = [n // a, n // b, n // both]
    return (
        f"Of {a} there are {parts[0]} [multiples|numbers], of {b} there are {parts[1]}, and of both, that is of {both}, "
        f"{parts[2]}. {parts[0]} + {parts[1]} = {parts[0] + parts[1]}, minus {parts[2]} is {sum(parts[:2]) - parts[2]}."
    )


@chain
def digit_sums(n: int, s: int) -> str:
    fits = [k for k in range(1, n + 1) if sum(map(int, str(k))) == s]
    counts = [sum(k // 1000 == thousand for k in fits) for thousand in range(n // 1000 + 1)]
    return f"We count by thousands: {terms(counts, ' + ')} [numbers|of them]. Together {len(fits)}."


@chain
def square_pairs(n: int, m: int, r: int) -> str:
    squares = [x * x % m for x in range(1, n + 1)]
    count = sum((x + y) % m == r for x in squares for y in squares)
    return (
        f"Modulo {m} the squares are {terms(squares[: min(m, n)])}. Two of them must [add up|sum] to {r}. "
        f"The number of pairs is {count}."
    )


def _primes_to(n: int) -> int:
    return sum(k > 1 and all(k % d for d in range(2, int(k**0.5) + 1)) for k in range(n + 1))


@chain
def prime_count(a: int, b: int) -> str:
    below, up_to = _primes_to(a - 1), _primes_to(b)
    return f"There are {up_to} primes up to {b} and {below} [below|less than] {a}. {up_to} - {below} = {up_to - below}."


@chain
def subset_sums(n: int, k: int, m: int, r: int) -> str:
    sums = [sum(chosen) % m for chosen in combinations(range(1, n + 1), k)]
    return (
        f"There are C({n},{k}) = {comb(n, k)} [subsets|choices], about one in {m} of them fits. Remainder {r} occurs "
        f"for {sums.count(r)}."
    )
