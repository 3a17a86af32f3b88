"""Find formulas on the image of a page by the shapes of its ink: an OCR that reads lines drops what is raised or stacked.

The connected pieces of ink are compared with the others of their line. Covered: a small piece raised or lowered beside larger
ones, a bar with ink right above and below it, a root's sign around other ink, a sign taller than the line. Not covered: pieces
that touch (a bold or blurred scan); Chinese characters, which are pieces themselves. An underline or an asterisk may pass for a
formula: that costs a page, not a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from sctir_kaggle.recipes.data.cot.layer import Box
from sctir_kaggle.recipes.data.cot.ocr import Piece

if TYPE_CHECKING:
    from PIL.Image import Image

_WRITTEN = re.compile(r"[√∫∑∏^²³¹º⁰-₎]|\\[a-z]{2}")
"""What an OCR writes only where it saw a formula, or guessed at one."""


@dataclass(frozen=True, slots=True)
class Ink:
    """A connected piece of ink: its box in pixels from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def holds(self, other: Ink) -> bool:
        """Whether this piece goes around the other."""
        inside = self.left < other.left and other.right <= self.right + 2
        return inside and self.top < other.top and other.bottom <= self.bottom + 2 and other.height > 0.55 * self.height


class Inked(NamedTuple):
    """Reasons to take a page for one with formulas; and what the OCR left out, None where it read about all."""

    formulas: list[str]
    unread: str | None


def examine(image: Image, pieces: Sequence[Piece]) -> Inked:
    """Compare the ink of a page with the lines that the OCR read on it."""
    reasons = [f"{piece.text!r} on the page" for piece in pieces if _WRITTEN.search(piece.text)]
    inks = _inks(image)
    lines = [(piece, line) for piece, line in zip(pieces, _lines(inks, pieces), strict=True) if len(line) > 1]
    for piece, line in lines:
        reasons += [f"{what} in {piece.text!r}" for what in dict.fromkeys(_on(line))]
    if lines:
        usual = median(_tall(line) for _, line in lines)
        bars = [bar for bar in inks if _is_fraction(bar, inks, usual)]
        reasons += [f"a fraction at {bar.left:.0f}, {bar.top:.0f}" for bar in bars]
    return Inked(reasons, _unread(inks, lines))


def within(image: Image, pieces: Sequence[Piece], boxes: Sequence[Box]) -> tuple[Image, list[Piece]]:
    """What of a page lies in boxes: its image, white outside of them, and the pieces whose middle is in one."""
    from PIL import Image

    kept, places = Image.new("RGB", image.size, "white"), []
    for box in boxes:
        edges = (box.left * image.width, box.top * image.height, box.right * image.width, box.bottom * image.height)
        place = (
            max(0, int(edges[0])),
            max(0, int(edges[1])),
            min(image.width, int(edges[2] + 1)),
            min(image.height, int(edges[3] + 1)),
        )
        if place[0] < place[2] and place[1] < place[3]:
            kept.paste(image.crop(place), place[:2])
            places.append(place)
    return kept, [piece for piece in pieces if any(_is_in(piece, *place) for place in places)]


def _is_in(piece: Piece, left: int, top: int, right: int, bottom: int) -> bool:
    across, down = (piece.left + piece.right) / 2, (piece.top + piece.bottom) / 2
    return left <= across <= right and top <= down <= bottom


FEWEST, USUAL = 12, 20.0
"""Fewest pieces of ink outside of all lines that may be lines themselves; a letter's height in pixels on a page without any."""


def _unread(inks: Sequence[Ink], lines: Sequence[tuple[Piece, list[Ink]]]) -> str | None:
    for piece, line in lines:
        if _is_unread(piece.text, line):
            return f"most of a line, of which it read {piece.text[:60]!r}"
    usual = median(_tall(line) for _, line in lines) if lines else USUAL
    read = {ink for _, line in lines for ink in line}
    left = [
        ink for ink in inks if 0.42 * usual <= ink.height <= 1.6 * usual and ink.width <= 3 * usual and ink not in read
    ]
    if len(left) >= max(FEWEST, 0.2 * len(read)):
        return f"{len(left)} pieces of ink of a letter's size that are in no line"
    return None


def _is_unread(text: str, line: Sequence[Ink]) -> bool:
    """Whether a line has far more ink than letters were read, as in an alphabet that the OCR does not read (not: Chinese)."""
    letters = "".join(text.split())
    large = [ink for ink in line if ink.height >= 0.42 * _tall(line)]
    return text.isascii() and len(large) > 8 and len(letters) < 0.6 * len(large)


def _inks(image: Image) -> list[Ink]:
    import cv2  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import numpy as np

    gray = np.asarray(image.convert("L"))
    between, _ = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)
    thin = between + 0.3 * (float(np.median(gray)) - between)  # so that thin strokes do not break
    _, _, boxes, _ = cv2.connectedComponentsWithStats((gray < thin).astype(np.uint8), connectivity=8)
    return [_ink(box) for box in boxes[1:] if box[4] >= 3]


def _ink(box: Any) -> Ink:
    left, top, width, height = map(float, box[:4])
    return Ink(left, top, left + width, top + height)


def _lines(inks: Sequence[Ink], pieces: Sequence[Piece]) -> list[list[Ink]]:
    """The ink of each piece of the OCR, from left to right: ink in or near the boxes of two is that of the nearer middle."""
    lines: list[list[Ink]] = [[] for _ in pieces]
    for ink in inks:
        if near := [(distance, index) for index, piece in enumerate(pieces) if (distance := _away(ink, piece)) < 0.83]:
            lines[min(near)[1]].append(ink)
    return [sorted(line, key=lambda ink: ink.left) for line in lines]


def _away(ink: Ink, piece: Piece) -> float:
    """How far ink is above or below the middle of a piece, in its heights; infinite to the left and right of it."""
    across, down = ink.middle
    if not piece.left <= across <= piece.right:
        return float("inf")
    return abs(down - (piece.top + piece.bottom) / 2) / max(1.0, piece.bottom - piece.top)


def _tall(line: Sequence[Ink]) -> float:
    """The height of a line's capitals and digits: that which a seventh of the ink reaches, more than brackets are."""
    heights = sorted(ink.height for ink in line)
    return heights[(6 * len(heights)) // 7]


def _on(line: Sequence[Ink]) -> Iterator[str]:
    """What on a line is raised, lowered, or reaches around or beyond the rest."""
    tall = _tall(line)
    for index, ink in enumerate(line):
        bracket = ink.width < 0.5 * tall  # of the line's own size: up to 1.6 of a capital's height in Computer Modern
        around = ink.height > 1.1 * tall and any(ink.holds(other) for other in line)
        if ink.height > (2.0 if bracket else 1.5) * tall or around:
            yield "a sign larger than the line"
        mark = ink.height < 0.55 * tall and ink.width < 0.28 * tall  # a comma, a quotation mark
        base = _baseline([*line[max(0, index - 12) : index], *line[index + 1 : index + 13]], tall)
        if base is None or mark or ink.height < 0.38 * tall:
            continue
        small = ink.height <= 0.88 * tall
        touching = ink.top < base - 1.22 * tall  # a power and its base
        above = ink.bottom <= base - 0.22 * tall and not any(_above(ink, other) for other in line)
        if touching or (small and above):
            yield "something raised"
        elif small and ink.bottom >= base + 0.12 * tall and ink.top >= base - 0.5 * tall:
            yield "something lowered"


def _baseline(near: Sequence[Ink], tall: float) -> float | None:
    """The highest lower edge that a third of the larger ink nearby has, since a scanned line may slope; None without any."""
    bottoms = sorted(ink.bottom for ink in near if ink.height >= 0.55 * tall)
    alike = ([other for other in bottoms if abs(other - one) <= 0.1 * tall] for one in bottoms)
    return next((median(group) for group in alike if 3 * len(group) >= len(bottoms)), None)


def _above(ink: Ink, other: Ink) -> bool:
    """Whether ink is a part of the sign that the other is the rest of: a dot, an accent, a ring of a per cent sign."""
    overlap = min(ink.right, other.right) - max(ink.left, other.left)
    return other.top >= ink.top and other.bottom > ink.bottom and overlap > 0


def _is_fraction(bar: Ink, inks: Sequence[Ink], tall: float) -> bool:
    """Whether this is a flat piece with ink right above and right below it, between its ends."""
    if not (bar.height <= 0.2 * tall and 0.5 * tall <= bar.width <= 20 * tall):
        return False
    near = [ink for ink in inks if ink.height >= 0.35 * tall and bar.left - 3 <= ink.middle[0] <= bar.right + 3]
    above = any(0 <= bar.top - ink.bottom <= 0.6 * tall for ink in near)
    return above and any(0 <= ink.top - bar.bottom <= 0.6 * tall for ink in near)
