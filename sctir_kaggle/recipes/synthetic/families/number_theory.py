"""Remainders, divisors, primes, digits."""

from __future__ import annotations

from math import factorial, gcd, prod

from sctir_kaggle.recipes.synthetic.families.chain import chain, euclid, factored, factors, reduced
from sctir_kaggle.recipes.synthetic.families.family import family


@family(
    draw={"a": range(2, 100), "n": range(20, 500), "m": range(100, 1001)},
    texts=(
        "[Find|Determine|Compute] the remainder when $<a>^{<n>}$ is divided by $<m>$.",
        "What is the remainder when <a> raised to the power <n> is divided by <m>?",
        r"[Compute|Evaluate] $<a>^{<n>} \bmod <m>$.",
        r"Let $r$ be the integer with $0 \le r < <m>$ and $r \equiv <a>^{<n>} \pmod{<m>}$. Find $r$.",
        "When $<a>^{<n>}$ is divided by $<m>$, what remainder is left?",
    ),
    thoughts=(
        "We [use|need] modular exponentiation.",
        "The power is [huge|very large], so we reduce it modulo $<m>$ with Python.",
        "We multiply repeatedly and keep only the remainder.",
    ),
    programs=(
        "print(pow(<a>, <n>, <m>))",
        """
        result = 1
        for i in range(<n>):
            result = result * <a> % <m>
        print(result)
        """,
        """
        def power_mod(a, n, m):
            return pow(a, n, m)

        print(power_mod(<a>, <n>, <m>))
        """,
        ("x = <a> ** <n>\nprint(len(str(x)))", "The power has many digits. Now we reduce it.", "print(x % <m>)"),
    ),
)
def power_mod(a: int, n: int, m: int) -> int:
    remainder = 1
    for _ in range(n):
        remainder = remainder * a % m
    return remainder


@chain(power_mod)
def _(a: int, n: int, m: int) -> str:
    steps, value = [], 1
    for bit in bin(n)[2:]:
        value = value * value * (a if bit == "1" else 1) % m
        steps.append(f"{value}")
    return (
        f"{n} is {n:b} in binary. Starting from 1 we square, times {a} where the digit is 1, modulo {m}: "
        f"{', '.join(steps)}. [The remainder is|We arrive at] {value}."
    )


@family(
    draw={"n": range(12, 1000)},
    texts=(
        "[Find|Compute] the sum of all positive divisors of $<n>$.",
        r"Let $\sigma(n)$ be the sum of the positive divisors of $n$. What is $\sigma(<n>)$?",
        "What do you get when you add up all positive integers that divide <n>?",
        "The positive divisors of $<n>$, including $1$ and $<n>$, are added. [Find|Determine] the total.",
    ),
    thoughts=(
        "We [check|test] every number up to $<n>$ and add the divisors.",
        "A divisor $d$ of $<n>$ leaves remainder zero. We add all of them.",
    ),
    programs=(
        "n = <n>\nprint(sum(d for d in range(1, n + 1) if n % d == 0))",
        """
        total = 0
        for d in range(1, <n> + 1):
            if <n> % d == 0:
                total += d
        print(total)
        """,
        "from sympy import divisor_sigma\n\nprint(divisor_sigma(<n>))",
        (
            "n = <n>\ndivisors = [d for d in range(1, n + 1) if n % d == 0]\nprint(len(divisors))",
            "We have the list of divisors. It remains to add them.",
            "print(sum(divisors))",
        ),
    ),
)
def divisor_sum(n: int) -> int:
    return sum(d for d in range(1, n + 1) if n % d == 0)


@chain(divisor_sum)
def _(n: int) -> str:
    sums = [sum(prime**power for power in range(exponent + 1)) for prime, exponent in factors(n)]
    return f"{n} = {factored(n)}. [The powers|These] add up to {' * '.join(map(str, sums))} = {prod(sums)}."


@family(
    draw={"n": range(100, 10000)},
    texts=(
        "How many positive divisors does $<n>$ have?",
        "[Find|Determine] the number of positive integers that divide $<n>$.",
        r"Let $\tau(n)$ [denote|be] the number of positive divisors of $n$. [Find|Compute] $\tau(<n>)$.",
        "Count the positive factors of <n>.",
    ),
    thoughts=("We [count|find] the numbers that divide $<n>$.", "A loop over all candidates counts the divisors."),
    programs=(
        """
        count = 0
        for d in range(1, <n> + 1):
            if <n> % d == 0:
                count += 1
        print(count)
        """,
        "from sympy import divisor_count\n\nprint(divisor_count(<n>))",
        "from sympy import divisors\n\nprint(len(divisors(<n>)))",
        """
        def tau(n):
            return sum(1 for d in range(1, n + 1) if n % d == 0)

        print(tau(<n>))
        """,
    ),
)
def divisor_count(n: int) -> int:
    return sum(n % d == 0 for d in range(1, n + 1))


@chain(divisor_count)
def _(n: int) -> str:
    counts = [exponent + 1 for _, exponent in factors(n)]
    return (
        f"{n} = {factored(n)}. [We multiply the exponents plus 1|So]: {' * '.join(map(str, counts))} = {prod(counts)}."
    )


@family(
    draw={"n": range(50, 1000)},
    texts=(
        r"How many integers $k$ with $1 \le k \le <n>$ are [coprime|relatively prime] to $<n>$?",
        r"[Compute|Find] $\varphi(<n>)$, where $\varphi$ is Euler's totient function.",
        "[Find|Determine] the number of positive integers up to <n> that share no prime factor with <n>.",
        r"How many fractions $\frac{k}{<n>}$ with $1 \le k \le <n>$ are in lowest terms?",
    ),
    thoughts=("This is Euler's totient function at $<n>$.", "We count the $k$ with $\\gcd(k, <n>) = 1$."),
    programs=(
        """
        from math import gcd

        count = 0
        for k in range(1, <n> + 1):
            if gcd(k, <n>) == 1:
                count += 1
        print(count)
        """,
        "from sympy import totient\n\nprint(totient(<n>))",
        "from math import gcd\n\nn = <n>\nprint(sum(1 for k in range(1, n + 1) if gcd(k, n) == 1))",
    ),
)
def coprime_count(n: int) -> int:
    return sum(gcd(k, n) == 1 for k in range(1, n + 1))


@chain(coprime_count)
def _(n: int) -> str:
    parts = [prime ** (exponent - 1) * (prime - 1) for prime, exponent in factors(n)]
    return f"{n} = {factored(n)}. [Euler's function is|So] {' * '.join(map(str, parts))} = {prod(parts)}."


@family(
    draw={"a": range(10, 1000), "b": range(10, 1000)},
    texts=(
        "[Find|Compute] the remainder when the least common multiple of $<a>$ and $<b>$ is divided by $1000$.",
        "What are the last three digits of the [least|smallest] positive number divisible by both <a> and <b>?",
        r"Let $L = \operatorname{lcm}(<a>, <b>)$. [Find|Determine] $L \bmod 1000$.",
        (
            "Two bells ring every $<a>$ and $<b>$ seconds. They ring together now and again after $L$ seconds. Find "
            "the remainder when $L$ is divided by $1000$."
        ),
    ),
    thoughts=("The lcm is the product divided by the gcd.", "We compute the least common multiple with Python."),
    programs=(
        "from math import gcd\n\na, b = <a>, <b>\nprint(a * b // gcd(a, b) % 1000)",
        "from sympy import lcm\n\nprint(lcm(<a>, <b>) % 1000)",
        (
            "from math import gcd\n\ng = gcd(<a>, <b>)\nprint(g)",
            "With the gcd we get the least common multiple.",
            "print(<a> * <b> // g % 1000)",
        ),
        """
        x = <a>
        while x % <b> != 0:
            x += <a>
        print(x % 1000)
        """,
    ),
)
def lcm_mod(a: int, b: int) -> int | None:
    return a * b // gcd(a, b) % 1000 if a != b else None


@chain(lcm_mod)
def _(a: int, b: int) -> str:
    lines, gcd = euclid(max(a, b), min(a, b))
    return (
        f"[Euclid|Euclid's algorithm]: {'; '.join(lines)}. The gcd is {gcd}. {a} / {gcd} = {a // gcd}, and "
        f"{a // gcd} * {b} = {reduced(a // gcd * b, 1000)}."
    )


@family(
    draw={"a": range(2, 500), "m": range(20, 1000)},
    texts=(
        "[Find|Determine] the inverse of $<a>$ modulo $<m>$.",
        r"Find the [smallest|least] positive integer $x$ with $<a>x \equiv 1 \pmod{<m>}$.",
        "What is the smallest positive integer $x$ such that $<a>x$ leaves remainder $1$ when divided by $<m>$?",
        r"[Compute|Find] $<a>^{-1} \bmod <m>$.",
    ),
    thoughts=("We need the modular inverse of $<a>$ modulo $<m>$.", "We [try|test] every $x$ below $<m>$."),
    programs=(
        "print(pow(<a>, -1, <m>))",
        "from sympy import mod_inverse\n\nprint(mod_inverse(<a>, <m>))",
        """
        for x in range(1, <m>):
            if <a> * x % <m> == 1:
                print(x)
        """,
        "print(next(x for x in range(1, <m>) if <a> * x % <m> == 1))",
    ),
)
def inverse_mod(a: int, m: int) -> int | None:
    return next((x for x in range(1, m) if a * x % m == 1), None) if a < m else None


@chain(inverse_mod)
def _(a: int, m: int) -> str:
    lines, _ = euclid(m, a)
    inverse = pow(a, -1, m)
    return (
        f"[Euclid|Euclid's algorithm]: {'; '.join(lines)}. Backwards, {a} * {inverse} = {a * inverse} = "
        f"{a * inverse // m} * {m} + 1. So the inverse is {inverse}."
    )


@family(
    draw={"a": range(1, 30), "p": range(3, 31), "b": range(1, 30), "q": range(3, 31)},
    texts=(
        r"Find the smallest positive integer $n$ with $n \equiv <a> \pmod{<p>}$ and $n \equiv <b> \pmod{<q>}$.",
        (
            "What is the [least|smallest] positive integer that leaves remainder <a> when divided by <p> and "
            "remainder <b> when divided by <q>?"
        ),
        (
            "A number of [eggs|coins] counted in groups of $<p>$ leaves $<a>$ over, and in groups of $<q>$ leaves "
            "$<b>$ over. What is the smallest possible number?"
        ),
        r"[Solve|Find] the least $n > 0$ such that $<p> \mid n - <a>$ and $<q> \mid n - <b>$ with $n \ge <a>$.",
    ),
    thoughts=("By the Chinese remainder theorem a solution exists.", "We search for the first number that fits both."),
    programs=(
        "print(next(n for n in range(1, <p> * <q> + 1) if n % <p> == <a> and n % <q> == <b>))",
        """
        for n in range(1, <p> * <q> + 1):
            if n % <p> == <a> and n % <q> == <b>:
                print(n)
                break
        """,
        "from sympy.ntheory.modular import crt\n\nprint(crt([<p>, <q>], [<a>, <b>])[0])",
    ),
)
def two_congruences(a: int, p: int, b: int, q: int) -> int | None:
    if a >= p or b >= q or gcd(p, q) != 1:
        return None
    return next(n for n in range(1, p * q + 1) if n % p == a and n % q == b)


@chain(two_congruences)
def _(a: int, p: int, b: int, q: int) -> str:
    need, steps = (b - a) % q, (b - a) * pow(p, -1, q) % q
    return (
        f"[We write|Write] n = {a} + {p}t. Modulo {q}, {p % q}t must be {need}, so t = {steps}. "
        f"{p} * {steps} = {p * steps}, plus {a} is {a + p * steps}."
    )


@family(
    draw={"a": range(2, 100), "n": range(10, 150)},
    texts=(
        "[Find|Compute] the sum of the digits of $<a>^{<n>}$.",
        "What is the digit sum of <a> to the power <n>?",
        "The number $<a>^{<n>}$ is written in decimal. [Find|What is] the sum of its digits[.|, please.]",
        r"Let $S(n)$ be the sum of the decimal digits of $n$. Find $S\left(<a>^{<n>}\right)$.",
    ),
    thoughts=("We write the number out and add its digits.", "Python has big integers, so we add the digits directly."),
    programs=(
        "print(sum(int(d) for d in str(<a> ** <n>)))",
        """
        x = <a> ** <n>
        total = 0
        while x > 0:
            total += x % 10
            x //= 10
        print(total)
        """,
        """
        def digit_sum(x):
            return sum(map(int, str(x)))

        print(digit_sum(<a> ** <n>))
        """,
        ("x = <a> ** <n>\nprint(len(str(x)))", "Now we add these digits.", "print(sum(int(d) for d in str(x)))"),
    ),
)
def power_digit_sum(a: int, n: int) -> int:
    return sum(map(int, str(a**n)))


@chain(power_digit_sum)
def _(a: int, n: int) -> str:
    digits = str(a**n)
    return f"The [number|power] {a}^{n} has {len(digits)} digits. Their sum is {sum(map(int, digits))}."


@family(
    draw={"n": range(20, 1000)},
    texts=(
        "How many zeros are at the end of $<n>!$?",
        "[Find|Determine] the number of trailing zeros of $<n>!$.",
        "The factorial of <n> is written in decimal. With how many zeros does it end?",
        "What is the largest $k$ such that $10^k$ divides $<n>!$?",
    ),
    thoughts=("Each trailing zero comes from a factor $5$.", "We count the factors of five in $<n>!$."),
    programs=(
        """
        n = <n>
        count = 0
        while n > 0:
            n //= 5
            count += n
        print(count)
        """,
        """
        from math import factorial

        s = str(factorial(<n>))
        print(len(s) - len(s.rstrip("0")))
        """,
        "print(<n> // 5 + <n> // 25 + <n> // 125 + <n> // 625)",
    ),
)
def trailing_zeros(n: int) -> int:
    digits = str(factorial(n))
    return len(digits) - len(digits.rstrip("0"))


@chain(trailing_zeros)
def _(n: int) -> str:
    counts = []
    left = n
    while left >= 5:
        counts.append(left // 5)
        left //= 5
    return (
        f"We [count|need] the factors 5. Dividing {n} by 5 again and again: {', '.join(map(str, counts))}. "
        f"{' + '.join(map(str, counts))} = {sum(counts)}."
    )


@family(
    draw={"n": range(2000, 100000), "m": (10, 100, 1000)},
    texts=(
        "[Find|Determine] the remainder when $<n>$ is divided by $<m>$.",
        "What is the remainder when <n> is divided by <m>?",
        r"[Compute|Evaluate] $<n> \bmod <m>$.",
        "When the number $<n>$ is divided by $<m>$, what is left over?",
    ),
    direct=(
        lambda n, m: f"Dividing by ${m}$ keeps the last {len(str(m)) - 1} digits of ${n}$, that is {n % m}.",
        lambda n, m: f"No code is needed: ${n} = {n // m} \\cdot {m} + {n % m}$.",
    ),
)
def last_digits(n: int, m: int) -> int:
    return n % m
