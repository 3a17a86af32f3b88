"""Lattice points, triangles, areas, angles."""

from __future__ import annotations

from math import isqrt

from sctir_kaggle.recipes.synthetic.families.chain import chain, reduced, terms
from sctir_kaggle.recipes.synthetic.families.family import family


@family(
    draw={"a": range(-9, 10), "b": range(-9, 10), "n": range(5, 300)},
    texts=(
        r"How many points with integer coordinates satisfy $(x - (<a>))^2 + (y - (<b>))^2 \le <n>$?",
        (
            "[Count|Find the number of] lattice points inside or on the circle with centre $(<a>, <b>)$ "
            "and squared radius $<n>$."
        ),
        r"A disk has centre (<a>, <b>) and radius $\sqrt{<n>}$. How many lattice points does it contain?",
        (
            r"[Determine|Find] the number of pairs of integers $(x, y)$ at distance at most $\sqrt{<n>}$ from $(<a>, "
            "<b>)$."
        ),
    ),
    thoughts=("We test all points of a square around the centre.", "We may move the centre to the origin."),
    programs=(
        """
        r = range(-20, 21)
        print(sum(1 for x in r for y in r if x**2 + y**2 <= <n>))
        """,
        """
        count = 0
        for x in range(-30, 31):
            for y in range(-30, 31):
                if (x - (<a>))**2 + (y - (<b>))**2 <= <n>:
                    count += 1
        print(count)
        """,
        """
        from math import isqrt

        n = <n>
        k = isqrt(n)
        print(sum(2 * isqrt(n - x * x) + 1 for x in range(-k, k + 1)))
        """,
    ),
)
def disk_points(a: int, b: int, n: int) -> int:
    side = range(-40, 41)
    return sum((x - a) ** 2 + (y - b) ** 2 <= n for x in side for y in side)


@chain(disk_points)
def _(a: int, b: int, n: int) -> str:
    columns = [2 * isqrt(n - x * x) + 1 for x in range(isqrt(n) + 1)]
    side = sum(columns[1:])
    return (
        f"Moving the centre from ({a}, {b}) to the origin [keeps|does not change] the number. The columns 0, 1, ... have "
        f"{terms(columns)} points. All but the first count twice: {columns[0]} + 2 * {side} = {columns[0] + 2 * side}."
    )


@family(
    draw={"n": range(20, 130), "k": range(1, 30)},
    texts=(
        "How many triangles with integer sides, [shortest|smallest] side at least $<k>$, have perimeter $<n>$?",
        r"[Count|Find the number of] triples of integers $<k> \le a \le b \le c$ with $a+b>c$ and $a+b+c=<n>$.",
        (
            "A wire of length <n> is bent into a triangle with whole side lengths, none below <k>. In how many ways "
            "can this be done, up to congruence?"
        ),
        (
            "[Determine|Find] the number of noncongruent integer triangles with perimeter $<n>$ and no side less "
            "than $<k>$."
        ),
    ),
    thoughts=("We order the sides $a \\le b \\le c$ and use $a+b>c$.", "The third side is $<n> - a - b$."),
    programs=(
        """
        count = 0
        for a in range(<k>, <n>):
            for b in range(a, <n>):
                c = <n> - a - b
                if b <= c < a + b:
                    count += 1
        print(count)
        """,
        "n = <n>\nprint(sum(1 for a in range(<k>, n) for b in range(a, n) if b <= n - a - b < a + b))",
        (
            "pairs = [(a, b) for a in range(<k>, <n>) for b in range(a, <n>) if b <= <n> - a - b]\nprint(len(pairs))",
            "Of these we keep the true triangles.",
            "print(sum(1 for a, b in pairs if a + b > <n> - a - b))",
        ),
    ),
)
def integer_triangles(n: int, k: int) -> int | None:
    sides = range(k, n)
    return sum(b <= n - a - b < a + b for a in sides for b in range(a, n)) or None


@chain(integer_triangles)
def _(n: int, k: int) -> str:
    counts = [sum(b <= n - a - b < a + b for b in range(a, n)) for a in range(k, n // 3 + 1)]
    return (
        f"For the shortest side {k}, {k + 1}, ... there are {terms(counts)} triangles. [Together|In all] {sum(counts)}."
    )


@family(
    draw={"a": range(1, 40), "b": range(1, 40), "c": range(1, 40), "d": range(1, 40)},
    texts=(
        "A triangle has vertices $(0,0)$, $(<a>,<b>)$ and $(<c>,<d>)$. [Find|Compute] twice its area.",
        "[Find|Determine] twice the area of the triangle with corners (0, 0), (<a>, <b>) and (<c>, <d>).",
        (
            "Let $O=(0,0)$, $A=(<a>,<b>)$, $B=(<c>,<d>)$. What is the area of the parallelogram spanned by $OA$ and "
            "$OB$?"
        ),
        "Vectors $u=(<a>,<b>)$ and $v=(<c>,<d>)$ span a parallelogram. What is its area?",
    ),
    thoughts=("This is the absolute value of a determinant.", "We use the [shoelace formula|cross product]."),
    programs=(
        "print(abs(<a> * <d> - <b> * <c>))",
        "from sympy import Matrix\n\nprint(abs(Matrix([[<a>, <b>], [<c>, <d>]]).det()))",
        "a, b = <a>, <b>\nc, d = <c>, <d>\nprint(abs(a * d - b * c))",
        (
            "from sympy import Point, Triangle\n\nt = Triangle(Point(0, 0), Point(<a>, <b>), Point(<c>, <d>))\n"
            "print(abs(2 * t.area))"
        ),
    ),
)
def double_area(a: int, b: int, c: int, d: int) -> int | None:
    return abs(a * d - b * c) or None


@chain(double_area)
def _(a: int, b: int, c: int, d: int) -> str:
    first, second = sorted((a * d, b * c), reverse=True)
    return (
        f"[The determinant is|We need] {a} * {d} - {b} * {c}. {a} * {d} = {a * d} and {b} * {c} = {b * c}. "
        f"{first} - {second} = {first - second}."
    )


@family(
    draw={"a": range(5, 100), "b": range(5, 100), "c": range(5, 100)},
    texts=(
        (
            "A box has edges $<a>$, $<b>$ and $<c>$. [Find|Compute] the remainder when its surface area is divided "
            "by $1000$."
        ),
        "What is the surface area of a cuboid with sides <a>, <b> and <c>, modulo 1000?",
        r"A rectangular prism measures $<a> \times <b> \times <c>$. Find the last three digits of its surface area.",
        (
            "All faces of a $<a>$ by $<b>$ by $<c>$ [block|brick] are painted. [Find|Determine] the painted area "
            "modulo $1000$."
        ),
    ),
    thoughts=("The surface is $2(ab+bc+ca)$.", "Each of the three kinds of faces occurs twice."),
    programs=(
        "a, b, c = <a>, <b>, <c>\nprint(2 * (a * b + b * c + c * a) % 1000)",
        "print((2 * <a> * <b> + 2 * <b> * <c> + 2 * <a> * <c>) % 1000)",
        ("a, b, c = <a>, <b>, <c>\ns = 2 * (a * b + b * c + c * a)\nprint(s)", "We reduce.", "print(s % 1000)"),
        """
        def surface(a, b, c):
            return 2 * (a * b + b * c + a * c)

        print(surface(<a>, <b>, <c>) % 1000)
        """,
    ),
)
def box_surface(a: int, b: int, c: int) -> int:
    return 2 * (a * b + b * c + c * a) % 1000


@chain(box_surface)
def _(a: int, b: int, c: int) -> str:
    faces = [a * b, b * c, c * a]
    return (
        f"The faces: {a} * {b} = {a * b}, {b} * {c} = {b * c}, {c} * {a} = {c * a}. [Their|The] sum is {sum(faces)}, "
        f"twice that {reduced(2 * sum(faces), 1000)}."
    )


@family(
    draw={"a": range(10, 100, 10), "b": range(15, 80, 5)},
    texts=(
        r"A triangle has angles of $<a>^\circ$ and $<b>^\circ$. [Find|What is] the third angle in degrees[.|?]",
        (
            r"In triangle $ABC$, $\angle A = <a>^\circ$ and $\angle B = <b>^\circ$. [Find|Determine] $\angle C$ in "
            "degrees."
        ),
        "Two angles of a triangle are <a> and <b> degrees. How many degrees has the third?",
        r"The angles of a triangle are $<a>^\circ$, $<b>^\circ$ and $x^\circ$. Find $x$.",
    ),
    thoughts=("The angles add up to $180$ degrees.", "We subtract both angles from $180$."),
    programs=("print(180 - <a> - <b>)",),
    direct=(
        lambda a, b: (
            f"The angles add up to $180$. First $180 - {a} = {180 - a}$, and ${180 - a} - {b} = {180 - a - b}$."
        ),
        lambda a, b: f"We have ${a} + {b} = {a + b}$ and $180 - {a + b} = {180 - a - b}$.",
    ),
)
def third_angle(a: int, b: int) -> int:
    return 180 - a - b
