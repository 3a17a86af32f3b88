"""An image of a page -> its lines, by RapidOCR: PaddleOCR's models under ONNX Runtime, which lie in its wheel.

Covered: printed lines of Latin letters, digits and Chinese, one column. Not covered: formulas that are more than one line
high (a fraction, an index) come out as the characters seen, not as LaTeX; columns; Cyrillic, which the bundled model does
not know; some spaces between words are lost. `realign` mends what can be guessed, so decontaminate behind it, not before;
documents full of formulas want a reader of formulas instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words on a page: where they are, in pixels from the top left, and how sure the reader is, 0 to 1."""

    text: str
    left: float
    top: float
    bottom: float
    sure: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A page's text; `sure` is the mean over its pieces, 0 where nothing was seen."""

    text: str
    sure: float


Reader = Callable[["Image"], Seen]


def load_reader() -> Reader:
    """The OCR, loaded once. Raises `UserError` where it is not installed."""
    try:
        from rapidocr import RapidOCR  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed, and a page needs OCR: pip install 'sctir-kaggle[data]'"
        ) from None
    engine: Any = RapidOCR(params={"Global.log_level": "error"})

    def read(image: Image) -> Seen:
        found = engine(image.convert("RGB"))
        if found.txts is None:
            return Seen("", 0.0)
        return assemble(list(map(_piece, found.boxes, found.txts, found.scores)))

    return read


def _piece(box: Any, text: str, sure: float) -> Piece:
    across, down = [float(point[0]) for point in box], [float(point[1]) for point in box]
    return Piece(text, min(across), min(down), max(down), float(sure))


def assemble(pieces: Sequence[Piece]) -> Seen:
    """Pieces whose middles lie in each other's height are one line, from left to right; lines go from top to bottom."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda one: one.top + one.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and lines[-1][0].top <= middle <= lines[-1][0].bottom:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    rows = [" ".join(piece.text for piece in sorted(line, key=lambda one: one.left)) for line in lines]
    return Seen("\n".join(rows), sum(piece.sure for piece in pieces) / max(1, len(pieces)))
