r"""Parse LaTeX, or what models write in its place, into the exact rational number that it denotes. Tokens: `lexer`.

    side       = [sign] digits "_" base | expression
    expression = sum ["\choose" sum] {"mod" operand} {unit}
    sum        = [sign] product {("+" | "-") product}
    product    = power {("*" | "/" | nothing, before a bracket or a \command) power}
    power      = primary ["!"] ["^" exponent]
    primary    = number | mixed number | bracket | \frac | \binom | \sqrt

Conventions. Of a chain `x = y = 42` the last side with a value counts; a leading `\approx` is skipped, a later one has no
value. Units are ignored, percent and degrees included: `42\%` is 42. `2\frac{1}{2}` is a mixed number. `a \bmod m` and
`a \pmod m` are the least non-negative residue. `2112_6` is 2112, because the digits are what is asked for. `1e3` is 1000.
`1,234` is one number, `1,2` and `1, 234` are lists. Lists, several answers, intervals, inequalities, variables, irrational
values and words have no value.

Bounded by construction: input length, nesting depth, and the size of every intermediate (`rational.MAX_BITS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from sctir_kaggle.answers import rational
from sctir_kaggle.answers.lexer import END, Token, is_unit, sides, tokenize
from sctir_kaggle.answers.rational import Unreadable

MAX_LENGTH = 4000
"""Characters of the longest text that is parsed."""

MAX_DEPTH = 24
"""Deepest nesting of brackets, arguments and exponents; each level costs at most ten frames of Python's stack."""

_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_IMPLICIT = frozenset({"(", "[", "\\frac", "\\binom", "\\sqrt", "sqrt", "\\lfloor", "\\lceil"})


def parse(latex: str) -> Fraction | None:
    r"""Return the rational number that `latex` denotes, or None if it denotes none, or several. Never raises.

    >>> parse(r"x = 2\frac{1}{2} + 1,234"), parse("1, 2")
    (Fraction(2473, 2), None)
    """
    if len(latex) > MAX_LENGTH:
        return None
    try:
        chain = sides(tokenize(latex))
    except Unreadable:
        return None
    if _is_curve(chain):
        return None
    return next((value for side in reversed(chain) if (value := _value(side)) is not None), None)


def _is_curve(chain: Sequence[Sequence[Token]]) -> bool:
    """Whether the chain is an equation of a curve, `x + y - z + 1 = 0`, whose right side is no answer (unlike `a + b = 42`)."""
    if len(chain) < 2 or _value(chain[-1]) != 0:
        return False
    return any(token.text in ("+", "-") for token in chain[-2]) and _value(chain[-2]) is None


def _value(side: Sequence[Token]) -> Fraction | None:
    try:
        digits = _digits_in_base(side)
        return _Reader(side).all() if digits is None else digits
    except Unreadable:
        return None


def _digits_in_base(side: Sequence[Token]) -> Fraction | None:
    r"""The digits of `2112_6`, `-221_{3}` or `2112_{\text{six}}` as a decimal number; None if there is no base.

    Raises `Unreadable` if the base lacks one of the digits.
    """
    sign, body = (-1, side[1:]) if side and side[0].text == "-" else (1, side)
    if len(body) < 3 or body[1].text != "_":
        return None
    digits, base = body[0].text, [token for token in body[2:] if token.text not in ("{", "}", "(", ")")]
    named = [token.text for token in base if token.kind == "number"]
    if not digits.isdigit() or not all(_names_base(token) for token in base) or len(named) > 1:
        raise Unreadable("not a number in a base")
    if named and not (named[0].isdigit() and len(named[0]) < 3 and int(max(digits)) < int(named[0]) <= 36):
        raise Unreadable("no such digits in this base")
    return rational.literal(digits) * sign


def _names_base(token: Token) -> bool:
    return token.kind in ("number", "text") or (token.kind == "word" and len(token.text) > 1)


class _Reader:
    """Recursive descent over one side of an equation."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = [*tokens, END]
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.next
        self.at += token is not END
        return token

    def accept(self, *texts: str) -> str | None:
        """Take the next token if it is one of `texts`; return its text, else None."""
        return self.take().text if self.next.text in texts and self.next.kind != "text" else None

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unreadable(f"{self.next.text!r} where {text!r} should be")

    def nested(self, rule: Callable[[], Fraction]) -> Fraction:
        """Apply `rule` one level deeper, within `MAX_DEPTH`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
        value = rule()
        self.depth -= 1
        return value

    def all(self) -> Fraction:
        value = self.expression()
        if self.next is not END:
            raise Unreadable(f"{self.next.text!r} after the end")
        return value

    def expression(self) -> Fraction:
        value = self.sum()
        if self.accept("\\choose", "choose"):
            value = rational.binomial(value, self.sum())
        while self.accept("\\mod"):
            value = rational.remainder(value, self.nested(self.primary))
        self.units()
        return value

    def units(self) -> None:
        while is_unit(self.next):
            self.take()
            if self.accept("^"):  # 42 cm^2
                self.nested(self.primary)

    def sum(self) -> Fraction:
        sign = self.accept("+", "-")
        value = -self.product() if sign == "-" else self.product()
        while operator := self.accept("+", "-"):
            term = self.product()
            value = rational.bounded(value + term if operator == "+" else value - term)
        return value

    def product(self) -> Fraction:
        value = self.power()
        while (operator := self.accept("*", "/")) or (self.next.text in _IMPLICIT):
            negative = operator and self.accept("-")
            factor = self.power()
            factor = -factor if negative else factor
            value = rational.divide(value, factor) if operator == "/" else rational.bounded(value * factor)
        return value

    def power(self) -> Fraction:
        base = self.primary()
        if self.accept("!"):
            base = rational.factorial(base)
        if self.accept("^") and not self.mark():
            if is_unit(self.tokens[self.at - 3]):
                raise Unreadable("a power of a quantity with a unit, as in {42 cm}^2")
            base = rational.power(base, self.nested(self.exponent))
        if self.next.text == "!":
            raise Unreadable("a double factorial, or one after an exponent")
        return base

    def mark(self) -> bool:
        r"""Skip degrees and ordinals in an exponent: the `\circ` of `42^\circ`, the `{\text{th}}` of `11^{\text{th}}`."""
        braces = self.next.text == "{"
        if not is_unit(self.tokens[self.at + braces]):
            return False
        self.at += 1 + braces
        if braces:
            self.expect("}")
        return True

    def exponent(self) -> Fraction:
        """An exponent, right-associative. All its digits count, unlike in TeX: `2^10` is 1024."""
        negative = self.accept("-")
        value = self.primary()
        if self.accept("^"):
            value = rational.power(value, self.nested(self.exponent))
        return -value if negative else value

    def primary(self) -> Fraction:
        token = self.take()
        if token.kind == "number":
            return self.mixed(token)
        if token.text in _CLOSING and token.kind == "sign":
            return self.bracket(token.text)
        if token.text == "\\frac":
            return rational.divide(self.argument(), self.argument())
        if token.text == "\\binom":
            return rational.binomial(self.argument(), self.argument())
        if token.text == "\\sqrt":
            return self.radical()
        if token.text == "sqrt" and token.kind == "word":
            return rational.root(self.nested(self.primary), 2)
        raise Unreadable(f"{token.text!r} is no number")

    def mixed(self, token: Token) -> Fraction:
        r"""A number, or `2\frac{1}{2}`: an integer directly before a proper fraction of two literal integers."""
        whole, start = rational.literal(token.text), self.at
        if self.next.text != "\\frac" or not token.text.isdigit():
            return whole
        part = self.nested(self.primary)
        plain = all(each.kind == "number" or each.text in ("{", "}") for each in self.tokens[start + 1 : self.at])
        return rational.bounded(whole + part if plain and 0 < part < 1 else whole * part)

    def bracket(self, opening: str) -> Fraction:
        value = self.nested(self.expression)
        self.expect(_CLOSING[opening])
        if opening == "|":
            return abs(value)
        if opening == "\\lfloor":
            return Fraction(value.__floor__())
        return Fraction(value.__ceil__()) if opening == "\\lceil" else value

    def radical(self) -> Fraction:
        degree = Fraction(2)
        if self.accept("["):
            degree = self.nested(self.expression)
            self.expect("]")
        return rational.root(self.argument(), rational.integer(degree))

    def argument(self) -> Fraction:
        r"""A command's argument: a group or, as in TeX, a single digit, so that `\frac12` is a half."""
        token = self.next
        if token.kind != "number" or len(token.text) == 1:
            return self.nested(self.primary)
        if not token.text.isdigit():
            raise Unreadable(f"{token.text!r} as an argument without braces")
        self.tokens[self.at] = token._replace(text=token.text[1:])
        return rational.literal(token.text[0])
