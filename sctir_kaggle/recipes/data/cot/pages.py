"""Extract the text of the pages of a PDF or an image: the PDF's text layer where it is readable, else OCR.

Covered: PDF by PDFium; PNG, JPEG, TIFF, BMP and WebP by Pillow. Not covered: passwords; a text layer whose letters are the
wrong letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.data.cot.records import Output, Record, Rejected
from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words on a page: their place in pixels from the top left, and the OCR's confidence, 0 to 1."""

    text: str
    left: float
    top: float
    bottom: float
    sure: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A page's text; `sure` is the mean confidence of its pieces, 0 where there are none."""

    text: str
    sure: float


Reader = Callable[["Image"], Seen]


def load_reader() -> Reader:
    """Load the OCR. Raises `UserError` where it is not installed."""
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
    """Join pieces into lines: a piece whose middle lies within the height of a line's first piece belongs to that line."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda one: one.top + one.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and lines[-1][0].top <= middle <= lines[-1][0].bottom:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    rows = [" ".join(piece.text for piece in sorted(line, key=lambda one: one.left)) for line in lines]
    return Seen("\n".join(rows), sum(piece.sure for piece in pieces) / max(1, len(pieces)))


IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

FEWEST = 20
"""Least letters and digits of a usable text layer: a scan often has just a page number, or its maker's name."""

UNREADABLE = 0.05
"""The share of characters that map to no Unicode letter above which OCR reads better."""

Load = Callable[[], Reader]


def documents_in(places: Sequence[Path]) -> dict[str, Path]:
    """Files, and the PDFs and images in folders, by name (in a folder: the relative path), in order.

    Raises `UserError` where a place does not exist, nothing is found, or two have the same name.
    """
    found: dict[str, Path] = {}
    for place in places:
        if not place.exists():
            raise UserError(f"{place} is not there; --set documents='[FILE or FOLDER, ...]'")
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in (path for path in inside if path.is_file() and path.suffix.lower() in (".pdf", *IMAGES)):
            name = path.relative_to(place).as_posix() if place.is_dir() else path.name
            if name in found:
                raise UserError(f"two documents are called {name}: {found[name]} and {path}; rename one")
            found[name] = path
    if not found:
        raise UserError(f"no PDF or image in {', '.join(map(str, places)) or 'nothing'}; --set documents='[...]'")
    return found


def extract(documents: Mapping[str, Path], output: Output, load: Load, *, dpi: int = 200) -> None:
    """Write a record for each page.

    Its fields: `id` "name#page", `document`, `page` from 1, `text`, `by` ("text layer" or "ocr"), `sure`, the OCR's confidence.
    The OCR is loaded when a page first needs it. A document or a page that cannot be read is rejected, the others go on.
    """
    reader = cache(load)
    for document, path in documents.items():
        try:
            for number, look in _pages(path, dpi):
                name = f"{document}#{number}"
                if name not in output.done:
                    _add({"id": name, "document": document, "page": number}, look, reader, output)
        except Rejected as error:
            output.reject({"id": document}, str(error))


Look = Callable[[], "str | Image"]
"""Reads a page lazily: returns its text, or its image where OCR is needed. Raises `Rejected`."""


def _add(page: Record, look: Look, reader: Load, output: Output) -> None:
    try:
        seen = look()
    except Rejected as error:
        output.reject(page, str(error))
        return
    if isinstance(seen, str):
        output.add({**page, "text": seen, "by": "text layer", "sure": None})
    else:
        found = reader()(seen)
        output.add({**page, "text": found.text, "by": "ocr", "sure": round(found.sure, 4)})


def _pages(document: Path, dpi: int) -> Iterator[tuple[int, Look]]:
    try:
        import PIL
        import pypdfium2  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'sctir-kaggle[data]'") from None
    try:
        yield from _of_pdf(document, dpi) if document.suffix.lower() == ".pdf" else _of_image(document)
    except pypdfium2.PdfiumError as error:
        raise Rejected(f"no PDF that can be opened ({error}); a password is to be taken off first") from None
    except (PIL.UnidentifiedImageError, OSError) as error:
        raise Rejected(f"cannot be opened: {one_line(error)}") from None


def _of_pdf(path: Path, dpi: int) -> Iterator[tuple[int, Look]]:
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        for number in range(len(document)):
            yield number + 1, partial(_look_at_pdf, document, number, dpi)


def _look_at_pdf(document: Any, number: int, dpi: int) -> str | Image:
    import pypdfium2

    try:
        page = document[number]
        text = tidy(page.get_textpage().get_text_bounded())
        image: Image | None = None if readable(text) else page.render(scale=dpi / 72).to_pil()
    except pypdfium2.PdfiumError as error:
        raise Rejected(f"a page that cannot be read: {error}") from None
    return text if image is None else image


def _of_image(path: Path) -> Iterator[tuple[int, Look]]:
    """An image may hold several pages (TIFF)."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        for number, frame in enumerate(ImageSequence.Iterator(image), 1):
            yield number, partial(_look_at_image, frame)


def _look_at_image(frame: Image) -> Image:
    try:
        return frame.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow's own for a damaged file
        raise Rejected(f"an image that cannot be read: {one_line(error)}") from None


def tidy(text: str) -> str:
    """Normalise line ends, and rejoin words that PDFium marks as hyphenated."""
    return re.sub("[\ufffe\x02]\\s*", "", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def readable(text: str) -> bool:
    """Whether a text layer can be used: enough letters, and nearly all of them mapped to Unicode."""
    letters = sum(char.isalnum() for char in text)
    unknown = sum(unicodedata.category(char) in ("Co", "Cn", "Cc") and not char.isspace() for char in text)
    return letters >= FEWEST and unknown + text.count("\ufffd") <= UNREADABLE * len(text)
