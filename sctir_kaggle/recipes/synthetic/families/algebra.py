"""Equations and polynomials."""

from __future__ import annotations

from math import comb

from sctir_kaggle.recipes.synthetic.families.chain import chain, reduced, terms
from sctir_kaggle.recipes.synthetic.families.family import family


@family(
    draw={
        "a": range(2, 10),
        "b": range(2, 10),
        "c": range(2, 10),
        "d": range(2, 10),
        "s": range(20, 300),
        "t": range(20, 300),
    },
    texts=(
        "Let $x$ and $y$ satisfy $<a>x + <b>y = <s>$ and $<c>x - <d>y = <t>$. [Find|Compute] $x + y$.",
        "[Solve|Consider] the system $<a>x + <b>y = <s>$, $<c>x - <d>y = <t>$. What is $x + y$?",
        "If $<a>x + <b>y = <s>$ and $<c>x - <d>y = <t>$, [what is|find] the value of $x+y$[?|.]",
        "The numbers x and y are such that <a>x + <b>y is <s> and <c>x - <d>y is <t>. Determine the sum of x and y.",
    ),
    thoughts=("We solve the two linear equations with sympy.", "We [solve|have] a linear system in $x$ and $y$."),
    programs=(
        """
        from sympy import symbols, solve

        x, y = symbols("x y")
        s = solve([<a>*x + <b>*y - <s>, <c>*x - <d>*y - <t>], [x, y])
        print(s[x] + s[y])
        """,
        """
        D = -<a> * <d> - <b> * <c>
        x = (-<s> * <d> - <b> * <t>) // D
        y = (<a> * <t> - <s> * <c>) // D
        print(x + y)
        """,
        """
        for x in range(300):
            for y in range(300):
                if <a>*x + <b>*y == <s> and <c>*x - <d>*y == <t>:
                    print(x + y)
        """,
    ),
)
def linear_system(a: int, b: int, c: int, d: int, s: int, t: int) -> int | None:
    solutions = ((x, (s - a * x) // b) for x in range(300) if s >= a * x and (s - a * x) % b == 0)
    return next((x + y for x, y in solutions if c * x - d * y == t), None)


@chain(linear_system)
def _(a: int, b: int, c: int, d: int, s: int, t: int) -> str:
    total, factor = s * d + t * b, a * d + b * c
    x = total // factor
    y = (s - a * x) // b
    return (
        f"We [eliminate|get rid of] y: {d} times the first plus {b} times the second equation. "
        f"{a} * {d} + {c} * {b} = {factor} and {s} * {d} + {t} * {b} = {total}, so {factor}x = {total} and x = {x}. "
        f"Then {b}y = {s} - {a * x} = {s - a * x}, y = {y}, and {x} + {y} = {x + y}."
    )


@family(
    draw={"s": range(5, 100), "p": range(2, 200), "k": (2, 3, 4)},
    texts=(
        (
            "Let $u$ and $v$ be the roots of $x^2 - <s>x + <p> = 0$. [Find|Compute] the remainder when $u^{<k>} + "
            "v^{<k>}$ is divided by $1000$."
        ),
        r"If $u+v=<s>$ and $uv=<p>$, [find|determine] $u^{<k>}+v^{<k>}$ modulo $1000$.",
        "Two numbers have sum <s> and product <p>. Find the sum of their powers with exponent <k>, modulo 1000.",
        (
            "The equation $x^2 - <s>x + <p> = 0$ has roots $u, v$. What are the last three digits of $u^{<k>} + "
            "v^{<k>}$?"
        ),
    ),
    thoughts=("By Vieta, $u+v=<s>$ and $uv=<p>$.", "The power sums satisfy a recurrence."),
    programs=(
        """
        p = [2, <s>]
        for i in range(2, <k> + 1):
            p.append(<s> * p[-1] - <p> * p[-2])
        print(p[<k>] % 1000)
        """,
        """
        from sympy import symbols, solve, expand

        x = symbols("x")
        u, v = solve(x**2 - <s>*x + <p>, x)
        print(expand(u**<k> + v**<k>) % 1000)
        """,
        """
        a, b = 2, <s>
        for i in range(<k> - 1):
            a, b = b, <s> * b - <p> * a
        print(b % 1000)
        """,
    ),
)
def root_powers(s: int, p: int, k: int) -> int | None:
    squares = s * s - 2 * p
    sums = {2: squares, 3: s * squares - p * s, 4: squares * squares - 2 * p * p}
    return sums[k] % 1000 if s * s > 4 * p else None


@chain(root_powers)
def _(s: int, p: int, k: int) -> str:
    squares = s * s - 2 * p
    start = f"[By Vieta|We know that] u + v = {s} and uv = {p}. u^2 + v^2 = {s * s} - {2 * p} = {squares}."
    if k == 2:
        return f"{start} This is {reduced(squares, 1000)}."
    if k == 3:
        value = s * squares - p * s
        return f"{start} u^3 + v^3 = {s} * {squares} - {p} * {s} = {reduced(value, 1000)}."
    value = squares * squares - 2 * p * p
    return f"{start} u^4 + v^4 = {squares}^2 - 2 * {p}^2 = {reduced(value, 1000)}."


@family(
    draw={"a": range(2, 10), "b": range(2, 30), "c": range(1, 60), "d": range(1, 100), "k": range(5, 100)},
    texts=(
        "Let $P(x) = <a>x^3 + <b>x^2 + <c>x + <d>$. [Find|Compute] the remainder when $P(<k>)$ is divided by $1000$.",
        "The polynomial $<a>x^3 + <b>x^2 + <c>x + <d>$ is evaluated at $x = <k>$. What are the last three digits?",
        "[Evaluate|Compute] $<a> \\cdot <k>^3 + <b> \\cdot <k>^2 + <c> \\cdot <k> + <d>$ modulo $1000$.",
        "Let f(x) = <a>x^3 + <b>x^2 + <c>x + <d>. Determine f(<k>) mod 1000.",
    ),
    thoughts=("We [substitute|put in] $x = <k>$.", "We evaluate the polynomial with Python."),
    programs=(
        """
        def P(x):
            return <a>*x**3 + <b>*x**2 + <c>*x + <d>

        print(P(<k>) % 1000)
        """,
        "x = <k>\nprint((<a>*x**3 + <b>*x**2 + <c>*x + <d>) % 1000)",
        """
        result = 0
        for c in [<a>, <b>, <c>, <d>]:
            result = result * <k> + c
        print(result % 1000)
        """,
        ("x = <k>\nvalue = <a>*x**3 + <b>*x**2 + <c>*x + <d>\nprint(value)", "We reduce this.", "print(value % 1000)"),
    ),
)
def cubic_value(a: int, b: int, c: int, d: int, k: int) -> int:
    return (((a * k + b) * k + c) * k + d) % 1000


@chain(cubic_value)
def _(a: int, b: int, c: int, d: int, k: int) -> str:
    steps, value = [], a
    for coefficient in (b, c, d):
        before, value = value, (value * k + coefficient) % 1000
        steps.append(f"{before} * {k} + {coefficient} = {reduced(before * k + coefficient, 1000)}")
    return f"We use Horner's [rule|scheme] modulo 1000. {'; '.join(steps)}."


@family(
    draw={"a": range(1, 10), "b": range(1, 20), "n": range(5, 20), "k": range(1, 15)},
    texts=(
        "[Find|Determine] the coefficient of $x^{<k>}$ in $(<a>x + <b>)^{<n>}$, modulo $1000$.",
        (
            "What is the remainder when the coefficient of $x^{<k>}$ in the expansion of $(<a>x+<b>)^{<n>}$ is "
            "divided by 1000?"
        ),
        "Expand $(<a>x + <b>)^{<n>}$. [Find|Give] the last three digits of the coefficient of $x^{<k>}$.",
        "The polynomial (<a>x + <b>)^<n> is written in powers of x. Find its coefficient at x^<k> modulo 1000.",
    ),
    thoughts=("We use the binomial theorem.", "We expand the power and read off the coefficient."),
    programs=(
        "from math import comb\n\nprint(comb(<n>, <k>) * <a>**<k> * <b>**(<n> - <k>) % 1000)",
        """
        from sympy import symbols, expand

        x = symbols("x")
        print(expand((<a>*x + <b>)**<n>).coeff(x, <k>) % 1000)
        """,
        """
        from sympy import symbols, Poly

        x = symbols("x")
        p = Poly((<a>*x + <b>)**<n>, x)
        print(p.coeff_monomial(x**<k>) % 1000)
        """,
    ),
)
def coefficient(a: int, b: int, n: int, k: int) -> int | None:
    return comb(n, k) * a**k * b ** (n - k) % 1000 if k < n else None


@chain(coefficient)
def _(a: int, b: int, n: int, k: int) -> str:
    parts = [comb(n, k) % 1000, a**k % 1000, b ** (n - k) % 1000]
    first = parts[0] * parts[1]
    return (
        f"By the binomial theorem it is C({n},{k}) * {a}^{k} * {b}^{n - k}. [Modulo|Mod] 1000 these are "
        f"{terms(parts)}. {parts[0]} * {parts[1]} = {reduced(first, 1000)}. "
        f"{first % 1000} * {parts[2]} = {reduced(first % 1000 * parts[2], 1000)}."
    )


@family(
    draw={"a": range(-30, 31), "b": range(10, 3000)},
    texts=(
        r"How many integers $x$ satisfy $x^2 + (<a>)x \le <b>$?",
        "[Find|Determine] the number of integers x with x^2 + (<a>)x at most <b>.",
        r"Let $A$ be the set of integers with $x^2 + (<a>)x - <b> \le 0$. How many elements does $A$ have?",
        r"Count the integer solutions of the inequality $x(x + (<a>)) \le <b>$.",
    ),
    thoughts=("All solutions are small, so we test a range of integers.", "We check every integer in a safe range."),
    programs=(
        "print(sum(1 for x in range(-1000, 1001) if x**2 + (<a>)*x <= <b>))",
        """
        count = 0
        for x in range(-200, 201):
            if x * x + (<a>) * x <= <b>:
                count += 1
        print(count)
        """,
        """
        from math import isqrt

        D = (<a>)**2 + 4 * <b>
        print(len([x for x in range(-isqrt(D), isqrt(D) + 1) if x**2 + (<a>)*x <= <b>]))
        """,
    ),
)
def quadratic_inequality(a: int, b: int) -> int:
    return sum(x * x + a * x <= b for x in range(-200, 201))


@chain(quadratic_inequality)
def _(a: int, b: int) -> str:
    inside = [x for x in range(-200, 201) if x * x + a * x <= b]
    low, high = inside[0], inside[-1]
    return (
        f"At {high} we have {high * high + a * high}, and {high + 1} is too large. At {low} we have "
        f"{low * low + a * low}, and {low - 1} is too small. [So|Hence] {low} <= x <= {high}. "
        f"{high} - ({low}) + 1 = {high - low + 1}."
    )
