"""Values in formulas survive the step `extract`, or the page is refused: 10^3 never comes out as 103."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.cot.records import Record
from sctir_kaggle.recipes.data.cot_data import Settings, run_step

pytest.importorskip("pypdfium2", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
pytest.importorskip("rapidocr", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
backend_pdf = pytest.importorskip("matplotlib.backends.backend_pdf", reason="pip install matplotlib")

FORMULAS = (
    "Problem 1. Compute the value of $10^3 + 2^{10}$ for the numbers below.\n\n"
    "Let $x_1 = \\frac{3}{4}$ and let $x_2 = \\sqrt{2}$ be two numbers.\n\n"
    "Solution. The sum is $1000+1024=2024$, since $10^3=1000$."
)
PROSE = (
    "Problem 1. How many integers between 1 and 100 are divisible by 7?\n"
    "Solution. They are 7, 14, ..., 98: there are 14, since 98 = 7 x 14; and\n"
    'so on (by Euclid\'s algorithm, say), for 25 + 17 = 42 of the "others".\n\n'
    "Problem 2. Find the sum of the first ten odd numbers.\n"
    "Solution. It is 10 squared, which is 100."
)
WRONG = re.compile(r"103|210|(?<!\d)3\s*4(?!\d)|x1|x2")
"""What the formulas of `FORMULAS` become without their layout. (1000, 1024 and 2024 hold none of these.)"""

FONTS = ("cm", "stix", "dejavusans")


def figure_of(text: str, fonts: str, size: float) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    family = {"cm": "cmr10", "stix": "STIXGeneral", "dejavusans": "DejaVu Sans"}[fonts]
    with matplotlib.rc_context({"mathtext.fontset": fonts}):
        figure = Figure(figsize=(8.3, 5.8))
        figure.text(0.08, 0.9, text, va="top", size=size, family=family)
        figure.canvas.draw()
    return figure


def drawn(path: Path, text: str, *, fonts: str = "cm", fonttype: int = 3, size: float = 13) -> Path:
    """A page as a PDF with a text layer in fonts of type 3 or 42, or as an image of 200 dots per inch."""
    import matplotlib

    with matplotlib.rc_context({"mathtext.fontset": fonts, "pdf.fonttype": fonttype}):
        figure_of(text, fonts, size).savefig(path, dpi=200)
    return path


def scanned(path: Path, text: str, *, fonts: str = "cm", size: float = 13) -> Path:
    """A PDF that holds an image and no text."""
    from PIL import Image

    Image.open(drawn(path.with_suffix(".png"), text, fonts=fonts, size=size)).convert("RGB").save(path, resolution=200)
    path.with_suffix(".png").unlink()
    return path


def extracted(folder: Path, *documents: Path, **fields: Any) -> tuple[list[Record], list[Record], str]:
    """The pages, the failures and the summary of the step."""
    said = run_step("extract", Settings(folder=folder / "out", documents=documents, **fields))
    return read(folder / "out" / "pages.jsonl"), read(folder / "out" / "pages.failed.jsonl"), said


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("fonttype", [3, 42])
@pytest.mark.parametrize("fonts", FONTS)
def test_formulas_in_a_text_layer_are_refused_where_nothing_reads_them(
    tmp_path: Path, fonts: str, fonttype: int
) -> None:
    pages, failed, _ = extracted(tmp_path, drawn(tmp_path / "a.pdf", FORMULAS, fonts=fonts, fonttype=fonttype))
    assert not any(WRONG.search(page["text"]) for page in pages)
    assert pages == []
    [page] = failed
    assert page["id"] == "a.pdf#1"
    assert "formula" in page["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("fonts", FONTS)
def test_formulas_on_a_scan_are_refused_where_nothing_reads_them(tmp_path: Path, fonts: str) -> None:
    pages, failed, _ = extracted(tmp_path, scanned(tmp_path / "a.pdf", FORMULAS, fonts=fonts))
    assert pages == []
    assert "formula" in failed[0]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "formula", ["10^3", "2^{10}", "\\frac{3}{4}", "\\sqrt{2}", "x_1", "\\int_0^1 x dx", "\\sum_{k=1}^n k"]
)
def test_each_kind_of_formula_is_seen_on_a_scan(tmp_path: Path, formula: str) -> None:
    text = f"Problem 1. Let the value of ${formula}$ be given, and find its double.\nSolution. We double it."
    pages, _, _ = extracted(tmp_path, *(scanned(tmp_path / f"{fonts}.pdf", text, fonts=fonts) for fonts in FONTS))
    assert pages == []


@pytest.mark.slow
@pytest.mark.parametrize("fonts", FONTS)
@pytest.mark.parametrize("draw", [drawn, scanned])
def test_a_page_of_prose_is_read(tmp_path: Path, draw: Callable[..., Path], fonts: str) -> None:
    pages, failed, _ = extracted(
        tmp_path, *(draw(tmp_path / f"{size}.pdf", PROSE, fonts=fonts, size=size) for size in (9, 12))
    )
    assert failed == []
    assert [page["by"] for page in pages] == ["text layer" if draw is drawn else "ocr"] * 2
    assert all("98" in page["text"] and "25" in page["text"] for page in pages)
