"""A cell with a problem's answer -> its exact value, read as candidates' answers are, and how it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from sctir_kaggle.answers import boxed, parse, stated
from sctir_kaggle.problems.literals import literal
from sctir_kaggle.problems.table import is_empty
from sctir_kaggle.types import Answer

NOTHING = {"nan", "none", "null", "n/a", "na", "<na>", "-", "?", "[]", "unknown"}
"""Texts that stand for no answer."""

KEYS = ("ground_truth", "answer", "final_answer", "value", "target")
"""Keys under which an object in an answer's cell holds the answer."""

LONGEST = 2000
"""Characters of an answer that may be a number; a longer text can only state one at its end."""

_PLAIN = re.compile(r"[-+]?[0-9]{1,1000}")
_WITH_COMMA = re.compile(r"([-+\u2212]?(?:\d{1,3}(?:[.\s']\d{3})+|\d+))(?:,(\d+))?")
"""A number with a decimal comma; points, blanks or apostrophes may group its thousands."""

_COMMA_ONLY = re.compile(r"[-+\u2212]?(?:\d+,(?:\d{1,2}|\d{4,})|(?:0\d*|\d{4,}|\d{1,3}(?:\.\d{3})+),\d+)")
"""A number whose comma cannot be one between thousands: `2,5`, `0,125`, `1.234,5`, but not `12,000`."""


_AS_TEXT = re.compile(r"""="(.*)"|'(?=[-+]?[0-9])(.*)""")
"""How a number is marked as a text in a spreadsheet."""


class Reference(NamedTuple):
    """The answer of a cell: its exact `value`, None where it is no rational number, and `written`, empty for no answer."""

    value: Answer | None = None
    written: str = ""


def reference_of(cell: Any, *, decimal_comma: bool = False) -> Reference:
    r"""Read an answer: a number, a text as a model would write it (`\frac{1}{2}`, `$1,234$`), a list of one of these, or a
    text with a solution that ends as GSM8K's (`#### 42`) or in a box.

    >>> reference_of(52.0), reference_of("#### 1,234").value, reference_of(r"\text{east}").value
    (Reference(value=52, written='52.0'), 1234, None)
    """
    cell = _plain(cell)
    if is_empty(cell) or (isinstance(cell, str) and cell.strip().casefold() in NOTHING):
        return Reference()
    if isinstance(cell, Mapping):
        inner = next((cell[key] for key in KEYS if not is_empty(cell.get(key))), None)
        return reference_of(inner, decimal_comma=decimal_comma) if inner is not None else Reference(None, str(cell))
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return _of_list(cell, decimal_comma)
    written = str(cell).strip().strip("\u200b\ufeff")
    if isinstance(cell, str):
        if (inner := literal(written)) is not None:
            return reference_of(inner, decimal_comma=decimal_comma) if inner else Reference()
        return Reference(_of_text(written, decimal_comma), written)
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal, Fraction)):
        return Reference(None, written)
    try:
        return Reference(exact(Fraction(repr(cell) if isinstance(cell, float) else cell)), written)
    except (ValueError, OverflowError):  # infinity
        return Reference(None, written)


def has_decimal_comma(cell: Any) -> bool:
    """Whether a cell is a number whose comma can only be a decimal one; then that of `12,000` in its column is one, too."""
    return isinstance(cell, str) and _COMMA_ONLY.fullmatch(cell.strip()) is not None


def exact(value: Fraction) -> Answer:
    """`value` as an integer where it is one."""
    return value.numerator if value.denominator == 1 else value


def _plain(cell: Any) -> Any:
    """The Python value of a numpy scalar or array."""
    to_list = getattr(cell, "tolist", None)
    return to_list() if callable(to_list) else cell


def _of_list(parts: Sequence[Any], decimal_comma: bool) -> Reference:
    """The answer that a list holds: of several, only if all have one value; else there are several right answers."""
    found = [each for part in parts if (each := reference_of(part, decimal_comma=decimal_comma)).written]
    if not found:
        return Reference()
    written = ", ".join(each.written for each in found)
    return Reference(found[0].value if len({each.value for each in found}) == 1 else None, written)


def _of_text(text: str, decimal_comma: bool) -> Answer | None:
    if marked := _AS_TEXT.fullmatch(text):
        text = marked[1] or marked[2] or ""
    if decimal_comma and (number := _WITH_COMMA.fullmatch(text)):
        text = re.sub(r"[.\s']", "", number[1]) + (f".{number[2]}" if number[2] else "")
    if "####" in text:
        text = text.rpartition("####")[2].strip()
    elif (content := boxed(text)) is not None:
        text = content
    if _PLAIN.fullmatch(text):
        return int(text)
    value = parse(text) if len(text) <= LONGEST else None
    if value is None and (claim := stated(text)):
        value = parse(claim)
    return None if value is None else exact(value)
