r"""Whether two answers that are not numbers are the same: `2\sqrt{3}` and `sqrt(12)`, `(1, \frac{\pi}{2})` and `(1, pi/2)`.

Equal texts are, up to spacing and sizes. Else both are evaluated, LaTeX or Python: expressions at three fixed values of each
variable, in floating point, to a relative 1e-9; lists, pairs, intervals and sets element by element, sets and lists without
brackets in any order. Whatever else (matrices, words, unions) is the same as an equal text only. Literals are floats from the
start, so no power can grow beyond one, and nothing is ever executed.
"""

from __future__ import annotations

import ast
import cmath
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

LONGEST = 300
"""Characters of the longest answer that is evaluated."""

TOLERANCE = 1e-9
"""Relative difference up to which two evaluations are one number."""

_POINTS = (0.5182734, 1.3719046, 2.2360911)
_SIZES = re.compile(r"\\(?:left|right|displaystyle|big|Big|bigg|Bigg|[,;:! ]|quad|qquad)(?![A-Za-z])|[\s$~]")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_RULES = (
    (r"\\[dt]frac", r"\\frac"),
    (r"\\frac(\d)(\d)", r"((\1)/(\2))"),
    (r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"\\sqrt\[([^][]*)\]\{([^{}]*)\}", r"((\2)**(1/(\1)))"),
    (r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)"),
    (r"\\sqrt(\d|[a-z])", r"sqrt(\1)"),
    (r"\^\{([^{}]*)\}", r"**(\1)"),
    (r"\^", r"**"),
    (r"\\(?:cdot|times)", "*"),
    (r"\\(pi|sin|cos|tan|log|ln|exp)(?![A-Za-z])", r" \1 "),
    (r"\\infty", " oo "),
    (r"\^?\\circ", ""),
)
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z]+)|(\*\*|[-+*/()]))")
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    **{name: getattr(cmath, name) for name in ("sqrt", "sin", "cos", "tan", "exp")},
    "log": cmath.log,
    "ln": cmath.log,
    "abs": lambda value: complex(abs(value)),
}
_NAMES = {"pi": complex(math.pi), "oo": complex(math.inf), "i": 1j, "I": 1j, "e": complex(math.e), "E": complex(math.e)}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


class _Unknown(Exception):
    """Raised for what this module does not evaluate."""


@lru_cache(1 << 16)
def same(one: str, other: str) -> bool:
    r"""Whether two written answers are the same. Never raises.

    >>> same(r"2\sqrt{3}", "sqrt(12)"), same("(1, 2)", "(2, 1)"), same("3, -3", "-3, 3")
    (True, False, True)
    """
    first, second = plain(one), plain(other)
    if first == second:
        return True
    return max(len(one), len(other)) <= LONGEST and _equal(first, second)


def plain(written: str) -> str:
    """An answer without spacing, sizes, fonts and a full stop, in lower case where it is words."""
    words = _WORDS.sub(r"\1", written)
    text = _SIZES.sub("", re.sub(r"\\([{}%])", r"\1", words)).removesuffix(".")
    return text.lower() if re.fullmatch(r"[A-Za-z'()-]+", text) and len(text) > 2 else text


def elements(text: str) -> list[str]:
    """What commas separate in a printed list, tuple or set; the text itself where it is none of these.

    >>> elements("[-2*sqrt(5), 2*sqrt(5)]")
    ['-2*sqrt(5)', '2*sqrt(5)']
    """
    return [part.strip() for part in _parts(text.strip())[1]]


def _equal(one: str, other: str) -> bool:
    first, second = _parts(_right_side(one)), _parts(_right_side(other))
    if first[0] != second[0] or len(first[1]) != len(second[1]):
        return False
    if len(first[1]) == 1 and not first[0]:
        return _same_value(first[1][0], second[1][0])
    if first[0] in ("", "{}"):
        left = list(second[1])
        for part in first[1]:
            found = next((place for place, each in enumerate(left) if part == each or _equal(part, each)), None)
            if found is None:
                return False
            del left[found]
        return True
    return all(a == b or _equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def _right_side(text: str) -> str:
    """What stands after `y=`, else all of it."""
    return re.sub(r"^[A-Za-z](?:\([a-z]\))?=", "", text)


def _parts(text: str) -> tuple[str, list[str]]:
    """Brackets around the whole, or "", and what commas separate in it."""
    kind = ""
    if text and text[0] in _BRACKETS and text[-1] in ")]}" and _closes_last(text):
        inner = _split(text[1:-1])
        if len(inner) > 1 or text[0] == "{":
            kind, text = text[0] + text[-1], text[1:-1]
    return kind, _split(text)


def _closes_last(text: str) -> bool:
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    parts, depth, start = list[str](), 0, 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in ",;" and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _same_value(one: str, other: str) -> bool:
    try:
        first, second = _tree(one), _tree(other)
        return all(_near(_value(first, at), _value(second, at)) for at in _POINTS)
    except (_Unknown, SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return False


def _near(one: complex, other: complex) -> bool:
    if cmath.isnan(one) or cmath.isnan(other):
        return False
    return one == other or abs(one - other) <= TOLERANCE * max(abs(one), abs(other))


def _tree(text: str) -> ast.expr:
    before = None
    while before != text:
        before = text
        for pattern, replacement in _RULES:
            text = re.sub(pattern, replacement, text)
    return ast.parse(_multiplied(text.replace("{", "(").replace("}", ")")), mode="eval").body


def _multiplied(text: str) -> str:
    """`text` as Python, with a sign where a product has none: `2pi x` becomes `2*pi*x`."""
    written, place, ends = list[str](), 0, False
    text = text.strip()
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _Unknown
        place, (number, word, sign) = token.end(), token.groups()
        for part in _known(word) if word else (number or sign,):
            if ends and (number or word or part == "("):
                written.append("*")
            written.append(part)
            ends = part not in ("+", "-", "*", "/", "**", "(") and part not in _FUNCTIONS
    return "".join(written)


def _known(word: str) -> Sequence[str]:
    """A word as names: itself if it is one, else its letters, each a variable; a long one is a word and no product."""
    if word in _FUNCTIONS or word in _NAMES:
        return (word,)
    if len(word) > 3:
        raise _Unknown
    return tuple(word)


def _value(node: ast.expr, at: float) -> complex:
    value = partial(_value, at=at)
    match node:
        case ast.Constant(value=int() | float() as number):
            return complex(float(number))
        case ast.Name(id=name):
            return _NAMES[name] if name in _NAMES else complex(at + 0.1371 * ord(name[0]) % 1.0)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return value(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return value(left) + value(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return value(left) - value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return value(left) * value(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return value(left) / value(right)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return complex(value(left) ** value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](value(argument))
    raise _Unknown
