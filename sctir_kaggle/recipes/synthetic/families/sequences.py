"""Recurrences and sums."""

from __future__ import annotations

from sctir_kaggle.recipes.synthetic.families.chain import chain, reduced, terms
from sctir_kaggle.recipes.synthetic.families.family import family


@family(
    draw={"p": range(1, 10), "q": range(1, 10), "u": range(1, 6), "v": range(1, 6), "n": range(8, 100)},
    texts=(
        (
            "A sequence has $a_1 = <p>$, $a_2 = <q>$ and $a_{n+2} = <u>a_{n+1} + <v>a_n$. [Find|Compute] the "
            "remainder when $a_{<n>}$ is divided by $1000$."
        ),
        (
            r"Let $a_1 = <p>$, $a_2 = <q>$, and $a_k = <u>a_{k-1} + <v>a_{k-2}$ for $k > 2$. What is $a_{<n>} \bmod "
            "1000$?"
        ),
        (
            "The first two terms of a sequence are <p> and <q>. Each later term is <u> times the previous one plus "
            "<v> times the one before it. Find term number <n> modulo 1000."
        ),
        (
            "[Determine|Find] the last three digits of $a_{<n>}$ if $a_1 = <p>$, $a_2 = <q>$, $a_{n+2} = <u>a_{n+1} "
            "+ <v>a_n$."
        ),
    ),
    thoughts=("We compute the terms one by one.", "We run the recurrence modulo $1000$."),
    programs=(
        """
        a, b = <p>, <q>
        for i in range(<n> - 2):
            a, b = b, (<u> * b + <v> * a) % 1000
        print(b)
        """,
        """
        a = [0, <p>, <q>]
        for k in range(3, <n> + 1):
            a.append(<u> * a[k - 1] + <v> * a[k - 2])
        print(a[<n>] % 1000)
        """,
        (
            "a = [0, <p>, <q>]\nfor k in range(3, <n> + 1):\n    a.append(<u> * a[-1] + <v> * a[-2])\nprint(len(a))",
            "All terms are in the list. We take the last one.",
            "print(a[<n>] % 1000)",
        ),
    ),
)
def recurrence(p: int, q: int, u: int, v: int, n: int) -> int:
    terms = [p, q]
    while len(terms) < n:
        terms.append(u * terms[-1] + v * terms[-2])
    return terms[-1] % 1000


@chain(recurrence)
def _(p: int, q: int, u: int, v: int, n: int) -> str:
    values = [p, q]
    while len(values) < n:
        values.append((u * values[-1] + v * values[-2]) % 1000)
    return f"The terms modulo 1000 [are|go]: {terms(values)}. Term {n} is {values[-1]}."


@family(
    draw={"a": range(1, 100), "d": range(2, 50), "n": range(10, 200)},
    texts=(
        (
            "[Find|Compute] the sum of the first $<n>$ terms of the arithmetic sequence with first term $<a>$ and "
            "difference $<d>$, modulo $1000$."
        ),
        (
            "An arithmetic sequence starts with <a> and grows by <d> each time. What is the sum of its first <n> "
            "terms modulo 1000?"
        ),
        r"[Evaluate|Find] $\sum_{k=0}^{<n>-1} (<a> + <d>k) \bmod 1000$.",
        (
            "A [theatre|stadium] has $<n>$ rows. The first row has $<a>$ seats and each next row $<d>$ more. Find "
            "the remainder when the number of seats is divided by $1000$."
        ),
    ),
    thoughts=("The terms are $<a> + <d>k$. We add them.", "We use the formula for an arithmetic series."),
    programs=(
        "print(sum(<a> + <d> * k for k in range(<n>)) % 1000)",
        "a, d, n = <a>, <d>, <n>\nprint(n * (2 * a + (n - 1) * d) // 2 % 1000)",
        """
        total = 0
        term = <a>
        for i in range(<n>):
            total += term
            term += <d>
        print(total % 1000)
        """,
        ("terms = [<a> + <d> * k for k in range(<n>)]\nprint(terms[-1])", "Now we add.", "print(sum(terms) % 1000)"),
    ),
)
def arithmetic_sum(a: int, d: int, n: int) -> int:
    return (n * a + d * n * (n - 1) // 2) % 1000


@chain(arithmetic_sum)
def _(a: int, d: int, n: int) -> str:
    last = a + d * (n - 1)
    total = n * (a + last) // 2
    return (
        f"The last term is {a} + {d} * {n - 1} = {last}. [First plus last|The ends]: {a} + {last} = {a + last}. "
        f"{n} * {a + last} / 2 = {reduced(total, 1000)}."
    )


@family(
    draw={"k": range(2, 8), "n": range(10, 300), "m": range(50, 1001)},
    texts=(
        r"[Find|Compute] the remainder when $1^{<k>} + 2^{<k>} + \cdots + <n>^{<k>}$ is divided by $<m>$.",
        r"[Evaluate|Determine] $\sum_{i=1}^{<n>} i^{<k>} \bmod <m>$.",
        "The numbers from 1 to <n> are each raised to the power <k> and added. What is the sum modulo <m>?",
        r"Let $S = \sum_{j=1}^{<n>} j^{<k>}$. What remainder does $S$ leave when divided by $<m>$?",
    ),
    thoughts=("We add the powers directly.", "The sum has only $<n>$ terms, so we [add|compute] it with Python."),
    programs=(
        "print(sum(i**<k> for i in range(1, <n> + 1)) % <m>)",
        """
        total = 0
        for i in range(1, <n> + 1):
            total += pow(i, <k>, <m>)
        print(total % <m>)
        """,
        """
        from sympy import symbols, summation

        i = symbols("i")
        print(summation(i**<k>, (i, 1, <n>)) % <m>)
        """,
        ("S = sum(i**<k> for i in range(1, <n> + 1))\nprint(S)", "We reduce the sum.", "print(S % <m>)"),
    ),
)
def power_sum(k: int, n: int, m: int) -> int:
    return sum(pow(i, k, m) for i in range(1, n + 1)) % m


@chain(power_sum)
def _(k: int, n: int, m: int) -> str:
    powers = [i**k % m for i in range(1, n + 1)]
    return f"Modulo {m} the powers [are|begin] {terms(powers)}. Their sum leaves {sum(powers) % m}."


@family(
    draw={"n": range(10, 1000)},
    texts=(
        (
            "Start with $<n>$. An even number is halved, an odd number $n$ is replaced by $3n+1$. [How many|After "
            "how many] steps [are needed to reach|does one reach] $1$?"
        ),
        (
            "In the Collatz sequence, an even $n$ goes to $n/2$ and an odd $n$ to $3n+1$. How many steps lead from "
            "<n> to 1?"
        ),
        (
            "Let $f(n) = n/2$ for even $n$ and $f(n) = 3n+1$ for odd $n$. Find the [least|smallest] $k$ with "
            "$f^k(<n>) = 1$."
        ),
        "[Determine|Find] the number of steps of the Collatz process from $<n>$ down to $1$.",
    ),
    thoughts=("We simulate the process.", "We follow the sequence until it reaches $1$."),
    programs=(
        """
        n = <n>
        count = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            count += 1
        print(count)
        """,
        """
        def steps(n):
            return 0 if n == 1 else 1 + steps(3 * n + 1 if n % 2 else n // 2)

        print(steps(<n>))
        """,
        """
        x = [<n>]
        while x[-1] > 1:
            x.append(3 * x[-1] + 1 if x[-1] % 2 else x[-1] // 2)
        print(len(x) - 1)
        """,
    ),
)
def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


@chain(collatz)
def _(n: int) -> str:
    start, values = n, []
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        values.append(n)
    return f"From {start} [we get|it goes to] {terms(values)}. The number of steps is {len(values)}."


@family(
    draw={"x": range(1, 100), "c": range(1, 100), "m": range(100, 1000), "n": range(5, 200)},
    texts=(
        (
            r"Let $x_0 = <x>$ and $x_{k+1} \equiv x_k^2 + <c> \pmod{<m>}$ with $0 \le x_k < <m>$. [Find|Compute] "
            "$x_{<n>}$."
        ),
        (
            "Start with <x>. In each step square the number, add <c> and take the remainder modulo <m>. What is the "
            "number after <n> steps?"
        ),
        r"Define $f(x) = (x^2 + <c>) \bmod <m>$. [Find|Determine] the value of $f$ applied $<n>$ times to $<x>$.",
        (
            "A machine replaces $x$ by the remainder of $x^2+<c>$ modulo $<m>$. It starts at $<x>$. What does it "
            "show after $<n>$ steps?"
        ),
    ),
    thoughts=("We iterate the map $<n>$ times.", "We apply the rule again and again."),
    programs=(
        """
        x = <x>
        for i in range(<n>):
            x = (x * x + <c>) % <m>
        print(x)
        """,
        """
        def f(x):
            return (x**2 + <c>) % <m>

        x = <x>
        for i in range(<n>):
            x = f(x)
        print(x)
        """,
        """
        x, k = <x>, 0
        while k < <n>:
            x, k = (x**2 + <c>) % <m>, k + 1
        print(x)
        """,
    ),
)
def iterated_map(x: int, c: int, m: int, n: int) -> int:
    for _ in range(n):
        x = (x * x + c) % m
    return x


@chain(iterated_map)
def _(x: int, c: int, m: int, n: int) -> str:
    values = []
    for _ in range(n):
        x = (x * x + c) % m
        values.append(x)
    return f"The values [are|go]: {terms(values)}. After {n} steps it is {x}."
