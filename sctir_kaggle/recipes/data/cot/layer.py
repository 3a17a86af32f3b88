"""A PDF page's text layer: its text, its glyphs with their places, and whether it says what the page shows.

A font's map from glyphs to Unicode may be missing or wrong. Characters that are none tell the first; the second is told by
reading the rendered page.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

FEWEST = 20
"""Least letters and digits of a usable text layer: a scan often has just a page number, or its maker's name."""

UNREADABLE = 0.05
"""The share of characters that map to no Unicode letter above which OCR reads better."""

AGREEMENT = 0.6
"""The share of the layer's three-letter sequences that the OCR must find."""

NUMBERS = 0.8
"""The share of the layer's digits, and of its numbers of several digits, that the OCR must find: digits may have a wrong map of
their own. It is not 1 since the OCR, too, misreads a line at times."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character with its origin (left end of the baseline), right edge and size in points; y counts from the bottom."""

    char: str
    x: float
    y: float
    right: float
    size: float
    font: str


def glyphs_of(page: Any) -> Iterator[Glyph]:
    """The glyphs of a PDFium text page in its order, without white space."""
    import pypdfium2.raw as pdfium  # type: ignore[import-untyped,import-not-found,unused-ignore]

    x, y, flags, matrix = ctypes.c_double(), ctypes.c_double(), ctypes.c_int(), pdfium.FS_MATRIX()
    name = ctypes.create_string_buffer(256)
    for index in range(page.count_chars()):
        char = chr(pdfium.FPDFText_GetUnicode(page, index))
        if char.isspace() or pdfium.FPDFText_IsGenerated(page, index) == 1:
            continue
        pdfium.FPDFText_GetCharOrigin(page, index, x, y)
        scale = 1.0
        if pdfium.FPDFText_GetMatrix(page, index, matrix):
            scale = math.hypot(matrix.c, matrix.d) or 1.0
        length = pdfium.FPDFText_GetFontInfo(page, index, name, len(name), flags)
        font = name.value.decode("utf-8", "replace") if 0 < length <= len(name) else ""
        size = pdfium.FPDFText_GetFontSize(page, index) * scale
        yield Glyph(char, x.value, y.value, page.get_charbox(index)[2], size, font)


class Box(NamedTuple):
    """A part of a page, in shares of its width and height from the top left."""

    left: float
    top: float
    right: float
    bottom: float


def drawn_on(page: Any) -> Iterator[Box]:
    """Where a PDFium page has images, or paths with curves: a formula that is drawn there is in no text layer."""
    import pypdfium2.raw as pdfium

    left, bottom, right, top = page.get_cropbox()
    width, height = max(1.0, right - left), max(1.0, top - bottom)
    for found in page.get_objects(max_depth=1):
        inside = page.get_objects(form=found.raw, level=1) if found.type == pdfium.FPDF_PAGEOBJ_FORM else [found]
        if not any(_is_drawn(one) for one in inside):
            continue
        x, y, x_end, y_end = found.get_bounds()
        box = Box((x - left) / width, (top - y_end) / height, (x_end - left) / width, (top - y) / height)
        yield Box(0, 0, 1, 1) if page.get_rotation() else box


def _is_drawn(one: Any) -> bool:
    import pypdfium2.raw as pdfium

    if one.type != pdfium.FPDF_PAGEOBJ_PATH:
        return bool(one.type == pdfium.FPDF_PAGEOBJ_IMAGE)
    segments = (
        pdfium.FPDFPath_GetPathSegment(one.raw, place) for place in range(pdfium.FPDFPath_CountSegments(one.raw))
    )
    return any(pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_BEZIERTO for segment in segments)


def tidy(text: str) -> str:
    """Normalise line ends, and rejoin words that PDFium marks as hyphenated."""
    return re.sub("[\ufffe\x02]\\s*", "", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def readable(text: str) -> bool:
    """Whether a text layer can be used: enough letters, and nearly all of them mapped to Unicode."""
    letters = sum(char.isalnum() for char in text)
    unknown = sum(unicodedata.category(char) in ("Co", "Cn", "Cc") and not char.isspace() for char in text)
    return letters >= FEWEST and unknown + text.count("\ufffd") <= UNREADABLE * len(text)


def in_alphabet(text: str) -> bool:
    """Whether at least half of the letters are ones that the OCR's models read: Latin without accents, or Chinese."""
    letters = [char for char in text if char.isalpha()]
    return 2 * sum(char.isascii() or is_chinese(char) for char in letters) >= len(letters)


def is_chinese(text: str) -> bool:
    """Whether there is a Chinese character: the parts of one look raised, lowered and stacked."""
    return any("\u4e00" <= char <= "\u9fff" for char in text)


def disagreement(layer: str, seen: str) -> str | None:
    """What the OCR of the rendered page does not find of the text layer, as a reason; None where they agree.

    In an alphabet that the OCR does not read, numbers alone are compared. The order of lines does not matter. Not covered: a
    wrong map of a font in which few of the page's letters and numbers are set.
    """
    share = _share(_triples(_letters(layer)), _triples(_letters(seen)))
    if in_alphabet(layer) and share < AGREEMENT:
        return f"the rendered page shows {share:.0%} of the text layer's letters: a wrong glyph map"
    if wrong := wrong_digits(layer, seen):
        return wrong
    numbers = re.findall(r"\d{2,}", _plain(layer))
    tight = re.sub(r"\s", "", _plain(seen))  # the OCR drops spaces
    missing = [number for number in numbers if number not in tight]
    if len(missing) > max(1, (1 - NUMBERS) * len(numbers)):
        return f"the rendered page lacks {len(missing)} of the text layer's {len(numbers)} numbers: a wrong glyph map"
    return None


def wrong_digits(layer: str, seen: str) -> str | None:
    """The same for single digits alone, which formulas, too, have in both texts."""
    digits, found = (Counter(filter(str.isdecimal, _plain(text))) for text in (layer, seen))
    if digits.total() >= 5 and (share := _share(digits, found)) < NUMBERS:
        return f"the rendered page shows {share:.0%} of the text layer's digits: a wrong glyph map"
    return None


def lacks(layer: str, drawn: str) -> bool:
    """Whether the layer does not have a text that the OCR read where the page is drawn: 40 letters, a line, or more."""
    letters = _letters(drawn)
    return len(letters) >= 40 and _share(_triples(letters), _triples(_letters(layer))) < AGREEMENT


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _letters(text: str) -> str:
    """Letters and digits, in one case: the OCR drops spaces and mistakes punctuation."""
    return "".join(filter(str.isalnum, _plain(text)))


def _triples(text: str) -> Counter[str]:
    return Counter(text[start : start + 3] for start in range(len(text) - 2))


def _share(mine: Counter[str], other: Counter[str]) -> float:
    return (mine & other).total() / max(1, mine.total())
