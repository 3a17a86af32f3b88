"""Warm up the zygote: import the modules that blocks use, call them once, and lay the memory out for cheap forks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import sys
from collections.abc import Callable
from typing import Any

MODULES = """
    bisect cmath collections copy dataclasses datetime decimal fractions functools heapq inspect itertools json math
    numbers operator pickle queue random re statistics string textwrap threading time typing uuid
    numpy numpy.linalg numpy.polynomial numpy.random sympy sympy.core.random sympy.abc sympy.combinatorics sympy.geometry
    sympy.ntheory.modular sympy.solvers.diophantine sympy.solvers.inequalities mpmath
    scipy
"""
"""Imported before the first fork; what is not installed is skipped.

Every module here makes every fork more expensive. The parts of scipy would cost each child 2 ms, and only 16 of some 8,800
recorded blocks import any of them (which then takes 0.4 to 0.6 s); none imports networkx.
"""

MADV_COLLAPSE = 25  # include/uapi/asm-generic/mman-common.h
HUGE_PAGE = 2 << 20


def warm_up() -> None:
    """Import what blocks import, and call what they call: the first `solve` takes several times as long as the second."""
    # As gc's documentation advises before forks: collect once at the end, and freeze, so that no collection in a child
    # writes to the pages that it shares with the zygote.
    gc.disable()
    for name in MODULES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "sympy" in sys.modules:
        for call in _typical_calls():
            with contextlib.suppress(Exception):
                call()
    gc.collect()
    gc.freeze()
    gc.enable()
    _collapse_pages()


def _collapse_pages() -> None:
    """Put the heap into huge pages: fewer page-table entries to copy at a fork and to free at an exit, which halves both."""
    madvise = ctypes.CDLL(None).madvise
    with contextlib.suppress(OSError), open("/proc/self/maps") as file:
        for fields in map(str.split, file.readlines()):
            if fields[1] == "rw-p" and fields[5:] in ([], ["[heap]"]):
                start, end = (int(address, 16) for address in fields[0].split("-"))
                start, end = -(-start // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
                if start < end:  # the call fails before Linux 6.1, and where no page has been touched: no harm
                    madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)


def _typical_calls() -> list[Callable[[], object]]:
    sp: Any = sys.modules["sympy"]
    x, y = sp.symbols("x y")
    n = sp.symbols("n", integer=True, positive=True)
    matrix = sp.Matrix([[2, 1], [1, 3]])
    return [
        lambda: sp.solve(x**3 - 6 * x**2 + 11 * x - 6, x),
        lambda: sp.solve([x + y - 3, x - y - 1], [x, y]),
        lambda: sp.solve([x**2 + y**2 - 25, x * y - 12], [x, y]),
        lambda: sp.solve(sp.sqrt(x + 1) - 2, x),
        lambda: sp.solveset(x**2 - 2, x, sp.S.Reals),
        lambda: sp.simplify((x**2 - 1) / (x - 1) + sp.sin(x) ** 2 + sp.cos(x) ** 2),
        lambda: sp.factor(sp.expand((x + y) ** 4 - 1)),
        lambda: sp.diff(sp.exp(x) * sp.log(x), x),
        lambda: sp.integrate(x * sp.exp(x) + 1 / (1 + x**2), (x, 0, 1)),
        lambda: sp.limit(sp.sin(x) / x, x, 0),
        lambda: sp.series(sp.cos(x), x, 0, 6),
        lambda: sp.summation(1 / n / (n + 1), (n, 1, sp.oo)),
        lambda: (matrix.det(), matrix.inv(), matrix.eigenvals()),
        lambda: (sp.factorint(2**40 - 1), sp.divisors(360), sp.totient(100), sp.isprime(10**9 + 7)),
        lambda: (sp.gcd(12, 18), sp.binomial(10, 3), sp.nextprime(100), list(sp.primerange(100))),
        lambda: sp.nroots(x**5 - x - 1),
        lambda: sp.Poly(x**4 + 1, x).all_roots(),
        lambda: sp.nsimplify(0.25) + sp.Rational(1, 3).evalf(),
        lambda: sp.trigsimp(sp.sin(x) * sp.cos(y) + sp.cos(x) * sp.sin(y)),
        lambda: sp.solve(x**2 - 3 * x + 2 < 0, x),
        lambda: sp.nsolve(sp.cos(x) - x, 1),
        lambda: sp.lambdify(x, x**2)(2),
        lambda: str(sp.sqrt(8) + sp.pi.evalf(30)) + sp.latex(x / y),
    ]
