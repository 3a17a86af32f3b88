"""Extract the integer that a model's text votes for, exactly.

Covered: the last complete box of the prose (code and its output are not prose), or a closing "the answer is 42" if there is
no box; every usual way to write a rational number (`latex.parse`); the competition's modulus and range. Not covered: answers
in words, several answers, variables, irrational values. They give no vote, and neither does a fraction: nothing is rounded.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from sctir_kaggle.answers.latex import parse
from sctir_kaggle.dialects.fences import without_code

__all__ = ["Reading", "boxed", "parse", "prose", "read_answer", "stated", "to_vote"]

STATED_WITHIN = 100
"""Characters before the end of the prose in which a closing "the answer is ..." is searched."""

_BRACES = re.compile(
    r"\\{1,2}(?:boxed|fbox)(?![A-Za-z])\s*(?:(?P<open>\{)|(?P<bare>[-+\u2212]?[0-9](?:[0-9,.]*[0-9])?))|\\.|[{}]",
    re.DOTALL,
)
_INK = re.compile(r"\S")
_STATED = re.compile(r"\banswer(?:\s+is|\s*[:=])[\s:*]*(.*?)(?=\.?[\s*$]*\Z|\.[*$]*\s|\n)", re.DOTALL | re.IGNORECASE)


class Reading(NamedTuple):
    """The answer of a text: `boxed` as written, and `answer`, the integer that it votes for; None where there is none."""

    boxed: str | None = None
    answer: int | None = None


def read_answer(
    text: str,
    *,
    modulus: int | None = 1000,
    lowest: int | None = 0,
    highest: int | None = 999,
    allow_stated: bool = True,
) -> Reading:
    r"""Return the answer of a text and its vote: the last box, else a stated answer if it is a number (see `stated`).

    `modulus`, `lowest` and `highest` are the competition's, as in `to_vote`. Never raises, on any string.

    >>> read_answer(r"So $n = \boxed{\frac{2046}{2}}$.")
    Reading(boxed='\\frac{2046}{2}', answer=23)
    """
    written = boxed(text)
    if written is None and allow_stated and (claim := stated(text)) and parse(claim) is not None:
        written = claim
    if written is None:
        return Reading()
    return Reading(written, to_vote(parse(written), modulus=modulus, lowest=lowest, highest=highest))


def prose(text: str) -> str:
    """Return `text` without its ```` ```python ```` and ```` ```output ```` blocks; an open one reaches to the end."""
    return without_code(text)


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{...}` or `\fbox{...}` in the prose, or the number of `\boxed 42`.

    Braces balance, and `\{` is no brace. Of nested boxes the outer one counts. Empty boxes are skipped. Linear time.
    """
    text = prose(text)
    found: tuple[int, int] | None = None
    starts: list[int | None] = []  # one entry for each open brace: where its content starts, if it is a box
    for match in _BRACES.finditer(text):
        if match["bare"]:
            found = match.span("bare")
        elif match["open"]:
            starts.append(match.end())
        elif match[0] == "{":
            starts.append(None)
        elif match[0] == "}" and starts and (start := starts.pop()) is not None:
            found = (start, match.start()) if _INK.search(text, start, match.start()) else found
    return text[slice(*found)].strip() if found else None


def stated(text: str) -> str | None:
    """Return the text after a closing "the answer is" or "answer:", up to the end of its sentence, in place of a box.

    Only the last `STATED_WITHIN` characters of the prose count: a claim further up is no conclusion. A text that a token
    limit cut off may end inside its number: callers that know of it pass `allow_stated=False` to `read_answer`.
    """
    claims = _STATED.findall(prose(text).rstrip()[-STATED_WITHIN:])
    return (claims[-1].strip(" \n\t*$") or None) if claims else None


def to_vote(
    value: Fraction | None, *, modulus: int | None = 1000, lowest: int | None = 0, highest: int | None = 999
) -> int | None:
    """Return the integer that `value` votes for, reduced modulo `modulus` (never negative); None outside lowest..highest.

    A fraction gives no vote. Without modulus and bounds any integer does (MATH). The defaults are AIMO-1's and AIMO-2's;
    `modulus=None, highest=99999` are AIMO-3's.
    """
    if value is None or value.denominator != 1:
        return None
    answer = value.numerator if modulus is None else value.numerator % modulus
    below = lowest is not None and answer < lowest
    above = highest is not None and answer > highest
    return None if below or above else answer
