"""From documents to pairs: real PDFs and images, the real OCR, and the headings of many kinds of text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.cot.documents import documents_in
from sctir_kaggle.recipes.data.cot.layer import readable, tidy
from sctir_kaggle.recipes.data.cot.ocr import Piece, Reader, Seen, assemble, load_reader
from sctir_kaggle.recipes.data.cot.pages import Extraction, Rules
from sctir_kaggle.recipes.data.cot.pairs import headings_of, pairs_in, segment, texts_of
from sctir_kaggle.recipes.data.cot.records import Output, Record, read_records
from sctir_kaggle.recipes.data.cot.rewriting import windows
from sctir_kaggle.types import UserError

PAGES = (
    "Problem 1. How many integers between 1 and 100\nare divisible by 7?\n\nSolution. They are 7, 14, ..., 98: there are 14.",
    "Problem 2. Find the sum of the first ten odd numbers.\n\nSolution. It is 10 squared, which is 100.",
)


def draw(path: Path, pages: Sequence[str], *, suffix: str = ".pdf") -> Path:
    """A real PDF with a text layer, or with another `suffix` an image of the first page."""
    backend = pytest.importorskip("matplotlib.backends.backend_pdf", reason="pip install matplotlib")
    from matplotlib.figure import Figure

    figures = []
    for text in pages:
        figures.append(Figure(figsize=(8.3, 5.8)))
        figures[-1].text(0.08, 0.9, text, va="top", size=13)
    if suffix != ".pdf":
        figures[0].savefig(path, dpi=150)
        return path
    with backend.PdfPages(path) as pdf:
        for figure in figures:
            pdf.savefig(figure)
    return path


def scan(path: Path, pages: Sequence[str]) -> Path:
    """A PDF that holds images of pages, and no text."""
    image = pytest.importorskip("PIL.Image", reason="pip install pillow")
    drawn = [
        image.open(draw(path.with_name(f"{n}.png"), [text], suffix=".png")).convert("RGB")
        for n, text in enumerate(pages)
    ]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], resolution=150)
    return path


def never() -> Reader:
    raise AssertionError("no page here needs OCR")


def extracted(
    places: Sequence[Path], output: Path, load: Callable[[], Reader], *, check_layer: bool = False
) -> list[Record]:
    with Output(output) as found:
        Extraction(found, Rules(check_layer=check_layer), load=load).run(documents_in(places))
    return list(read_records(output, ["text"]))


@pytest.fixture(scope="session")
def reader() -> Reader:
    """The real OCR; loading it takes seconds."""
    pytest.importorskip("rapidocr", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    pytest.importorskip("onnxruntime", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    return load_reader()


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    pytest.importorskip("pypdfium2", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    return draw(tmp_path / "contest.pdf", PAGES)


def test_the_text_layer_of_a_pdf_is_used_where_it_has_one(pdf: Path, tmp_path: Path) -> None:
    pages = extracted([pdf], tmp_path / "pages.jsonl", never)
    assert [(page["id"], page["by"]) for page in pages] == [
        ("contest.pdf#1", "text layer"),
        ("contest.pdf#2", "text layer"),
    ]
    assert "divisible by 7?\nSolution. They are 7" in pages[0]["text"]


def test_a_scan_is_read_by_the_real_ocr(pdf: Path, tmp_path: Path, reader: Reader) -> None:
    path = scan(tmp_path / "scan.pdf", PAGES)
    pages = extracted([path], tmp_path / "pages.jsonl", lambda: reader)
    assert [page["by"] for page in pages] == ["ocr", "ocr"]
    assert all(page["sure"] > 0.9 for page in pages)
    found = pairs_in("\n".join(page["text"] for page in pages))
    assert [tight(pair.problem) for pair in found] == [
        "Howmanyintegersbetween1and100aredivisibleby7?",
        "Findthesumofthefirsttenoddnumbers.",
    ]
    assert [tight(pair.solution) for pair in found] == ["Theyare7,14,...,98:thereare14.", "Itis10squared,whichis100."]


def tight(text: str) -> str:
    """Without spaces, some of which this OCR passes over."""
    return "".join(text.split())


def test_an_image_is_read_by_the_real_ocr(pdf: Path, tmp_path: Path, reader: Reader) -> None:
    path = draw(tmp_path / "page.png", [PAGES[1]], suffix=".png")
    [page] = extracted([path], tmp_path / "pages.jsonl", lambda: reader)
    assert tight(page["text"]).startswith("Problem2.Findthesumofthefirsttenoddnumbers.")


def test_an_empty_page_has_no_text(pdf: Path, tmp_path: Path, reader: Reader) -> None:
    [page] = extracted([draw(tmp_path / "page.png", [""], suffix=".png")], tmp_path / "pages.jsonl", lambda: reader)
    assert (page["text"], page["sure"]) == ("", 0.0)


def test_a_page_that_is_there_is_not_read_again(pdf: Path, tmp_path: Path) -> None:
    place = draw(tmp_path / "page.png", ["x"], suffix=".png")
    seen: list[Any] = []

    def look(image: Any) -> Seen:
        seen.append(image.size)
        return Seen("a page", 1.0)

    for _ in range(2):
        extracted([place], tmp_path / "pages.jsonl", lambda: look)
    assert len(seen) == 1


def test_a_broken_document_is_noted_and_the_others_go_on(pdf: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert len(extracted([tmp_path], tmp_path / "out" / "pages.jsonl", never)) == 2
    failed = (tmp_path / "out" / "pages.failed.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in failed} == {"broken.pdf", "broken.png"}


def test_a_damaged_image_is_noted(pdf: Path, tmp_path: Path) -> None:
    path = draw(tmp_path / "page.png", [PAGES[0]], suffix=".png")
    path.write_bytes(path.read_bytes()[:3000])
    assert extracted([path], tmp_path / "pages.jsonl", never) == []
    assert json.loads((tmp_path / "pages.failed.jsonl").read_text())["id"] == "page.png#1"


def test_two_documents_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.pdf").touch()
    with pytest.raises(UserError, match=r"two documents are called x\.pdf"):
        documents_in([tmp_path / "a", tmp_path / "b"])
    assert set(documents_in([tmp_path])) == {"a/x.pdf", "b/x.pdf"}


def test_a_text_layer_without_meaning_or_nearly_without_letters_is_not_used() -> None:
    assert readable("Find the sum of the first ten odd numbers.")
    assert not readable("- 17 -")
    assert not readable("\ue001\ue002 \ue003" * 20 + "Find the sum of the first ten odd numbers.")


def test_a_hyphen_at_the_end_of_a_line_goes() -> None:
    assert tidy("divi\ufffe\r\nsible by 7\r\n") == "divisible by 7"


def test_pieces_of_one_line_stand_from_left_to_right() -> None:
    pieces = [Piece("two", 50, 11, 90, 21, 0.8), Piece("three", 0, 30, 40, 40, 0.9), Piece("one", 0, 10, 40, 20, 1.0)]
    assert assemble(pieces).text == "one two\nthree"
    assert assemble(pieces).sure == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Problem 1. A?\nSolution. B.\nProblem 2. C?\nProof: D.", [("A?", "B."), ("C?", "D.")]),
        ("Problem 1. A?\nProblem 2. C?\nSolution to Problem 2: D.\nSolution 1. B.", [("A?", "B."), ("C?", "D.")]),
        ("1. A?\n2. C?\nSolutions\n1. B.\n2. D.", [("A?", "B."), ("C?", "D.")]),
        (
            "1) A? 3. is odd\n7. is not next\n2) C?\nSOLUTIONS:\n1) B.\n2) D.",
            [("A? 3. is odd\n7. is not next", "B."), ("C?", "D.")],
        ),
        ("Задача 5. A?\nРешение. B.\nЗадача 6. C?\nРешение. D.", [("A?", "B."), ("C?", "D.")]),
        (
            "Problem 1. A?\nSolution 1. B.\nSolution 2. b\nProblem 2. C?\nSolution 1. D.\nSolution 2. d",
            [("A?", "B."), ("C?", "D.")],
        ),
        ("## Aufgabe 1\nA?\n**Lösung.** B.", [("A?", "B.")]),
    ],
)
def test_pairs_are_found_by_their_headings(text: str, pairs: list[tuple[str, str]]) -> None:
    assert [(pair.problem, pair.solution) for pair in pairs_in(text)] == pairs


def test_a_stated_answer_is_kept_apart_from_the_solution() -> None:
    [pair] = pairs_in("Problem 1. A?\nAnswer: 14.\nSolution. B.")
    assert (pair.answer, pair.solution) == ("14", "B.")


@pytest.mark.parametrize(
    "text", ["Problem-solving is fun", "Example 3 shows it", "the solution 2 is", "12.5 is a number"]
)
def test_a_line_that_only_begins_like_a_heading_is_none(text: str) -> None:
    assert headings_of(text) == []


def test_a_pair_may_go_over_a_page_with_its_number(tmp_path: Path) -> None:
    pages = [
        {"id": "d#1", "document": "d", "page": 1, "text": "Problem 1. A\n- 1 -"},
        {"id": "d#2", "document": "d", "page": 2, "text": "2\nor B?\nSolution. C."},
    ]
    assert list(texts_of(pages)) == [("d", "Problem 1. A\nor B?\nSolution. C.")]


def page(number: int, text: str, of: int = 3, document: str = "d") -> Record:
    return {"id": f"{document}#{number}", "document": document, "page": number, "pages": of, "text": text}


GAPPED = [
    page(1, "Problem 1. A?\nSolution. B.\nProblem 2. C"),
    page(3, "Solution. D.\nProblem 3. E?\nSolution. F.", of=4),
]


def test_a_pair_that_goes_over_a_missing_page_is_noted(tmp_path: Path) -> None:
    with Output(tmp_path / "pairs.jsonl") as output:
        segment(GAPPED, output)
    assert [record["problem"] for record in read_records(tmp_path / "pairs.jsonl", ["problem"])] == ["A?"]
    failed = [json.loads(line) for line in (tmp_path / "pairs.failed.jsonl").read_text().splitlines()]
    assert [one["reason"] for one in failed] == [
        "problem 2 goes over a page that is missing",
        "problem 3 goes over a page that is missing",
    ]


def test_a_window_for_the_model_ends_where_a_page_is_missing() -> None:
    pages = [page(1, "a"), page(2, "b"), page(4, "c"), page(5, "d")]
    assert list(windows(pages, 3)) == ["a\nb", "c\nd"]


def test_pages_that_were_read_later_stand_in_their_place_among_those_of_other_documents() -> None:
    pages = [page(2, "b", of=2), page(1, "x", of=1, document="e"), page(1, "a", of=2)]
    assert dict(texts_of(pages)) == {"d": "a\nb", "e": "x"}


def test_pairs_of_other_pages_are_not_mixed_with_those_that_are_there(tmp_path: Path) -> None:
    with Output(tmp_path / "pairs.jsonl") as output:
        segment([page(2, "Problem 2. C?\nSolution. D.", of=2)], output)
    with (
        Output(tmp_path / "pairs.jsonl") as output,
        pytest.raises(UserError, match=r"was made from other pages of d; remove"),
    ):
        segment([page(1, "Problem 1. A?\nSolution. B.", of=2), page(2, "Problem 2. C?\nSolution. D.", of=2)], output)


def test_a_problem_without_a_solution_is_noted(tmp_path: Path) -> None:
    with Output(tmp_path / "pairs.jsonl") as output:
        segment(
            [{"id": "d#1", "document": "d", "page": 1, "text": "Problem 1. A?\nProblem 2. C?\nSolution. D."}], output
        )
    assert [record["id"] for record in read_records(tmp_path / "pairs.jsonl", ["problem"])] == ["d:2"]
    assert json.loads((tmp_path / "pairs.failed.jsonl").read_text())["reason"] == "problem 1 has no solution"
