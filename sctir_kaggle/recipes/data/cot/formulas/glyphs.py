"""Find formulas in a text layer by where its glyphs stand: a line's text alone loses what is raised, lowered or stacked.

Covered: superscripts, subscripts and fractions, by origin and size; roots, integrals and other signs that reach over their
neighbours; fonts that hold mathematics only. Not covered: a formula drawn as curves or as an image (`ink` looks at the
rendered page). A footnote's mark or a drop cap may pass for a formula: the page is refused or sent, never misread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from sctir_kaggle.recipes.data.cot.layer import Glyph

_FONTS = re.compile(
    r"cm(mi|mib|sy|bsy|ex)\d|msam|msbm|lm(math|roman.*math)|cambria ?math|stix.*(math|size|nonuni|integrals)|xits|mt ?extra"
    r"|euclid|mathematica|rsfs|eu(fm|ex|sm)\d|(asana|libertinus|fira|gyre|dejavu|latinmodern).{0,12}math|mathjax_|katex_"
    r"|stmary|wasy|esint|symbolmt|^symbol|\+symbol|txsy|pxsy|mtmi|mtsy|rmtmi|yhmath",
    re.IGNORECASE,
)
_REACHING = re.compile("[\u221a-\u221c\u222b-\u2233\u220f-\u2211\u239b-\u23b7\u23d0\U0001d400-\U0001d7ff]")
"""Roots, integrals, products and sums, the pieces of large brackets, and mathematical letters."""

_PLAIN = set("\u2022\u00b7\u25cf\u25aa\uf0b7\uf0a7-+=<>.,:;()[]")
"""What a font of mathematics draws in ordinary text: a list's bullet, and signs that a line keeps."""

LEAST, MOST = 0.15, 1.2
"""How far a glyph must be and can be above or below its neighbour, in sizes of the smaller of the two: more is another line."""


@dataclass(slots=True)
class Formulas:
    """What was found: `reasons`, and `powers`, the numbers that have a number as superscript, as (base, exponent)."""

    reasons: list[str] = field(default_factory=list)
    powers: list[tuple[str, str]] = field(default_factory=list)


def formulas_in(glyphs: Iterable[Glyph]) -> Formulas | None:
    """The formulas among the glyphs of a page, in its order; None where there are none."""
    found = Formulas()
    fonts: set[str] = set()
    line = list(glyphs)
    for glyph in line:
        if _FONTS.search(glyph.font) and glyph.char not in _PLAIN and glyph.font not in fonts:
            fonts.add(glyph.font)
            found.reasons.append(f"{glyph.char!r} in the font {glyph.font}")
        if _REACHING.search(glyph.char):
            found.reasons.append(f"the sign {glyph.char!r}")
    for index, (one, other) in enumerate(pairwise(line)):
        if (shift := _shift(one, other)) is not None:
            found.reasons.append(f"{other.char!r} {'above' if shift > 0 else 'below'} {one.char!r}")
            if shift > 0 and one.char.isdecimal() and other.char.isdecimal() and other.size < 0.9 * one.size:
                base = _number(line[: index + 1][::-1], one)[::-1]
                found.powers.append((base, _number(line[index + 1 :], other)))
    return found if found.reasons else None


def _shift(one: Glyph, other: Glyph) -> float | None:
    """How far the next glyph, where it stands beside this one, is raised; None where it is on the same or another line."""
    small, large = sorted((one.size, other.size))
    rise, step = other.y - one.y, other.x - one.right
    beside = -0.5 * large <= step <= 1.0 * large
    return rise if small and beside and LEAST * small < abs(rise) < MOST * small else None


def _number(glyphs: Iterable[Glyph], first: Glyph) -> str:
    """The digits from the first on that stand on its baseline."""
    digits = ""
    for glyph in glyphs:
        if not glyph.char.isdecimal() or abs(glyph.y - first.y) > 0.02 * first.size:
            break
        digits += glyph.char
    return digits
