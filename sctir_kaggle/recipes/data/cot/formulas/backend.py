"""The interface of a back end that reads pages with formulas as Markdown with LaTeX, and what is checked of its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sctir_kaggle.recipes.data.cot.records import Rejected
from sctir_kaggle.types import EngineError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Recognized:
    """A page as Markdown with LaTeX; `sure` is the back end's confidence, 0 to 1, None where it gives none."""

    text: str
    sure: float | None = None


Answer = Recognized | Rejected | EngineError
"""A page's text; why this page could not be read; or why no page can be at this time."""


class Backend(Protocol):
    """Reads pages; `batch` is how many it is best given at a time: a program loads its models once for all of them."""

    @property
    def batch(self) -> int:
        """Pages at a time."""
        ...

    def read(self, pages: Sequence[Image]) -> list[Answer]:
        """The answers, in the order of the pages. Failures are values, so that the others' answers are not lost."""
        ...


_LATEX = re.compile(r"\$|\\[a-zA-Z(\[]|[\^_]|<su[bp]>|[²³¹⁰-₎√∫∑∏]")


def has_formula(text: str) -> bool:
    """Whether Markdown holds a formula, or anything raised or lowered."""
    return _LATEX.search(text) is not None


_RAISED = str.maketrans({char: f"^{digit}" for digit, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})


def lacks_power(text: str, powers: Sequence[tuple[str, str]]) -> str | None:
    """The first of these powers, as "10^3", that Markdown with LaTeX does not have; None where it has all of them."""
    plain = re.sub(r"<sup>|\^\{", "^", re.sub(r"\s|\\[,;!]|\\(mathrm|mathbf|text)\b", "", text)).translate(_RAISED)
    plain = re.sub(r"(?<=\^)(\d+)\^(?=\d)", r"\1", re.sub(r"[{}$]", "", plain))
    for base, exponent in powers:
        if not re.search(rf"(?<!\d){base}\^{exponent}(?!\d)", plain):
            return f"{base}^{exponent}"
    return None
