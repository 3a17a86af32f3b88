"""Values in formulas survive the step `extract`, or the page is refused: 10^3 never comes out as 103."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.recipes.data.cot.formulas import ink
from sctir_kaggle.recipes.data.cot.layer import disagreement
from sctir_kaggle.recipes.data.cot.ocr import Piece, Reader, Seen
from sctir_kaggle.recipes.data.cot.pages import Extraction, Rules
from sctir_kaggle.recipes.data.cot.records import Output, Record
from sctir_kaggle.recipes.data.cot_data import Settings, run_step
from sctir_kaggle.types import UserError
from tests.support.drawn_pages import FAMILIES, FORMULAS, LOST, PROSE, drawn, line_of, mapped, scanned, under_a_layer

if TYPE_CHECKING:
    from PIL.Image import Image

pytest.importorskip("pypdfium2", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
pytest.importorskip("rapidocr", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
pytest.importorskip("matplotlib", reason="pip install matplotlib")


def extracted(folder: Path, *documents: Path, **fields: Any) -> tuple[list[Record], list[Record], str]:
    """The pages, the failures and the summary of the step."""
    said = run_step("extract", Settings(folder=folder / "out", documents=documents, **fields))
    return read(folder / "out" / "pages.jsonl"), read(folder / "out" / "pages.failed.jsonl"), said


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def statistics(folder: Path) -> Any:
    return json.loads((folder / "out" / "pages.statistics.json").read_text())


@pytest.mark.parametrize("fonttype", [3, 42])
@pytest.mark.parametrize("fonts", FAMILIES)
def test_formulas_in_a_text_layer_are_refused_where_nothing_reads_them(
    tmp_path: Path, fonts: str, fonttype: int
) -> None:
    pages, failed, said = extracted(tmp_path, drawn(tmp_path / "a.pdf", FORMULAS, fonts=fonts, fonttype=fonttype))
    assert not any(LOST.search(page["text"]) for page in pages)
    assert pages == []
    [page] = failed
    assert page["id"] == "a.pdf#1"
    assert "formulas (" in page["reason"]
    assert "--set formulas=mathpix" in page["reason"]
    assert "refused: 1 with formulas" in said
    assert statistics(tmp_path) == {"read": {}, "sent": 0, "refused": {"with formulas": 1}, "cost": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("fonts", ["cm", "stix"])
def test_formulas_on_a_scan_are_refused_where_nothing_reads_them(tmp_path: Path, fonts: str) -> None:
    pages, failed, _ = extracted(tmp_path, scanned(tmp_path / "a.pdf", FORMULAS, fonts=fonts))
    assert pages == []
    assert "formulas (" in failed[0]["reason"]
    assert statistics(tmp_path)["refused"] == {"with formulas": 1}


@pytest.mark.slow
def test_a_page_of_prose_is_read_from_its_layer_and_from_a_scan(tmp_path: Path) -> None:
    documents = [drawn(tmp_path / f"{fonts}.pdf", PROSE, fonts=fonts) for fonts in ("cm", "stix")]
    pages, failed, _ = extracted(tmp_path, *documents, scanned(tmp_path / "z.pdf", PROSE, size=10))
    assert failed == []
    assert [page["by"] for page in pages] == ["text layer", "text layer", "ocr"]
    assert all("98" in page["text"] and "42" in page["text"] for page in pages)
    assert statistics(tmp_path) == {"read": {"text layer": 2, "ocr": 1}, "sent": 0, "refused": {}, "cost": 0.0}


KINDS = ("10^3", "2^{10}", "x^2", "\\frac{3}{4}", "\\sqrt{2}", "a_n", "\\int_0^1 x dx", "\\sum_{k=1}^n k")


@pytest.mark.parametrize("fonts", FAMILIES)
@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_each_kind_of_formula_is_seen_in_the_ink_of_its_line(fonts: str, blur: float) -> None:
    texts = [f"Let the value ${formula}$ be given; find its double by hand." for formula in KINDS]
    assert [text for text in texts if not examined(text, fonts, blur).formulas] == []


@pytest.mark.parametrize("fonts", FAMILIES)
@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_no_formula_is_seen_in_a_line_of_prose(fonts: str, blur: float) -> None:
    texts = [*filter(None, PROSE.split("\n")), "A shop sells 3 pens (of 12) - a 15% discount - to Jay's!"]
    assert {text: found for text in texts if (found := examined(text, fonts, blur)) != ([], None)} == {}


MORE_KINDS = (*KINDS, "5^{-1}", "n^k", "\\frac{a+b}{2}", "x_1", "\\binom{5}{2}")
MORE_PROSE = (
    *filter(None, PROSE.split("\n")),
    "A shop sells 3 pens (of 12) - a 15% discount - to Jay's!",
    "Joy's quay, jumping gypsy: 2020 - 19 = 2001; pair (p, q) of them.",
    "Which is prime: (A) 91, (B) 97; (C) 111? [Hint: try 7.]",
)


@pytest.mark.slow
@pytest.mark.parametrize(("blur", "least", "most"), [(0.0, 152, 8), (0.8, 150, 8), (1.2, 130, 25)])
def test_how_many_lines_are_told_by_their_ink(blur: float, least: int, most: int) -> None:
    """Of 156 lines with one formula, 8 to 14 points at 200 dots per inch, and of 144 lines of prose; -s prints the counts."""
    sizes = [(fonts, size) for fonts in FAMILIES for size in (8, 10, 12, 14)]
    texts = [f"Let the value ${formula}$ be given; find its double by hand." for formula in MORE_KINDS]
    seen = sum(bool(examined(text, fonts, blur, size).formulas) for text in texts for fonts, size in sizes)
    mistaken = sum(bool(examined(text, fonts, blur, size).formulas) for text in MORE_PROSE for fonts, size in sizes)
    print(
        f"blur {blur}: {seen} of {len(texts) * len(sizes)} formulas, {mistaken} of {len(MORE_PROSE) * len(sizes)} prose"
    )
    assert seen >= least
    assert mistaken <= most


def examined(text: str, fonts: str, blur: float, size: float = 12) -> ink.Inked:
    """A line of which the OCR has read the text without the formula's layout."""
    image, box = line_of(text, fonts=fonts, size=size, blur=blur)
    return ink.examine(image, [Piece(text.replace("^", "").replace("\\", "").replace("$", ""), *box, 1.0)])


def test_a_line_that_the_ocr_left_out_most_of_is_unread() -> None:
    image, box = line_of("How much is 12 + 30, the sum of two numbers?", fonts="cm", size=12)
    assert ink.examine(image, [Piece("12 + 0?", *box, 0.93)]).unread == "most of a line, of which it read '12 + 0?'"
    assert str(ink.examine(image, []).unread).endswith("pieces of ink of a letter's size that are in no line")


DIGITS = {str(digit): str((digit + 3) % 10) for digit in range(10)}
LETTERS = {chr(97 + place): chr(97 + (place + 5) % 26) for place in range(26)}


@pytest.mark.slow
@pytest.mark.parametrize("change", [DIGITS, LETTERS], ids=["digits", "letters"])
def test_a_text_layer_with_a_wrong_glyph_map_is_not_believed(tmp_path: Path, change: dict[str, str]) -> None:
    document = mapped(tmp_path / "a.pdf", PROSE, change)
    [believed], _, _ = extracted(tmp_path / "before", document, check_layer=False)
    assert believed["by"] == "text layer"
    assert "divisible by 7" not in believed["text"]
    [page], failed, _ = extracted(tmp_path, document)
    assert failed == []
    assert page["by"] == "ocr"
    assert "divisibleby7" in page["text"].replace(" ", "")
    assert "98" in page["text"]


@pytest.mark.slow
def test_what_is_drawn_beside_a_text_layer_is_read_or_refused(tmp_path: Path) -> None:
    """A layer of plain words above the image of a page with formulas, and above one of prose that it does not have."""
    documents = [under_a_layer(tmp_path / "a.pdf", FORMULAS), under_a_layer(tmp_path / "b.pdf", PROSE)]
    [page], [failed], _ = extracted(tmp_path, *documents)
    assert failed["id"] == "a.pdf#1"
    assert "formulas (" in failed["reason"]
    assert page["by"] == "ocr"
    assert "98" in page["text"]


def test_a_wrong_map_is_told_by_the_letters_the_digits_or_the_numbers() -> None:
    text = "There are 14 of them: 98 = 7 x 14, and 25 + 17 = 42, 31 + 52 = 83."
    assert disagreement(text, text.replace(" ", "")) is None
    assert "letters" in str(disagreement("".join(LETTERS.get(char, char) for char in text), text))
    assert "digits" in str(disagreement(f"{PROSE} 11111111", PROSE))
    longer = f"{PROSE} They are to be added by hand, one after the other. {PROSE}"
    assert "numbers" in str(disagreement(longer, re.sub(r"\d\d", lambda number: number[0][::-1], longer)))
    assert disagreement(text, text.replace("83", "88")) is None


def seeing(sure: float, text: str = "Find the sum.") -> Reader:
    def look(image: Image) -> Seen:
        return Seen(text, sure, (Piece(text, 0, 0, 9, 9, sure),))

    return look


@pytest.mark.parametrize(
    ("sure", "text", "taken"),
    [(0.81, "Find the sum.", True), (0.79, "Find the sum.", False), (0.99, "求103的值。", False)],
)
def test_a_scan_is_refused_where_the_ocr_is_not_sure_of_a_line_or_reads_chinese(
    tmp_path: Path, sure: float, text: str, taken: bool
) -> None:
    with Output(tmp_path / "pages.jsonl") as output:
        extraction = Extraction(output, Rules(ocr_confidence=0.8), load=lambda: seeing(sure, text))
        extraction.run({"a.pdf": scanned(tmp_path / "a.pdf", "")})
    assert extraction.statistics.read == ({"ocr": 1} if taken else {})
    assert extraction.statistics.refused == ({} if taken else {"with an OCR that is not sure": 1})


def test_a_full_disk_gets_one_line_and_the_next_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [drawn(tmp_path / f"{name}.pdf", PROSE) for name in "ab"]
    add = Output.add

    def full_after_one(output: Output, *records: Record) -> None:
        if output.written:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(output, *records)

    with monkeypatch.context() as patched:
        patched.setattr(Output, "add", full_after_one)
        with pytest.raises(UserError, match=r"cannot write .*pages\.jsonl: No space left on device; make room"):
            extracted(tmp_path, *documents, check_layer=False)
    pages, _, said = extracted(tmp_path, *documents, check_layer=False)
    assert [page["id"] for page in pages] == ["a.pdf#1", "b.pdf#1"]
    assert "1 were there, 1 written" in said


ENCRYPTED = b"""%%PDF-1.4
1 0 obj
<</Type /Catalog /Pages 2 0 R>>
endobj
2 0 obj
<</Type /Pages /Kids [] /Count 0>>
endobj
3 0 obj
<</Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s>>>
endobj
trailer
<</Root 1 0 R /Encrypt 3 0 R /ID [<00> <00>] /Size 4>>
""" % (b"00" * 32, b"11" * 32)


def test_documents_that_cannot_be_opened_are_counted_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(ENCRYPTED)
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 and no more")
    (tmp_path / "c.png").write_bytes(b"no image")
    _, failed, said = extracted(tmp_path, *(tmp_path / name for name in ("a.pdf", "b.pdf", "c.png")))
    reasons = {page["id"]: page["reason"] for page in failed}
    assert reasons["a.pdf"] == "encrypted; take the password off first"
    assert reasons["b.pdf"].startswith("no PDF that can be opened")
    assert "cannot identify image file" in reasons["c.png"]
    assert "refused: 3 unreadable" in said
