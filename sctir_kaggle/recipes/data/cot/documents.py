"""The pages of PDFs (by PDFium) and images (PNG, JPEG, TIFF, BMP, WebP by Pillow). Not covered: passwords."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sctir_kaggle.recipes.data.cot.layer import Box, Glyph, drawn_on, glyphs_of, tidy
from sctir_kaggle.recipes.data.cot.records import Rejected
from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


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


class Page(NamedTuple):
    """A page: the text and the glyphs of its layer, where it is drawn instead, and what renders it. That raises `Rejected`.

    The first three are empty for an image.
    """

    text: str
    glyphs: Sequence[Glyph]
    drawn: Sequence[Box]
    image: Callable[[], Image]


Look = Callable[[], Page]
"""Opens a page. Raises `Rejected` where it is damaged."""


def pages_of(document: Path, dpi: int) -> Iterator[tuple[int, int, Look]]:
    """The pages of a document: each one's number from 1, the count of all, and what opens it.

    Raises `Rejected` where the document cannot be opened, `UserError` where a library is missing.
    """
    try:
        import PIL
        import pypdfium2  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'sctir-kaggle[data]'") from None
    try:
        yield from _of_pdf(document, dpi) if document.suffix.lower() == ".pdf" else _of_image(document)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise Rejected(
            "encrypted; take the password off first" if locked else f"no PDF that can be opened: {error}"
        ) from None
    except (PIL.UnidentifiedImageError, OSError) as error:
        raise Rejected(f"cannot be opened: {one_line(error)}") from None


def _of_pdf(path: Path, dpi: int) -> Iterator[tuple[int, int, Look]]:
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        for number in range(len(document)):
            yield number + 1, len(document), partial(_open_of_pdf, document, number, dpi)


def _open_of_pdf(document: Any, number: int, dpi: int) -> Page:
    import pypdfium2

    try:
        page = document[number]
        layer = page.get_textpage()
        text = tidy(layer.get_text_bounded())
        return Page(text, tuple(glyphs_of(layer)), tuple(drawn_on(page)), partial(_render, page, dpi))
    except pypdfium2.PdfiumError as error:
        raise Rejected(f"a page that cannot be read: {error}") from None


def _render(page: Any, dpi: int) -> Image:
    import pypdfium2

    try:
        return page.render(scale=dpi / 72).to_pil().convert("RGB")  # type: ignore[no-any-return,unused-ignore]
    except pypdfium2.PdfiumError as error:
        raise Rejected(f"a page that cannot be rendered: {error}") from None


def _of_image(path: Path) -> Iterator[tuple[int, int, Look]]:
    """An image may hold several pages (TIFF)."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        for number, frame in enumerate(ImageSequence.Iterator(image), 1):
            yield number, getattr(image, "n_frames", 1), partial(_open_of_image, frame)


def _open_of_image(frame: Image) -> Page:
    try:
        image = frame.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow's own for a damaged file
        raise Rejected(f"an image that cannot be read: {one_line(error)}") from None
    return Page("", (), (), lambda: image)
