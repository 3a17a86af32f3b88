"""Choices, arrangements, paths, partitions."""

from __future__ import annotations

from itertools import combinations
from math import comb, factorial

from sctir_kaggle.recipes.synthetic.families.chain import chain, reduced, terms
from sctir_kaggle.recipes.synthetic.families.family import family


@family(
    draw={"n": range(10, 200), "k": range(2, 60), "m": range(100, 1001)},
    texts=(
        r"[Find|Compute] the remainder when $\binom{<n>}{<k>}$ is divided by $<m>$.",
        "In how many ways can one choose <k> [people|cards] out of <n>? Give the answer modulo <m>.",
        (
            "Let $C$ be the number of subsets with $<k>$ elements of a set with $<n>$ elements. [Find|Determine] the "
            "remainder of $C$ modulo $<m>$."
        ),
        r"[Evaluate|Compute] $\binom{<n>}{<k>} \bmod <m>$.",
    ),
    thoughts=("This is a binomial coefficient modulo $<m>$.", "We compute the number of choices exactly, then reduce."),
    programs=(
        "from math import comb\n\nprint(comb(<n>, <k>) % <m>)",
        "from sympy import binomial\n\nprint(binomial(<n>, <k>) % <m>)",
        """
        result = 1
        for i in range(<k>):
            result = result * (<n> - i) // (i + 1)
        print(result % <m>)
        """,
        ("from math import comb\n\nc = comb(<n>, <k>)\nprint(len(str(c)))", "We reduce it.", "print(c % <m>)"),
    ),
)
def binomial_mod(n: int, k: int, m: int) -> int | None:
    return comb(n, k) % m if k < n else None


@chain(binomial_mod)
def _(n: int, k: int, m: int) -> str:
    return (
        f"This is {n} * {n - 1} * ... * {n - k + 1} over {k}!, so [we cancel|cancelling] and reduce modulo {m}. "
        f"The remainder is {comb(n, k) % m}."
    )


@family(
    draw={"a": range(4, 30), "b": range(4, 30), "c": range(1, 8), "d": range(1, 8)},
    texts=(
        (
            "A club has $<a>$ men and $<b>$ women. In how many ways can [we|one] [form|choose] a committee of $<c>$ "
            "men and $<d>$ women? Give the remainder modulo $1000$."
        ),
        "From <a> boys and <b> girls we pick <c> boys and <d> girls. Find the number of ways modulo 1000.",
        r"[Compute|Find] $\binom{<a>}{<c>} \cdot \binom{<b>}{<d>} \bmod 1000$.",
        (
            "A box holds $<a>$ red and $<b>$ blue distinct balls. Let $N$ be the number of ways to take $<c>$ red "
            "and $<d>$ blue ones. Find the last three digits of $N$."
        ),
    ),
    thoughts=("The two choices are independent, so we multiply.", "We multiply two binomial coefficients."),
    programs=(
        "from math import comb\n\nprint(comb(<a>, <c>) * comb(<b>, <d>) % 1000)",
        "from sympy import binomial\n\nprint(binomial(<a>, <c>) * binomial(<b>, <d>) % 1000)",
        (
            "from math import comb\n\nx = comb(<a>, <c>)\ny = comb(<b>, <d>)\nprint(x, y)",
            "We multiply both numbers.",
            "print(x * y % 1000)",
        ),
    ),
)
def committees(a: int, b: int, c: int, d: int) -> int | None:
    return comb(a, c) * comb(b, d) % 1000 if c < a and d < b else None


@chain(committees)
def _(a: int, b: int, c: int, d: int) -> str:
    first, second = comb(a, c), comb(b, d)
    return (
        f"C({a},{c}) = {reduced(first, 1000)}. C({b},{d}) = {reduced(second, 1000)}. [We multiply|Multiply]: "
        f"{first % 1000} * {second % 1000} = {reduced(first % 1000 * (second % 1000), 1000)}."
    )


@family(
    draw={"a": range(3, 15), "b": range(3, 15), "c": range(1, 14), "d": range(1, 14)},
    texts=(
        (
            "How many lattice paths from $(0,0)$ to $(<a>,<b>)$ with steps right and up avoid the point $(<c>,<d>)$? "
            "Give the answer modulo $1000$."
        ),
        (
            "An ant walks on a grid from (0, 0) to (<a>, <b>), each step one unit right or up, and never visits "
            "(<c>, <d>). Find the number of its routes modulo 1000."
        ),
        (
            "Let $P$ be the number of shortest grid paths from $(0,0)$ to $(<a>,<b>)$ that do not pass through "
            "$(<c>,<d>)$. [Find|Determine] the remainder when $P$ is divided by $1000$."
        ),
        (
            "A robot moves right or up from $(0,0)$ to $(<a>,<b>)$. The cell $(<c>,<d>)$ is blocked. How many paths "
            "are there, modulo $1000$?"
        ),
    ),
    thoughts=(
        "All paths minus those through the [forbidden|blocked] point.",
        "We subtract the paths through $(<c>,<d>)$.",
    ),
    programs=(
        """
        from math import comb

        bad = comb(<c> + <d>, <c>) * comb(<a> + <b> - <c> - <d>, <a> - <c>)
        print((comb(<a> + <b>, <a>) - bad) % 1000)
        """,
        """
        def paths(x, y):
            if (x, y) == (<c>, <d>):
                return 0
            if x == 0 and y == 0:
                return 1
            return (paths(x - 1, y) if x else 0) + (paths(x, y - 1) if y else 0)

        from functools import lru_cache

        paths = lru_cache(paths)
        print(paths(<a>, <b>) % 1000)
        """,
    ),
)
def blocked_paths(a: int, b: int, c: int, d: int) -> int | None:
    if c > a or d > b or (c, d) == (a, b):
        return None
    ways = [[0] * (b + 1) for _ in range(a + 1)]
    for x in range(a + 1):
        for y in range(b + 1):
            before = (ways[x - 1][y] if x else 0) + (ways[x][y - 1] if y else 0)
            ways[x][y] = 0 if (x, y) == (c, d) else before or int(x == y == 0)
    return ways[a][b] % 1000


@chain(blocked_paths)
def _(a: int, b: int, c: int, d: int) -> str:
    total, start, rest = comb(a + b, a), comb(c + d, c), comb(a + b - c - d, a - c)
    return (
        f"All paths: C({a + b},{a}) = {total}. [Through the point|Forbidden]: C({c + d},{c}) = {start} times "
        f"C({a + b - c - d},{a - c}) = {rest}, {start * rest}. The difference is {reduced(total - start * rest, 1000)}."
    )


@family(
    draw={"n": range(10, 60), "a": range(3, 30), "b": range(3, 30), "c": range(3, 30)},
    texts=(
        (
            r"How many triples of integers satisfy $x+y+z=<n>$ with $0 \le x \le <a>$, $0 \le y \le <b>$ and $0 \le z "
            r"\le <c>$?"
        ),
        (
            "In how many ways can <n> equal [candies|coins] be given to three children who take at most <a>, <b> and "
            "<c>?"
        ),
        (
            r"[Count|Find the number of] the integer solutions of $x+y+z = <n>$ where $x \in [0,<a>]$, $y \in "
            r"[0,<b>]$, $z \in [0,<c>]$."
        ),
        (
            "Three boxes hold at most $<a>$, $<b>$ and $<c>$ balls. In how many ways can $<n>$ identical balls be "
            "put in them?"
        ),
    ),
    thoughts=("We [loop|run] over two of the variables.", "For each $x$ and $y$ the third number is fixed."),
    programs=(
        """
        count = 0
        for x in range(<a> + 1):
            for y in range(<b> + 1):
                if 0 <= <n> - x - y <= <c>:
                    count += 1
        print(count)
        """,
        """
        n = <n>
        print(sum(1 for x in range(<a> + 1) for y in range(<b> + 1) if 0 <= n - x - y <= <c>))
        """,
        """
        from itertools import product

        triples = product(range(<a> + 1), range(<b> + 1), range(<c> + 1))
        print(sum(1 for t in triples if sum(t) == <n>))
        """,
    ),
)
def bounded_triples(n: int, a: int, b: int, c: int) -> int | None:
    count = sum(x + y + z == n for x in range(a + 1) for y in range(b + 1) for z in range(c + 1))
    return count or None


@chain(bounded_triples)
def _(n: int, a: int, b: int, c: int) -> str:
    bounds, total, text = (a, b, c), comb(n + 2, 2), []
    for size, verb in ((1, "subtract"), (2, "add"), (3, "subtract")):
        left = [n - sum(bound + 1 for bound in chosen) for chosen in combinations(bounds, size)]
        counts = [comb(rest + 2, 2) for rest in left if rest >= 0]
        if counts:
            total += (-1) ** size * sum(counts)
            text.append(f"{verb} {terms(counts, ' + ')} with {size} too large, we have {total}")
    start = f"Without bounds C({n + 2},2) = {comb(n + 2, 2)} [solutions|ways]"
    return f"{'; '.join([start, *text])}. This gives {total}."


@family(
    draw={"a": range(1, 9), "b": range(1, 9), "c": range(1, 9)},
    texts=(
        (
            "[Find|Compute] the number of words with $<a>$ letters A, $<b>$ letters B and $<c>$ letters C, modulo "
            "$1000$."
        ),
        "In how many orders can <a> red, <b> blue and <c> green [flags|beads] be put in a row? Answer modulo 1000.",
        r"[Evaluate|Find] $\frac{(<a>+<b>+<c>)!}{<a>!\,<b>!\,<c>!} \bmod 1000$.",
        (
            "Let $W$ be the number of arrangements of $<a>$ ones, $<b>$ twos and $<c>$ threes. What is the remainder "
            "when $W$ is divided by $1000$?"
        ),
    ),
    thoughts=("This is a multinomial coefficient.", "We divide the factorial of the sum by the three factorials."),
    programs=(
        """
        from math import factorial as f

        print(f(<a> + <b> + <c>) // f(<a>) // f(<b>) // f(<c>) % 1000)
        """,
        "from math import comb\n\na, b, c = <a>, <b>, <c>\nprint(comb(a + b + c, a) * comb(b + c, b) % 1000)",
        (
            "from math import factorial\n\na, b, c = <a>, <b>, <c>\ntotal = factorial(a + b + c)\nprint(total)",
            "Equal letters can be swapped, so we divide.",
            "total //= factorial(a) * factorial(b) * factorial(c)\nprint(total % 1000)",
        ),
    ),
)
def arrangements(a: int, b: int, c: int) -> int:
    return factorial(a + b + c) // (factorial(a) * factorial(b) * factorial(c)) % 1000


@chain(arrangements)
def _(a: int, b: int, c: int) -> str:
    first, second = comb(a + b + c, a), comb(b + c, b)
    return (
        f"[We place|Place] the first kind: C({a + b + c},{a}) = {reduced(first, 1000)}. Then the second: "
        f"C({b + c},{b}) = {reduced(second, 1000)}. {first % 1000} * {second % 1000} = "
        f"{reduced(first % 1000 * (second % 1000), 1000)}."
    )


@family(
    draw={"n": range(30, 300), "a": range(1, 8), "b": range(5, 20), "c": range(10, 50)},
    texts=(
        "In how many ways can $<n>$ cents be paid with coins of $<a>$, $<b>$ and $<c>$ cents?",
        "How many triples of nonnegative integers satisfy $<a>x + <b>y + <c>z = <n>$?",
        (
            "[Find|Count] the number of ways to write <n> as a sum of numbers from the set {<a>, <b>, <c>}, where "
            "the order does not matter."
        ),
        "[Tickets|Stamps] cost $<a>$, $<b>$ or $<c>$ euros. In how many ways can one spend exactly $<n>$ euros?",
    ),
    thoughts=("We count the [ways|solutions] step by step, one coin at a time.", "We loop over the larger values."),
    programs=(
        """
        ways = [1] + [0] * <n>
        for coin in [<a>, <b>, <c>]:
            for i in range(coin, <n> + 1):
                ways[i] += ways[i - coin]
        print(ways[<n>])
        """,
        """
        count = 0
        for z in range(0, <n> + 1, <c>):
            for y in range(0, <n> - z + 1, <b>):
                if (<n> - z - y) % <a> == 0:
                    count += 1
        print(count)
        """,
    ),
)
def coin_change(n: int, a: int, b: int, c: int) -> int | None:
    if not a < b < c:
        return None
    return sum((n - b * y - c * z) % a == 0 for z in range(n // c + 1) for y in range((n - c * z) // b + 1)) or None


@chain(coin_change)
def _(n: int, a: int, b: int, c: int) -> str:
    counts = [sum((rest - b * y) % a == 0 for y in range(rest // b + 1)) for rest in range(n, -1, -c)]
    return (
        f"We [use|take] z = 0, 1, 2, ... times {c}. The rest can be paid in {terms(counts)} ways. "
        f"Together {sum(counts)}."
    )
