"""Extract the integer that a model's text votes for, exactly.

Covered: the last complete box of the prose (code and its output are not prose), or a closing "the answer is 42" if there is
no box; every usual way to write a rational number (`latex.parse`); the competition's modulus and range. Not covered: answers
in words, several answers, variables, irrational values. They give no vote, and neither does a fraction: nothing is rounded.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple, overload

from sctir_kaggle.answers.boxes import box_in, boxed
from sctir_kaggle.answers.claims import claim_in, stated
from sctir_kaggle.answers.latex import parse
from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.dialects.fences import without_code
from sctir_kaggle.types import Answer

__all__ = ["Reading", "boxed", "parse", "prose", "read_answer", "stated", "to_vote"]


class Reading(NamedTuple):
    """The answer of a text: `boxed` as written, and `answer`, the integer that it votes for; None where there is none.

    `answer` is a fraction only where those vote.
    """

    boxed: str | None = None
    answer: Answer | None = None

    @property
    def has_value(self) -> bool:
        """Whether what is written denotes a number, if one that gets no vote, such as a fraction."""
        return self.boxed is not None and parse(self.boxed) is not None


def read_answer(
    text: str,
    *,
    modulus: int | None = 1000,
    lowest: int | None = 0,
    highest: int | None = 999,
    allow_stated: bool = True,
    fractions: bool = False,
) -> Reading:
    r"""Return the answer of a text and its vote: the last box, else a stated answer if it is a number (see `stated`).

    `modulus`, `lowest` and `highest` are the competition's, `fractions` as in `to_vote`. Never raises, on any string.

    >>> read_answer(r"So $n = \boxed{\frac{2046}{2}}$.")
    Reading(boxed='\\frac{2046}{2}', answer=23)
    """
    text = prose(text)
    written = box_in(text)
    if written is None and allow_stated:
        written = claim_in(text)
    if written is None:
        return Reading()
    value = value_in(written)
    if value is None:
        return Reading(written)
    vote = to_vote(value.number, modulus=modulus, lowest=lowest, highest=highest, fractions=fractions)
    return Reading(value.text, vote)


def prose(text: str) -> str:
    """Return `text` without its ```` ```python ```` and ```` ```output ```` blocks; an open one reaches to the end."""
    return without_code(text)


@overload
def to_vote(
    value: Fraction | None, *, modulus: int | None = ..., lowest: int | None = ..., highest: int | None = ...
) -> int | None: ...


@overload
def to_vote(
    value: Fraction | None, *, modulus: int | None, lowest: int | None, highest: int | None, fractions: bool
) -> Answer | None: ...


def to_vote(
    value: Fraction | None,
    *,
    modulus: int | None = 1000,
    lowest: int | None = 0,
    highest: int | None = 999,
    fractions: bool = False,
) -> Answer | None:
    """Return the integer that `value` votes for, reduced modulo `modulus` (never negative); None outside lowest..highest.

    A fraction gives no vote, except with `fractions`: then it votes for itself, within the bounds and not reduced. Without
    modulus and bounds any integer does (MATH). The defaults are AIMO-1's and AIMO-2's; `modulus=None, highest=99999` are
    AIMO-3's.
    """
    if value is None or (value.denominator != 1 and not fractions):
        return None
    answer: Answer = value
    if value.denominator == 1:
        answer = value.numerator if modulus is None else value.numerator % modulus
    below = lowest is not None and answer < lowest
    above = highest is not None and answer > highest
    return None if below or above else answer
