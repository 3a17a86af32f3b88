"""Read printed lines on an image by RapidOCR, whose models lie in its wheel: Chinese, English and digits, no formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words on a page: their place in pixels from the top left, and the OCR's confidence, 0 to 1."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    sure: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A page's text; `sure` is the mean confidence of its pieces, 0 where there are none."""

    text: str
    sure: float
    pieces: tuple[Piece, ...] = ()

    @property
    def weakest(self) -> Piece | None:
        """The piece with the least confidence."""
        return min(self.pieces, key=lambda piece: piece.sure, default=None)


Reader = Callable[["Image"], Seen]


@cache
def load_reader() -> Reader:
    """Load the OCR, once. Raises `UserError` where it is not installed."""
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
    return Piece(text, min(across), min(down), max(across), max(down), float(sure))


def assemble(pieces: Sequence[Piece]) -> Seen:
    """Join pieces into lines: a piece whose middle lies within the height of a line's first piece belongs to that line."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda one: one.top + one.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and lines[-1][0].top <= middle <= lines[-1][0].bottom:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    rows = [" ".join(piece.text for piece in sorted(line, key=lambda one: one.left)) for line in lines]
    return Seen("\n".join(rows), sum(piece.sure for piece in pieces) / max(1, len(pieces)), tuple(pieces))
