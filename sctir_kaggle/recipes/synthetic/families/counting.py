"""Counts by looking at every case."""

from __future__ import annotations

from itertools import combinations
from math import comb, lcm

from sctir_kaggle.recipes.synthetic.families.chain import chain, terms
from sctir_kaggle.recipes.synthetic.families.family import family


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


@family(
    draw={"n": range(100, 2000), "a": range(2, 20), "b": range(2, 20)},
    texts=(
        "How many positive integers up to $<n>$ are divisible by $<a>$ or $<b>$?",
        "[Find|Determine] the number of integers from 1 to <n> that are multiples of <a> or of <b>.",
        r"[Count|Find the number of] the $k$ with $1 \le k \le <n>$ such that $<a> \mid k$ or $<b> \mid k$.",
        (
            "Numbered balls from $1$ to $<n>$ are painted if their number is a multiple of $<a>$ or $<b>$. How many "
            "are painted?"
        ),
    ),
    thoughts=("We test each number.", "A simple loop counts [the multiples|these numbers]."),
    programs=(
        """
        count = 0
        for k in range(1, <n> + 1):
            if k % <a> == 0 or k % <b> == 0:
                count += 1
        print(count)
        """,
        "print(sum(1 for k in range(1, <n> + 1) if k % <a> == 0 or k % <b> == 0))",
        "from math import lcm\n\nprint(<n> // <a> + <n> // <b> - <n> // lcm(<a>, <b>))",
        "numbers = set(range(<a>, <n> + 1, <a>)) | set(range(<b>, <n> + 1, <b>))\nprint(len(numbers))",
    ),
)
def multiples(n: int, a: int, b: int) -> int | None:
    return sum(k % a == 0 or k % b == 0 for k in range(1, n + 1)) if a != b else None


@chain(multiples)
def _(n: int, a: int, b: int) -> str:
    both = lcm(a, b)
    parts = [n // a, n // b, n // both]
    return (
        f"Of {a} there are {parts[0]} [multiples|numbers], of {b} there are {parts[1]}, and of both, that is of {both}, "
        f"{parts[2]}. {parts[0]} + {parts[1]} = {parts[0] + parts[1]}, minus {parts[2]} is {sum(parts[:2]) - parts[2]}."
    )


@family(
    draw={"n": range(200, 10000), "s": range(3, 28)},
    texts=(
        "How many positive integers up to $<n>$ have digit sum $<s>$?",
        "[Find|Determine] the number of integers from 1 to <n> whose digits add up to <s>.",
        "Count the numbers $k \\le <n>$ such that the sum of the digits of $k$ is $<s>$.",
        "Houses are numbered from $1$ to $<n>$. How many house numbers have digits with sum $<s>$?",
    ),
    thoughts=("We compute the digit sum of every number.", "We let Python check all numbers up to $<n>$."),
    programs=(
        "print(sum(1 for k in range(1, <n> + 1) if sum(map(int, str(k))) == <s>))",
        """
        count = 0
        for k in range(1, <n> + 1):
            if sum(int(d) for d in str(k)) == <s>:
                count += 1
        print(count)
        """,
        """
        def digit_sum(k):
            return k % 10 + digit_sum(k // 10) if k else 0

        print(sum(1 for k in range(1, <n> + 1) if digit_sum(k) == <s>))
        """,
    ),
)
def digit_sums(n: int, s: int) -> int | None:
    return sum(sum(map(int, str(k))) == s for k in range(1, n + 1)) or None


@chain(digit_sums)
def _(n: int, s: int) -> str:
    fits = [k for k in range(1, n + 1) if sum(map(int, str(k))) == s]
    counts = [sum(k // 1000 == thousand for k in fits) for thousand in range(n // 1000 + 1)]
    return f"We count by thousands: {terms(counts, ' + ')} [numbers|of them]. Together {len(fits)}."


@family(
    draw={"n": range(10, 80), "m": range(3, 30), "r": range(0, 8)},
    texts=(
        r"How many ordered pairs $(x,y)$ with $1 \le x, y \le <n>$ satisfy $x^2+y^2 \equiv <r> \pmod{<m>}$?",
        (
            "[Count|Find the number of] ordered pairs of integers $x, y$ from 1 to <n> for which $x^2+y^2$ leaves "
            "remainder <r> when divided by <m>."
        ),
        (
            r"Let $S$ be the set of pairs $(x,y) \in \{1,\dots,<n>\}^2$ such that $x^2+y^2$ has remainder $<r>$ "
            "modulo $<m>$. [Find|Determine] $|S|$."
        ),
        (
            "Two dice with faces $1$ to $<n>$ show $x$ and $y$. For how many outcomes does $x^2+y^2$ leave remainder "
            "$<r>$ on division by $<m>$?"
        ),
    ),
    thoughts=("We try all pairs.", "There are few pairs, so brute force [works|is enough]."),
    programs=(
        """
        count = 0
        for x in range(1, <n> + 1):
            for y in range(1, <n> + 1):
                if (x * x + y * y) % <m> == <r>:
                    count += 1
        print(count)
        """,
        "r = range(1, <n> + 1)\nprint(sum(1 for x in r for y in r if (x**2 + y**2) % <m> == <r>))",
        """
        from itertools import product

        pairs = product(range(1, <n> + 1), repeat=2)
        print(len([1 for x, y in pairs if (x**2 + y**2) % <m> == <r>]))
        """,
    ),
)
def square_pairs(n: int, m: int, r: int) -> int | None:
    count = sum((x * x + y * y) % m == r for x in range(1, n + 1) for y in range(1, n + 1))
    return count or None if r < m else None


@chain(square_pairs)
def _(n: int, m: int, r: int) -> str:
    squares = [x * x % m for x in range(1, n + 1)]
    count = sum((x + y) % m == r for x in squares for y in squares)
    return (
        f"Modulo {m} the squares are {terms(squares[: min(m, n)])}. Two of them must [add up|sum] to {r}. "
        f"The number of pairs is {count}."
    )


@family(
    draw={"a": range(10, 900), "b": range(100, 3000)},
    texts=(
        "How many prime numbers lie between $<a>$ and $<b>$?",
        r"[Find|Determine] the number of primes $p$ with $<a> \le p \le <b>$.",
        "Count the primes from <a> to <b>.",
        r"Let $\pi(x)$ be the number of primes up to $x$. Find $\pi(<b>) - \pi(<a> - 1)$.",
    ),
    thoughts=("We test every number for primality.", "We count the primes in the interval."),
    programs=(
        "from sympy import isprime\n\nprint(sum(1 for p in range(<a>, <b> + 1) if isprime(p)))",
        "from sympy import primerange\n\nprint(len(list(primerange(<a>, <b> + 1))))",
        """
        def is_prime(n):
            return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))

        print(sum(1 for p in range(<a>, <b> + 1) if is_prime(p)))
        """,
        (
            "from sympy import isprime\n\nprimes = [p for p in range(<a>, <b> + 1) if isprime(p)]\nprint(primes[0])",
            "This is the first prime. Now we count them.",
            "print(len(primes))",
        ),
    ),
)
def prime_count(a: int, b: int) -> int | None:
    if b < a + 50 or _is_prime(a) or _is_prime(b):
        return None
    return sum(map(_is_prime, range(a, b + 1)))


@chain(prime_count)
def _(a: int, b: int) -> str:
    below, up_to = (sum(map(_is_prime, range(end))) for end in (a, b + 1))
    return f"There are {up_to} primes up to {b} and {below} [below|less than] {a}. {up_to} - {below} = {up_to - below}."


@family(
    draw={"n": range(8, 17), "k": range(2, 5), "m": range(3, 12), "r": range(0, 8)},
    texts=(
        (
            r"How many subsets of $\{1,2,\dots,<n>\}$ with $<k>$ elements have a sum that leaves remainder $<r>$ "
            "modulo $<m>$?"
        ),
        "From the numbers 1 to <n> we choose <k> different ones. How often is their sum congruent to <r> modulo <m>?",
        (
            "[Count|Find the number of] sets of $<k>$ distinct integers between $1$ and $<n>$ whose sum is $<r>$ "
            "more than a multiple of $<m>$."
        ),
        (
            "A bag has cards numbered $1$ to $<n>$. In how many ways can $<k>$ cards be drawn so that their sum has "
            "remainder $<r>$ when divided by $<m>$?"
        ),
    ),
    thoughts=("We list all subsets of size $<k>$.", "Python can go through all combinations."),
    programs=(
        """
        from itertools import combinations

        print(sum(1 for c in combinations(range(1, <n> + 1), <k>) if sum(c) % <m> == <r>))
        """,
        """
        from itertools import combinations

        count = 0
        for c in combinations(range(1, <n> + 1), <k>):
            if sum(c) % <m> == <r>:
                count += 1
        print(count)
        """,
        (
            (
                "from itertools import combinations\n\nsums = [sum(c) for c in combinations(range(1, <n> + 1), <k>)]\n"
                "print(len(sums))"
            ),
            "These are all subsets. We keep those with the right remainder.",
            "print(len([s for s in sums if s % <m> == <r>]))",
        ),
    ),
)
def subset_sums(n: int, k: int, m: int, r: int) -> int | None:
    return sum(sum(c) % m == r for c in combinations(range(1, n + 1), k)) if r < m else None


@chain(subset_sums)
def _(n: int, k: int, m: int, r: int) -> str:
    sums = [sum(chosen) % m for chosen in combinations(range(1, n + 1), k)]
    return (
        f"There are C({n},{k}) = {comb(n, k)} [subsets|choices], about one in {m} of them fits. Remainder {r} occurs "
        f"for {sums.count(r)}."
    )
