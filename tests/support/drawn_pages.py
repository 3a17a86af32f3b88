"""Pages with text and formulas as PDFs and images, drawn by matplotlib: real fonts, superscripts as smaller raised glyphs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

FAMILIES = {"cm": "cmr10", "stix": "STIXGeneral", "dejavusans": "DejaVu Sans"}

FORMULAS = (
    "Problem 1. Compute the value of $10^3 + 2^{10}$ for the numbers below.\n\n"
    "Let $x_1 = \\frac{3}{4}$ and let $x_2 = \\sqrt{2}$ be two numbers.\n\n"
    "Solution. The sum is $1000+1024=2024$, since $10^3=1000$."
)
"""A page in LaTeX."""

LOST = re.compile(r"103|210|(?<!\d)3\s*4(?!\d)|x1|x2")
"""What the formulas of `FORMULAS` become without their layout. (1000, 1024 and 2024 hold none of these.)"""

PROSE = (
    "Problem 1. How many integers between\n"
    "1 and 100 are divisible by 7?\n"
    "Solution. They are 7, 14, ..., 98:\n"
    "there are 14, since 98 = 7 x 14; so on\n"
    "(by Euclid's algorithm, say), for\n"
    '25 + 17 = 42 of the "others".\n\n'
    "Problem 2. Find the sum of the first ten\n"
    "odd numbers. Solution. It is 10 squared,\n"
    "which is 100."
)


def drawn(path: Path, text: str, *, fonts: str = "cm", fonttype: int = 3, size: float = 13) -> Path:
    """A page as a PDF with a text layer in fonts of type 3 or 42, not compressed, or as an image of 200 dots per inch."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"mathtext.fontset": fonts, "pdf.fonttype": fonttype, "pdf.compression": 0}):
        figure = Figure(figsize=(8.3, 5.8))
        figure.text(0.08, 0.9, text, va="top", size=size, family=FAMILIES[fonts], linespacing=1.5)
        figure.savefig(path, dpi=200)
    return path


def scanned(path: Path, text: str, *, fonts: str = "cm", size: float = 13) -> Path:
    """A PDF that holds an image and no text."""
    from PIL import Image

    image = drawn(path.with_suffix(".png"), text, fonts=fonts, size=size)
    Image.open(image).convert("RGB").save(path, resolution=200)
    image.unlink()
    return path


def under_a_layer(path: Path, text: str) -> Path:
    """A PDF with a text layer of a heading, and the image of a page below it."""
    import matplotlib
    import numpy
    from matplotlib.figure import Figure
    from PIL import Image

    image = numpy.asarray(Image.open(drawn(path.with_suffix(".png"), text)))
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure = Figure(figsize=(8.3, 7))
        figure.text(0.08, 0.95, "The problems of the third round of a contest", size=13)
        figure.figimage(image, 0, 0, resize=False)
        figure.savefig(path, dpi=200)
    return path


def mapped(path: Path, text: str, change: dict[str, str]) -> Path:
    """A PDF whose fonts map some characters to others: it shows `text`, and its text layer says something else."""
    page = drawn(path, text, fonts="dejavusans", fonttype=42).read_bytes()
    codes = {f"<{ord(one):04x}>".encode(): f"<{ord(other):04x}>".encode() for one, other in change.items()}

    def mapped_range(found: re.Match[bytes]) -> bytes:
        return re.sub(rb"<[0-9a-f]{4}>", lambda code: codes.get(code[0], code[0]), found[0])

    path.write_bytes(re.sub(rb"\[(<[0-9a-f]{4}> ?)+\]", mapped_range, page))
    return path


def line_of(
    text: str, *, fonts: str, size: float, blur: float = 0.0
) -> tuple[Image, tuple[float, float, float, float]]:
    """An image of one line at 200 dots per inch, with the box of its text: left, top, right, bottom."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image, ImageFilter

    with matplotlib.rc_context({"mathtext.fontset": fonts}):
        figure = Figure(figsize=(8.3, 1), dpi=200)
        canvas: Any = FigureCanvasAgg(figure)
        said: Any = figure.text(0.03, 0.4, text, size=size, family=FAMILIES[fonts])
        canvas.draw()
        box = said.get_window_extent()
    image = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    top = image.height - box.y1
    return image.filter(ImageFilter.GaussianBlur(blur)), (box.x0, top - 4, box.x1, image.height - box.y0 + 4)
