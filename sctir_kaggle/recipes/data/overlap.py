"""Exact overlap: a row that shares an n-gram of words with a validation item.

A text shorter than `n` words has no n-gram and matches only where the whole texts are equal, drawings included; n-grams are
not taken from drawings. Not covered: a short item inside a longer row; only the distance can find that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

_SPACING = "left|right|[bB]ig{1,2}[lrm]?|q?quad|[hv]space|limits|nolimits|displaystyle|textstyle|phantom|begin|end"
_FONTS = "text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|it|rm|sf|bb|cal|frak|scr)|operatorname|mbox|boldsymbol"
_TOKEN = re.compile(
    rf"\\(?:{_SPACING}|{_FONTS})(?![a-zA-Z])|\\[dtc](?=frac|binom)|([^\W\d_]+|\d+)",
)
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL | re.IGNORECASE)


def words_of(text: str) -> list[str]:
    r"""The words of `text` in order, in lower case. `\dfrac` is `frac`; fonts and spacing are none."""
    return [word for word in _TOKEN.findall(text.lower()) if word]


def without_drawings(text: str) -> str:
    """`text` without its `[asy]` drawings, whose code is similar in unrelated problems."""
    return _DRAWING.sub(" ", text)


Reason = Literal["equal", "overlap", "near"]
"""The whole text is equal, an n-gram is, or the distance is below the limit."""


class Item(NamedTuple):
    """A validation problem; `id` is "SET/ID"."""

    id: str
    text: str


class Match(NamedTuple):
    """Why a row is dropped: the matching item, and the shared words or the cosine distance as evidence."""

    reason: Reason
    item: str
    shared: str = ""
    distance: float | None = None


class Overlap:
    """The validation items' n-grams and whole texts. Memory: about 250 bytes an n-gram of theirs; rows take none."""

    def __init__(self, items: Iterable[Item], n: int = 10) -> None:
        self._n = n
        self._texts: dict[tuple[str, ...], str] = {}
        self._grams: dict[tuple[str, ...], str] = {}
        for item in items:
            words = tuple(words_of(item.text))
            self._texts.setdefault(words, item.id)
            for gram in self._grams_of(item.text, words):
                self._grams.setdefault(gram, item.id)
        self._texts.pop((), None)  # a text without words equals nothing

    def match(self, text: str) -> Match | None:
        """Match `text` with an equal item, else with the first that shares an n-gram; None where there is none."""
        words = tuple(words_of(text))
        if words in self._texts:
            return Match("equal", self._texts[words], " ".join(words))
        for gram in self._grams_of(text, words):
            if gram in self._grams:
                return Match("overlap", self._grams[gram], " ".join(gram))
        return None

    def _grams_of(self, text: str, words: Sequence[str]) -> Iterable[tuple[str, ...]]:
        """The n-grams of a text outside its drawings; `words` are those of the whole text, used where it has none."""
        plain = without_drawings(text)
        words = words if plain == text else words_of(plain)
        return zip(*(words[start:] for start in range(self._n)), strict=False)
