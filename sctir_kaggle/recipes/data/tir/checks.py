"""What a trace's code says about its answer: whether any ran, whether the last block ended well, whether it printed the answer.

The output agrees with a boxed number if one of its last lines has that value exactly, as a vote reads it, or if the number
stands in one of them by itself: in a list, a tuple, a sentence, a `Fraction(5, 8)`. A printed decimal of ten digits and more
is a rounded one, and agrees up to a relative 1e-9 (5.000000000000002 is 5). A boxed expression agrees with an equal one
(`expressions.same`). No other arithmetic is done: -16 is not 16, and 3.25 is not 4, though a text between them may explain it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from sctir_kaggle.answers import parse
from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.recipes.data.tir.expressions import TOLERANCE, elements, plain, same
from sctir_kaggle.types import ExecutionStatus, Trace

LINES = 10
"""Last lines of an output in which the answer is looked for."""

LONGEST = 2000
"""Characters at the end of an output in which it is looked for."""

DIGITS = 10
"""Significant digits from which a printed decimal counts as rounded."""

_COMMAS = r"\d{1,3}(?:,\d{3})+|\d+"
_ALONE = re.compile(
    rf"(?<![\w.)\]*/^+-])(?<![*/^+-] )(?<!\w\()-?(?:{_COMMAS})(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s?/\s?\d+)?"
    r"(?![\w(]|\.\d|,\d{3}(?!\d)|\s?[-+*/^]\s?[\w(])"
)
_WRAPPED = (
    (re.compile(r"\b(?:Fraction|Rational)\((-?\d+), (\d+)\)"), r"\1/\2"),
    (re.compile(r"\bnp\.\w+\(([^()]*)\)"), r"\1"),
    (re.compile(r"\bInterval\(([^()]*)\)"), r"[\1]"),
    (re.compile(r"\bInterval\.open\(([^()]*)\)"), r"(\1)"),
    (re.compile(r"\bInterval\.Lopen\(([^()]*)\)"), r"(\1]"),
    (re.compile(r"\bInterval\.Ropen\(([^()]*)\)"), r"[\1)"),
    (re.compile(r"[-+]0(?:\.0*)?j\b"), ""),
)


@dataclass(frozen=True, slots=True)
class Checks:
    """`code`: some ran. `last_ok`: the last block that ran ended without an error. `agrees`: its output has the answer.

    The last two hold of a trace without code, which nothing contradicts.
    """

    code: bool = False
    last_ok: bool = True
    agrees: bool = True


def checks_of(trace: Trace) -> Checks:
    """Check a trace with its turns."""
    ran = [turn for turn in trace.turns if turn.execution is not None and (turn.code or "").strip()]
    if not ran or (last := ran[-1].execution) is None:
        return Checks()
    agrees = trace.boxed is not None and prints(last.output, trace.boxed)
    return Checks(code=True, last_ok=last.status is ExecutionStatus.OK, agrees=agrees)


def prints(output: str, answer: str) -> bool:
    r"""Whether the end of `output` shows `answer`, which is written as in a box.

    >>> prints("x = 3\n0.5", r"\frac{1}{2}"), prints("[4, 9]", "9"), prints("-16", "16"), prints("1600 - x", "1600")
    (True, True, False, False)
    """
    lines = [_unwrapped(line.strip()) for line in output[-LONGEST:].splitlines() if line.strip()][-LINES:]
    number = parse(answer)
    if number is None:
        return any(_shows(line, answer) for line in (*lines, "".join(lines)))
    return any(_equals(text, value, number) for line in lines for text, value in _values(line))


def _unwrapped(line: str) -> str:
    for pattern, replacement in _WRAPPED:
        line = pattern.sub(replacement, line)
    return line


def _values(line: str) -> Iterator[tuple[str, Fraction]]:
    """The line's own value, then every number that stands in it by itself; each as written, and what it is."""
    if whole := value_in(line):
        yield whole.text, whole.number
    for found in _ALONE.finditer(line):
        if (value := parse(found[0])) is not None:
            yield found[0], value


def _equals(text: str, value: Fraction, number: Fraction) -> bool:
    if value == number:
        return True
    digits = re.sub(r"[eE].*|\D", "", text).lstrip("0")
    rounded = "." in text and len(digits) >= DIGITS
    return rounded and abs(value - number) <= Fraction(TOLERANCE) * max(abs(number), Fraction(1))


def _shows(text: str, answer: str) -> bool:
    """Whether a text is an answer that is no number, has it behind a colon or a sign of equality, as a word or in a list."""
    words = plain(answer)
    if len(words) > 2 and words.isalpha() and words in re.findall("[a-z]+", text.lower()):
        return True
    shown = (text, text.rpartition(":")[2].strip(), text.rpartition("=")[2].strip())
    return any(same(one, answer) or same(", ".join(elements(one)), answer) for one in shown) or any(
        same(one, answer) for one in elements(text)
    )
