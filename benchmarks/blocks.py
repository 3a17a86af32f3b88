"""Fifty blocks of the kind that models write for competition problems; written for this project, with what they print.

What a block takes decides every ratio in `benchmarks.sandbox`, so the mix is fixed: two in five use sympy, a
few use numpy, the rest is plain Python. All are deterministic and take milliseconds in a warm interpreter.
"""

from __future__ import annotations

from textwrap import dedent

ARITHMETIC = {
    """
    total = 3 * 12 + 4 * 7.5
    remaining = 100 - total
    print(remaining)
    """: "34.0",
    "print(pow(3, 2024, 1000))": "481",
    "print(sum(int(d) for d in str(2**200)))": "256",
    """
    from fractions import Fraction
    p = Fraction(1, 6) * Fraction(5, 6) ** 2 * 3
    print(p.numerator + p.denominator)
    """: "97",
    """
    import math
    n = math.factorial(25)
    zeros = 0
    while n % 10 == 0:
        n //= 10
        zeros += 1
    print(zeros)
    """: "6",
    """
    from math import gcd
    a, b = 1071, 462
    print(gcd(a, b), a * b // gcd(a, b))
    """: "21 23562",
    """
    def price_after(days, start=80, rate=0.05):
        price = start
        for _ in range(days):
            price *= 1 - rate
        return round(price, 2)

    print(price_after(10))
    """: "47.9",
    """
    import math
    print(math.isqrt(10**12 + 7), math.comb(20, 10), round(math.log10(2**100), 4))
    """: "1000000 184756 30.103",
}

COUNTING = {
    """
    count = 0
    for n in range(1, 2025):
        if n % 3 == 0 and n % 5 != 0:
            count += 1
    print(count)
    """: "540",
    """
    count = 0
    for a in range(1, 101):
        for b in range(a, 101):
            c = (a * a + b * b) ** 0.5
            if c == int(c) and c <= 100:
                count += 1
    print(count)
    """: "52",
    """
    def is_palindrome(n):
        return str(n) == str(n)[::-1]

    print(sum(1 for n in range(1000, 10000) if is_palindrome(n) and n % 9 == 0))
    """: "10",
    """
    best = 0
    for start in range(1, 2000):
        n, steps = start, 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        best = max(best, steps)
    print(best)
    """: "181",
    """
    solutions = []
    for x in range(-50, 51):
        for y in range(-50, 51):
            if x * y + 3 * x - 5 * y == 77:
                solutions.append((x, y))
    print(len(solutions), min(solutions))
    """: "4 (-26, -5)",
    """
    seen, digits = {}, []
    r = 1
    while r not in seen:
        seen[r] = len(digits)
        r *= 10
        digits.append(r // 97)
        r %= 97
    print(len(digits) - seen[r])
    """: "96",
    """
    squares = {i * i for i in range(200)}
    print(sum(1 for n in range(1000) if any(n - s in squares for s in squares if s <= n)))
    """: "330",
    """
    def digit_sum(n):
        return sum(map(int, str(n)))

    print([n for n in range(10, 1000) if n == 11 * digit_sum(n)])
    """: "[198]",
}

COMBINATORICS = {
    """
    from itertools import permutations
    count = 0
    for p in permutations(range(1, 7)):
        if all(p[i] != i + 1 for i in range(6)):
            count += 1
    print(count)
    """: "265",
    """
    from itertools import combinations
    print(sum(1 for c in combinations(range(1, 21), 3) if sum(c) % 7 == 0))
    """: "162",
    """
    from itertools import product
    favourable = sum(1 for dice in product(range(1, 7), repeat=4) if sum(dice) == 14)
    print(f"{favourable}/{6**4}")
    """: "146/1296",
    """
    from collections import Counter
    from math import factorial
    ways = factorial(11)
    for c in Counter('mississippi').values():
        ways //= factorial(c)
    print(ways)
    """: "34650",
    """
    from itertools import combinations
    points = [(x, y) for x in range(4) for y in range(4)]
    triangles = 0
    for (a, b), (c, d), (e, f) in combinations(points, 3):
        if (c - a) * (f - b) != (e - a) * (d - b):
            triangles += 1
    print(triangles)
    """: "516",
}

DYNAMIC_PROGRAMMING = {
    """
    ways = [1] + [0] * 200
    for coin in (1, 2, 5, 10, 20, 50, 100, 200):
        for amount in range(coin, 201):
            ways[amount] += ways[amount - coin]
    ways[200]
    """: "73682",
    """
    from functools import lru_cache

    @lru_cache(maxsize=None)
    def paths(x, y):
        if x == 0 and y == 0:
            return 1
        if x < 0 or y < 0 or (x, y) in {(2, 2), (3, 5)}:
            return 0
        return paths(x - 1, y) + paths(x, y - 1)

    print(paths(8, 8))
    """: "5534",
    """
    from functools import lru_cache

    @lru_cache(None)
    def partitions(n, largest):
        if n == 0:
            return 1
        return sum(partitions(n - k, k) for k in range(1, min(n, largest) + 1))

    print(partitions(40, 40))
    """: "37338",
    """
    a, b = "competition", "mathematician"
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
    print(table[-1][-1])
    """: "6",
    """
    # strings of length n without two equal neighbours in {0, 1, 2} and without "01"
    states = {0: 1, 1: 1, 2: 1}
    for _ in range(11):
        states = {
            last: sum(v for prev, v in states.items() if prev != last and (prev, last) != (0, 1)) for last in states
        }
    print(sum(states.values()) % 1000)
    """: "610",
}

MODULAR = {
    "print([x for x in range(101) if x * x % 101 == 5])": "[45, 56]",
    """
    def order(a, n):
        k, power = 1, a % n
        while power != 1:
            power = power * a % n
            k += 1
        return k

    print(order(2, 1009), order(10, 487))
    """: "504 486",
    """
    from sympy.ntheory.modular import crt
    print(crt([7, 11, 13], [3, 5, 8]))
    """: "(346, 1001)",
    """
    from sympy import mod_inverse, totient
    print(mod_inverse(17, 3120), totient(3120))
    """: "2753 768",
    """
    result = 1
    for k in range(1, 500, 2):
        result = result * k % 1000
    print(result)
    """: "875",
}

ALGEBRA = {
    """
    from sympy import symbols, Eq, solve
    x = symbols('x')
    solve(Eq(x**2 - 5*x + 6, 0), x)
    """: "[2, 3]",
    """
    from sympy import symbols, Eq, solve
    x, y = symbols('x y')
    solution = solve((Eq(2*x + 3*y, 12), Eq(x - y, 1)), (x, y))
    print(solution[x] + solution[y])
    """: "5",
    """
    import sympy as sp
    a, b, c = sp.symbols('a b c')
    solution = sp.solve([a + b + c - 6, a - b + 2*c - 5, 3*a + b - c - 2], [a, b, c])
    print(solution)
    """: "{a: 1, b: 2, c: 3}",
    """
    from sympy import *
    x = symbols('x')
    roots = solve(x**3 - 6*x**2 + 3*x + 10, x)
    print(sum(r**2 for r in roots))
    """: "30",
    """
    import sympy as sp
    x = sp.symbols('x', positive=True)
    print(sp.solve(sp.sqrt(2*x + 3) - x, x))
    """: "[3]",
    """
    from sympy import symbols, expand, factor
    x, y = symbols('x y')
    print(factor(x**4 - y**4), expand((x + 2*y)**3).coeff(x, 1))
    """: "(x - y)*(x + y)*(x**2 + y**2) 12*y**2",
    """
    import sympy as sp
    x = sp.symbols('x')
    print(sp.cancel((x**3 - 8) / (x - 2)), sp.apart(1 / (x**2 - 1)))
    """: "x**2 + 2*x + 4 -1/(2*(x + 1)) + 1/(2*(x - 1))",
    """
    from sympy import Rational, nsimplify, sqrt
    print(sum(Rational(1, n * (n + 1)) for n in range(1, 100)), sqrt(72) + sqrt(8))
    """: "99/100 8*sqrt(2)",
    """
    from sympy import symbols, Poly, div
    x = symbols('x')
    quotient, remainder = div(Poly(x**5 - 3*x + 2), Poly(x**2 - x + 1))
    print(quotient.as_expr(), remainder.as_expr())
    """: "x**3 + x**2 - 1 3 - 4*x",
    """
    import sympy as sp
    x = sp.symbols('x', real=True)
    print(sp.solve(sp.Abs(2*x - 5) - 3, x), sp.solveset(x**2 < 9, x, sp.S.Reals))
    """: "[1, 4] Interval.open(-3, 3)",
    """
    import sympy as sp
    x = sp.symbols('x')
    f = x**3 - 3*x + 1
    print(sp.solve(sp.diff(f, x), x), sp.integrate(f, (x, 0, 2)))
    """: "[-1, 1] 0",
    """
    from sympy import symbols, summation, factor
    k, n = symbols('k n', integer=True, positive=True)
    factor(summation(k**2, (k, 1, n)))
    """: "n*(n + 1)*(2*n + 1)/6",
}

NUMBER_THEORY = {
    """
    from sympy import factorint
    print(factorint(2024 * 2025))
    """: "{2: 3, 3: 4, 5: 2, 11: 1, 23: 1}",
    """
    from sympy import divisors, isprime
    print(len(divisors(10**6)), [d for d in divisors(2310) if isprime(d + 2)][:5])
    """: "49 [1, 3, 5, 11, 15]",
    """
    from sympy import primerange, prime
    print(sum(primerange(2, 2000)), prime(500))
    """: "277050 3571",
}

GEOMETRY = {
    """
    from sympy import Point, Triangle
    t = Triangle(Point(0, 0), Point(14, 0), Point(5, 12))
    print(t.area, t.circumcenter, t.inradius)
    """: "84 Point2D(7, 33/8) 4",
    """
    from sympy import Circle, Line, Point
    points = Circle(Point(0, 0), 5).intersection(Line(Point(0, 1), Point(1, 2)))
    print(points, points[0].distance(points[1]))
    """: "[Point2D(-4, -3), Point2D(3, 4)] 7*sqrt(2)",
}

NUMERICS = {
    """
    import numpy as np
    a = np.array([[2, 1, 0], [1, 3, 1], [0, 1, 4]])
    print(round(np.linalg.det(a)), np.trace(a @ a))
    """: "18 33",
    """
    import numpy as np
    x = np.arange(1, 1001)
    print(int(np.sum(x[(x % 3 == 0) | (x % 5 == 0)])), np.cumsum(x)[-1])
    """: "234168 500500",
}


def texts() -> dict[str, str]:
    """Each block and what it shows, without the last line end; kinds alternate, so that any part is a mix of them."""
    kinds = (
        ARITHMETIC,
        COUNTING,
        COMBINATORICS,
        DYNAMIC_PROGRAMMING,
        MODULAR,
        ALGEBRA,
        NUMBER_THEORY,
        GEOMETRY,
        NUMERICS,
    )
    ranked = [(index / len(kind), code, shown) for kind in kinds for index, (code, shown) in enumerate(kind.items())]
    return {dedent(code).strip(): shown for _, code, shown in sorted(ranked, key=lambda entry: entry[0])}


BLOCKS = texts()
