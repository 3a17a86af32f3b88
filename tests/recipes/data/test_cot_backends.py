"""Back ends that read formulas: Mathpix's API at a fake server, and programs with the command lines of the real ones."""

from __future__ import annotations

import base64
import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.cot.formulas.backend import Recognized, has_formula, lacks_power
from sctir_kaggle.recipes.data.cot.formulas.mathpix import KEYS, MOST, Mathpix
from sctir_kaggle.recipes.data.cot.records import Record, Rejected
from sctir_kaggle.recipes.data.cot_data import Settings, main, run_step
from sctir_kaggle.types import EngineError, UserError
from tests.support.drawn_pages import FORMULAS, PROSE, drawn, mapped, scanned
from tests.support.json_server import JsonServer

pytest.importorskip("pypdfium2", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
pytest.importorskip("httpx", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
pytest.importorskip("matplotlib", reason="pip install matplotlib")
image = pytest.importorskip("PIL.Image", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS[0], "an-id")
    monkeypatch.setenv(KEYS[1], "a-key")


def answer(text: str = FORMULAS, sure: float = 0.97, **more: Any) -> Any:
    """What v3/text answers, as documented."""
    return {"request_id": "r", "text": text, "confidence": 0.5, "confidence_rate": sure, "is_printed": True, **more}


def failure(id: str, **details: Any) -> Any:
    return {"error": f"The error {id}", "error_info": {"id": id, "message": f"The error {id}", **details}}


AT_ONCE = {"retry-after": "0"}


def by_mathpix(folder: Path, server: JsonServer, *documents: Path, **fields: Any) -> str:
    """Extract without the check of the layer, which these pages with formulas do not reach."""
    url = server.url.removesuffix("/v1")
    given = {"formulas": "mathpix", "formula_url": url, "documents": documents, "check_layer": False, **fields}
    return run_step("extract", Settings(folder=folder, **given))


def pages_in(folder: Path, count: int, text: str = FORMULAS) -> list[Path]:
    return [drawn(folder / f"{number}.pdf", text) for number in range(count)]


@pytest.mark.usefixtures("keys")
def test_mathpix_reads_the_page_as_its_api_is_documented_and_the_values_survive(tmp_path: Path) -> None:
    documents = [drawn(tmp_path / "a.pdf", FORMULAS), drawn(tmp_path / "b.pdf", PROSE)]
    with JsonServer(lambda body: answer()) as server:
        said = by_mathpix(tmp_path / "out", server, *documents, page_price=0.002)
        again = by_mathpix(tmp_path / "out", server, *documents)
    assert server.paths == ["/v3/text"]
    assert (server.headers[0]["app_id"], server.headers[0]["app_key"]) == ("an-id", "a-key")
    [body] = server.bodies
    kind, data = body["src"].split(",")
    assert kind == "data:image/png;base64"
    assert image.open(io.BytesIO(base64.b64decode(data))).width == 1660
    assert (body["formats"], body["math_inline_delimiters"]) == (["text"], ["$", "$"])
    pages = {page["id"]: page for page in read(tmp_path / "out" / "pages.jsonl")}
    assert {name: page["by"] for name, page in pages.items()} == {"a.pdf#1": "mathpix", "b.pdf#1": "text layer"}
    assert (pages["a.pdf#1"]["text"], pages["a.pdf#1"]["sure"]) == (FORMULAS, 0.97)
    assert "1 by text layer, 1 by mathpix; sent to a formula back end: 1; refused: none; cost 0.00" in said
    assert "sent to a formula back end: 0" in again
    statistics = json.loads((tmp_path / "out" / "pages.statistics.json").read_text())
    assert statistics == {"read": {"text layer": 1, "mathpix": 1}, "sent": 0, "refused": {}, "cost": 0.0}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("reply", "reason", "read_next_time"),
    [
        (answer(sure=0.79), "mathpix's confidence is 0.79", "without a request"),
        (answer("The sum of 103 and 210."), "mathpix's text has no formula", "never"),
        (answer("The sum of 103 and $2^{10}$."), "mathpix's text lacks 10^3", "never"),
        (failure("image_no_content"), "Mathpix: The error image_no_content", "by a request"),
        ({"request_id": "r"}, "an answer without a text", "by a request"),
    ],
    ids=["unsure", "no-formula", "lost-power", "an-error", "no-text"],
)
def test_an_answer_that_may_have_lost_a_value_is_refused_and_kept(
    tmp_path: Path, reply: Any, reason: str, read_next_time: str
) -> None:
    replies = [reply, answer()]
    with JsonServer(lambda body: replies.pop(0)) as server:
        said = by_mathpix(tmp_path / "out", server, *pages_in(tmp_path, 1))
        assert reason in read(tmp_path / "out" / "pages.failed.jsonl")[0]["reason"]
        assert read(tmp_path / "out" / "pages.jsonl") == []
        assert "refused: 1 " in said
        for _ in range(2):
            by_mathpix(tmp_path / "out", server, *pages_in(tmp_path, 1), formula_confidence=0.7)
    assert len(server.bodies) == 1 + (read_next_time == "by a request")
    assert len(read(tmp_path / "out" / "pages.jsonl")) == (read_next_time != "never")


@pytest.mark.usefixtures("keys")
def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    busy = failure("http_max_requests", limit_name="page_monthly_limit")
    replies = [(429, busy, AT_ONCE), (200, failure("sys_exception"), AT_ONCE), (502, {}, AT_ONCE), answer()]
    with JsonServer(lambda body: replies.pop(0)) as server:
        by_mathpix(tmp_path / "out", server, *pages_in(tmp_path, 1))
    assert [page["by"] for page in read(tmp_path / "out" / "pages.jsonl")] == ["mathpix"]


@pytest.mark.usefixtures("keys")
def test_one_page_that_the_server_fails_on_does_not_end_the_step(tmp_path: Path) -> None:
    def fails_on_large_pages(body: Any) -> Any:
        page = image.open(io.BytesIO(base64.b64decode(body["src"].split(",")[1])))
        return (500, {}, AT_ONCE) if page.width > 100 else answer("$x$")

    with JsonServer(fails_on_large_pages) as server:
        one, other = Mathpix.open(server.url.removesuffix("/v1")).read(
            [image.new("L", (101, 9)), image.new("L", (99, 9))]
        )
    assert isinstance(one, Rejected)
    assert "5 requests for a page: status 500" in str(one)
    assert other == Recognized("$x$", 0.97)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, failure("http_unauthorized"), {}), "Mathpix refuses the keys MATHPIX_APP_ID and MATHPIX_APP_KEY"),
        ((503, {}, AT_ONCE), "5 requests for a page: status 503; start the step again later"),
    ],
    ids=["401", "503"],
)
def test_a_server_that_refuses_or_fails_ends_the_step_and_what_was_read_stays(
    tmp_path: Path, reply: Any, message: str
) -> None:
    documents = [drawn(tmp_path / "a.pdf", PROSE), *pages_in(tmp_path, 2)]
    with JsonServer(lambda body: reply) as server, pytest.raises(EngineError, match=message):
        by_mathpix(tmp_path / "out", server, *documents)
    assert [page["by"] for page in read(tmp_path / "out" / "pages.jsonl")] == ["text layer"]
    assert json.loads((tmp_path / "out" / "pages.statistics.json").read_text())["sent"] == 2


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("most", [0, 2])
def test_no_more_pages_are_sent_than_allowed(tmp_path: Path, most: int) -> None:
    with JsonServer(lambda body: answer()) as server:
        by_mathpix(tmp_path / "out", server, *pages_in(tmp_path, 3), formula_pages=most)
    assert len(server.bodies) == most
    failed = read(tmp_path / "out" / "pages.failed.jsonl")
    assert len(failed) == 3 - most
    assert f"formula_pages={most} were sent already" in failed[-1]["reason"]


def test_without_keys_or_with_no_address_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: None
) -> None:
    for url in ("not an address", "ftp://x", "http://"):
        with pytest.raises(UserError, match="is no address; --set formula_url=https://HOST"):
            Mathpix.open(url)
    monkeypatch.delenv(KEYS[1])
    with pytest.raises(UserError, match=r"export MATHPIX_APP_ID=\.\.\. MATHPIX_APP_KEY"):
        main(["extract", "--config", "cot_data.yaml", "--set", "formulas=mathpix", f"folder={tmp_path}"])


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_an_image_that_is_too_large_for_the_api_is_made_smaller(tmp_path: Path) -> None:
    noise = image.effect_noise((1800, 1800), 90).convert("RGB")
    with JsonServer(lambda body: answer()) as server:
        assert len(Mathpix.open(server.url.removesuffix("/v1")).read([noise])) == 1
    kind, data = server.bodies[0]["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    assert len(data) <= MOST


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_a_wrong_glyph_map_and_a_scan_with_formulas_are_sent_and_the_layer_s_wrong_powers_are_not_asked_for(
    tmp_path: Path,
) -> None:
    pytest.importorskip("rapidocr", reason="needs the extra `data`: pip install 'sctir-kaggle[data]'")
    digits = {str(digit): str((digit + 3) % 10) for digit in range(10)}
    documents = [
        mapped(tmp_path / "a.pdf", PROSE, digits),
        mapped(tmp_path / "b.pdf", FORMULAS, digits),
        scanned(tmp_path / "c.pdf", FORMULAS),
    ]
    with JsonServer(lambda body: answer()) as server:
        by_mathpix(tmp_path / "out", server, *documents, check_layer=True)
    assert read(tmp_path / "out" / "pages.failed.jsonl") == []
    assert [page["by"] for page in read(tmp_path / "out" / "pages.jsonl")] == ["mathpix"] * 3


PROGRAM = """#!{python}
import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
add = parser.add_argument
{parser}
args = parser.parse_args()
for page in {pages}:
    page = pathlib.Path(page)
    assert page.read_bytes().startswith(b"%PDF")
    {before}
    target = pathlib.Path({target})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text({text!r})
"""

KINDS = {
    "mineru": (
        """
add("command", choices=["parse"])
add("inputs", nargs="+")
add("-o", required=True)
add("--tier", choices=["flash", "basic", "standard", "advanced"])
add("--ocr-mode", choices=["auto", "txt", "ocr"])
""",
        "args.inputs",
        "args.o + '/' + page.stem + '.md'",
    ),
    "marker": (
        """
add("in_folder")
add("--output_dir")
add("--output_format", choices=["markdown", "json", "html", "chunks"])
add("--mode", choices=["balanced", "fast"])
add("--force_ocr", action="store_true")
add("--disable_image_extraction", action="store_true")
""",
        "sorted(pathlib.Path(args.in_folder).iterdir())",
        "args.output_dir + '/' + page.stem + '/' + page.stem + '.md'",
    ),
    "docling": (
        """
add("source", nargs="+")
add("--to", choices=["md", "json", "yaml", "html", "text", "doctags"])
add("--pipeline", choices=["standard", "vlm"])
add("--vlm-model")
add("--image-export-mode", choices=["placeholder", "embedded", "referenced"])
add("--output")
""",
        "args.source",
        "args.output + '/' + page.stem + '.md'",
    ),
    "olmocr": (
        """
add("workspace")
add("--pdfs", nargs="*")
add("--markdown", action="store_true")
""",
        "args.pdfs",
        "args.workspace + '/markdown/' + str(page).lstrip('/')[:-4] + '.md'",
    ),
}
"""Of each program: the arguments that it has, the pages that it reads, and where it writes."""


def program(path: Path, kind: str, *, before: str = "pass", text: str = FORMULAS) -> Path:
    parser, pages, target = KINDS[kind]
    fields = {"parser": parser, "pages": pages, "target": target, "before": before, "text": text}
    path.write_text(PROGRAM.format(python=sys.executable, **fields))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def by_program(folder: Path, kind: str, made: Path, *documents: Path, **fields: Any) -> str:
    given = {"formulas": kind, "formula_program": made, "documents": documents, "check_layer": False, **fields}
    return run_step("extract", Settings(folder=folder, **given))


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_is_started_once_with_its_own_arguments_and_read_where_it_writes(tmp_path: Path, kind: str) -> None:
    started = tmp_path / "started"
    made = program(tmp_path / kind, kind, before=f"open({str(started)!r}, 'a').write(sys.argv[0] + chr(10))")
    by_program(tmp_path / "out", kind, made, *pages_in(tmp_path, 3))
    pages = read(tmp_path / "out" / "pages.jsonl")
    assert [(page["id"], page["by"], page["sure"], page["text"]) for page in pages] == [
        (f"{number}.pdf#1", kind, None, FORMULAS) for number in range(3)
    ]
    assert len(started.read_text().splitlines()) == 3


def test_a_program_s_text_that_lost_a_power_is_refused(tmp_path: Path) -> None:
    made = program(tmp_path / "marker", "marker", text="The sum of 103 and $x_1$ and $2^{10}$")
    said = by_program(tmp_path / "out", "marker", made, *pages_in(tmp_path, 1))
    assert "refused: 1 whose answer of marker was not taken" in said
    assert "marker's text lacks 10^3" in read(tmp_path / "out" / "pages.failed.jsonl")[0]["reason"]


def test_a_page_that_a_program_fails_on_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    made = program(tmp_path / "mineru", "mineru", before="sys.exit('no room') if page.stem == '1' else 0")
    by_program(tmp_path / "out", "mineru", made, *pages_in(tmp_path, 4))
    assert [page["id"] for page in read(tmp_path / "out" / "pages.jsonl")] == ["0.pdf#1", "2.pdf#1", "3.pdf#1"]
    [failed] = read(tmp_path / "out" / "pages.failed.jsonl")
    assert "mineru-kit ended with status 1: no room" in failed["reason"]


FAILING: list[tuple[str, dict[str, Any], str]] = [
    ("sys.exit('no model')", {}, "docling ended with status 1: no model"),
    ("time.sleep(3600)", {"formula_seconds": 0.2}, "docling took longer than formula_seconds=0.2"),
]


@pytest.mark.parametrize(("before", "fields", "message"), FAILING, ids=["fails", "hangs"])
def test_a_program_that_reads_nothing_ends_the_step(
    tmp_path: Path, before: str, fields: dict[str, Any], message: str
) -> None:
    made = program(tmp_path / "docling", "docling", before=before)
    documents = [drawn(tmp_path / "a.pdf", PROSE), *pages_in(tmp_path, 3)]
    with pytest.raises(EngineError, match=message):
        by_program(tmp_path / "out", "docling", made, *documents, **fields)
    assert [page["by"] for page in read(tmp_path / "out" / "pages.jsonl")] == ["text layer"]


def test_a_program_that_is_not_there_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choices: list[dict[str, Any]] = [{}, {"formula_program": tmp_path / "none"}]
    for fields in choices:
        with pytest.raises(
            UserError, match=r"olmocr is not installed .*pip install 'olmocr\[gpu\]'.*formula_program=PATH"
        ):
            run_step("extract", Settings(folder=tmp_path, formulas="olmocr", documents=(tmp_path,), **fields))


@pytest.mark.parametrize(
    "text",
    [
        "$10^3$",
        "$10^{3}$",
        "$10^{ 3 }$",
        "10<sup>3</sup>",
        "10³",
        "$\\mathrm{10}^{3}$",
        "${10}^3$",
        "$1 0^{3}$",
        "10$^3$",
    ],
)
def test_a_power_is_found_however_it_is_written(text: str) -> None:
    assert lacks_power(f"Of {text} and more", [("10", "3")]) is None
    assert has_formula(text)


@pytest.mark.parametrize("text", ["103", "$103$", "$10^{30}$", "$110^3$", "$10_3$", "10 3"])
def test_a_power_that_is_lost_is_named(text: str) -> None:
    assert lacks_power(f"Of {text} and more", [("10", "3")]) == "10^3"


@pytest.mark.parametrize(
    "settings",
    [
        {"ocr_confidence": 1.1},
        {"formula_confidence": -1},
        {"formula_pages": -1},
        {"formula_seconds": 0},
        {"page_price": -1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_setting_outside_its_limits_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        Settings(folder=Path("x"), **settings)
