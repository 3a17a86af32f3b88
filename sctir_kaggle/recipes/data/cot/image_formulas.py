"""Find formulas on the image of a page by the shapes of its ink: an OCR that reads lines drops what is raised or stacked.

The connected pieces of ink are compared with their neighbours on the line. Covered: a small piece raised or lowered beside
larger ones, a bar with ink right above and below it, a root's sign around other ink, a sign taller than the line. Not covered:
pieces that touch (a blurred or bold scan). An underlined line or a degree sign may pass for a formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.data.cot.ocr import Piece

if TYPE_CHECKING:
    from PIL.Image import Image

_WRITTEN = re.compile(r"[√∫∑∏^]|\\[a-z]{2}")
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

    def over(self, other: Ink) -> float:
        """How far two pieces overlap from left to right."""
        return min(self.right, other.right) - max(self.left, other.left)


def formulas_in(image: Image, pieces: Sequence[Piece]) -> list[str]:
    """Reasons to take the page for one with formulas, given the lines that the OCR read; none where there are none."""
    reasons = [f"{piece.text!r} on the page" for piece in pieces if _WRITTEN.search(piece.text)]
    inks = _inks(image)
    lines = [(piece, line) for piece in pieces if len(line := _on_line(inks, piece)) > 1]
    for piece, line in lines:
        reasons += [f"{what} in {piece.text!r}" for what in _on(line)]
    if lines:
        usual = median(_tall(line) for _, line in lines)
        reasons += ["a fraction"] * any(_is_fraction(ink, inks, usual) for ink in inks)
    return reasons


def _inks(image: Image) -> list[Ink]:
    import cv2  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import numpy as np

    gray = np.asarray(image.convert("L"))
    _, ink = cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    return [Ink(*_edges(box)) for box in boxes[1:] if box[4] >= 6]


def _edges(box: Any) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, box[:4])
    return left, top, left + width, top + height


def _on_line(inks: Sequence[Ink], piece: Piece) -> list[Ink]:
    """The ink whose middle is in a line's box, which is widened by a third of its height above and below, from left to right."""
    margin = (piece.bottom - piece.top) / 3
    inside = (
        ink
        for ink in inks
        if piece.left <= (ink.left + ink.right) / 2 <= piece.right
        and piece.top - margin <= (ink.top + ink.bottom) / 2 <= piece.bottom + margin
    )
    return sorted(inside, key=lambda ink: ink.left)


def _tall(line: Sequence[Ink]) -> float:
    """The height of a line's capitals and digits: that which a quarter of the ink reaches."""
    heights = sorted(ink.height for ink in line)
    return heights[(3 * len(heights)) // 4]


def _on(line: Sequence[Ink]) -> Iterator[str]:
    """What on a line is raised, lowered, or reaches around or beyond the rest."""
    tall = _tall(line)
    for index, ink in enumerate(line):
        if ink.height > 1.6 * tall or (ink.height > 1.1 * tall and any(_holds(ink, other) for other in line)):
            yield "a sign larger than the line"
        if not 0.42 * tall <= ink.height <= 0.88 * tall:
            continue
        base = _baseline(line, index, tall)
        if base is None:
            continue
        if ink.bottom <= base - 0.22 * tall and not any(
            other.top >= ink.top and other.bottom > ink.bottom and ink.over(other) > 0.3 * min(ink.width, other.width) for other in line
        ):
            yield "something raised"
        elif ink.bottom >= base + 0.12 * tall and ink.top >= base - 0.58 * tall:
            yield "something lowered"


def _holds(ink: Ink, other: Ink) -> bool:
    """Whether a piece goes around the other."""
    return (
        other is not ink
        and other.height > 0.3 * ink.height
        and ink.left < other.left
        and other.right <= ink.right + 2
        and ink.top < other.top
        and other.bottom <= ink.bottom + 2
    )


def _baseline(line: Sequence[Ink], index: int, tall: float) -> float | None:
    """The median lower edge of the larger ink nearby, so that a line may slope; None where there is none."""
    near = (other for place, other in enumerate(line) if place != index and abs(place - index) <= 8)
    return median(bottoms) if (bottoms := [other.bottom for other in near if other.height >= 0.55 * tall]) else None


def _is_fraction(bar: Ink, inks: Sequence[Ink], tall: float) -> bool:
    """Whether this is a flat piece with ink right above and right below it, between its ends."""
    if not (bar.height <= 0.2 * tall and 0.5 * tall <= bar.width <= 20 * tall):
        return False
    above, below = False, False
    for ink in inks:
        if ink.height < 0.35 * tall or not bar.left - 3 <= (ink.left + ink.right) / 2 <= bar.right + 3:
            continue
        above = above or 0 <= bar.top - ink.bottom <= 0.6 * tall
        below = below or 0 <= ink.top - bar.bottom <= 0.6 * tall
    return above and below
