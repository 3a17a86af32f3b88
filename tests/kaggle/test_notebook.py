"""The notebook is built from its source, byte for byte; it reads as a document, holds no functions, can carry the wheel."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import lzma
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.kaggle import bundle
from sctir_kaggle.kaggle.notebook import COMMITTED, LIMIT, SOURCE, build, main
from sctir_kaggle.kaggle.settings_cell import CELL, read_cell, resolve_cell, with_settings
from sctir_kaggle.settings import all_settings
from sctir_kaggle.types import UserError


@pytest.fixture
def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(build())["cells"]
    return found


def code(cells: list[dict[str, Any]]) -> list[str]:
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def written(folder: Path, text: str) -> Path:
    source = folder / "source.py"
    source.write_text(text)
    return source


def test_the_committed_notebook_is_what_its_source_builds() -> None:
    """Else: python -m sctir_kaggle.kaggle.notebook"""
    assert COMMITTED.read_text() == build(SOURCE)


def test_its_cells_are_short_and_define_nothing(cells: list[dict[str, Any]]) -> None:
    assert max(len(text.splitlines()) for text in code(cells)) <= 30
    assert max(len(line) for text in code(cells) for line in text.splitlines()) <= 112
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for text in code(cells) for node in ast.walk(ast.parse(text)) if isinstance(node, defined)]


def test_its_cells_read_the_environment_through_the_library_once_it_is_there(cells: list[dict[str, Any]]) -> None:
    [library, *others] = code(cells)
    assert "WHEEL = " in library
    assert not [text for text in others if "environ" in text or "getenv" in text]


def test_it_tells_a_stranger_what_it_is_where_from_how_it_works_and_what_to_do_next(
    cells: list[dict[str, Any]],
) -> None:
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert texts[0].startswith("# SC-TIR")
    assert "https://huggingface.co/blog/winning-aimo-progress-prize" in texts[0]
    assert "https://huggingface.co/AI-MO/NuminaMath-7B-TIR" in texts[0]
    linked = re.findall(r"https://www\.kaggle\.com/competitions/([\w-]+)\)", texts[0])
    assert set(linked) <= {profile.slug for profile in PROFILES.values()}
    assert len(linked) >= 3
    assert "Apache-2.0" in texts[0]
    titles = [text.splitlines()[0] for text in texts[1:]]
    assert titles[:2] == ["## How an answer is found", "## Settings"]
    assert titles[-3:] == ["## One problem in detail", "## Is it worth a submission?", "## Next steps"]


def test_every_setting_of_its_cell_may_be_chosen_and_has_its_default_behind_it() -> None:
    text = SOURCE.read_text()
    free = with_settings(text, {}, source="")
    chosen = ast.literal_eval(re.sub(r"^    # ", "    ", CELL.findall(free)[0], flags=re.MULTILINE))
    assert set(chosen) <= set(all_settings())
    examples = {"competition", "engine", "preset", "model", "context_length"}
    assert {name: value for name, value in chosen.items() if name not in examples} == {
        name: all_settings()[name].default for name in chosen if name not in examples
    }
    resolve_cell({name: value for name, value in chosen.items() if name != "model"}, {})


def test_it_has_no_outputs_and_nothing_of_whoever_ran_it(cells: list[dict[str, Any]]) -> None:
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )


def test_it_is_valid_and_so_is_the_one_with_the_wheel(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra `test`")
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(bytes(range(256)) * 1000)
    for text in (build(), build(wheel=wheel)):
        nbformat.validate(nbformat.reads(text, as_version=4))


def test_the_cell_of_the_wheel_is_collapsed_at_kaggle_and_in_jupyter(cells: list[dict[str, Any]]) -> None:
    [cell] = [cell for cell in cells if "WHEEL = " in "".join(cell["source"])]
    assert cell["metadata"] == {"_kg_hide-input": True, "jupyter": {"source_hidden": True}}


def test_the_wheel_comes_out_as_it_went_in(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(bytes(range(256)) * 1000)
    [cell] = [text for text in code(json.loads(build(wheel=wheel))["cells"]) if "WHEEL = " in text]
    [assigned] = [
        node for node in ast.parse(cell).body if isinstance(node, ast.Assign) and "WHEEL" in ast.unparse(node)
    ]
    carried = ast.literal_eval(assigned.value)
    assert carried["name"] == wheel.name
    assert lzma.decompress(base64.b64decode(carried["base64"])) == wheel.read_bytes()
    assert carried["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_of_a_wheel_that_is_attached_it_holds_name_and_hash_alone(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    [cell] = [text for text in code(json.loads(build(wheel=wheel, carried=False))["cells"]) if "WHEEL = " in text]
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert f'WHEEL = {{"name": "some-1-py3-none-any.whl", "sha256": "{digest}"}}' in cell.splitlines()


def test_a_notebook_that_kaggle_would_refuse_for_its_size_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(os.urandom(740_000))
    with pytest.raises(UserError, match=r"the notebook has 1,0\d\d,\d{3} bytes, Kaggle takes less than 1,000,000"):
        build(wheel=wheel)


def test_with_the_largest_wheel_that_a_bundle_may_be_it_is_small_enough(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(os.urandom(bundle.LIMIT - 1000))  # cannot be packed
    assert len(build(wheel=wheel)) < LIMIT


def test_nothing_but_the_payload_differs_with_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    without, filled = json.loads(build()), json.loads(build(wheel=wheel))
    differ = [a["id"] for a, b in zip(without["cells"], filled["cells"], strict=True) if a != b]
    [library] = [cell["id"] for cell in without["cells"] if "WHEEL = {}" in "".join(cell["source"])]
    assert differ == [library]


def test_settings_go_into_their_lines_and_the_comments_stay() -> None:
    settings = {"competition": "aimo3", "candidates": 8, "stop": "k=4", "engine_options": {"enforce_eager": True}}
    written = with_settings(SOURCE.read_text(), settings, source="submission.py")
    assert read_cell(written) == {**(read_cell(SOURCE.read_text()) or {}), **settings}
    lines = CELL.findall(written)[0].splitlines()
    assert '    "candidates": 8,  # N: attempts a problem' in lines
    assert [line for line in lines if line.startswith('    "stop": "k=4",  # when a vote is decided')]
    assert lines[-2:] == ["    \"engine_options\": {'enforce_eager': True},", "}"]
    assert '    # "turns": 4,' in "".join(lines)
    assert with_settings(written, {"candidates": 9}, source="") == written.replace(
        '"candidates": 8,', '"candidates": 9,'
    )


def test_a_cell_on_one_line_takes_settings_too() -> None:
    text = 'x = 1\nSETTINGS = {"competition": "aimo1"}\ny = {"z": 2}\n'
    assert with_settings(text, {"turns": 2}, source="") == text.replace('aimo1"}', 'aimo1", "turns": 2}')
    assert read_cell(text) == {"competition": "aimo1"}


@pytest.mark.parametrize("number", [0, 2])
def test_a_source_without_one_cell_of_settings_is_refused(number: int) -> None:
    with pytest.raises(UserError, match=f"mine.py needs one `SETTINGS = .*` for the settings, not {number}"):
        with_settings("SETTINGS = {}\n" * number, {"turns": 2}, source="mine.py")


@pytest.mark.parametrize(
    ("name", "accelerator", "source"),
    [("aimo1", "nvidiaTeslaT4", 73231), ("aimo2", "nvidiaL4", 86023), ("aimo3", "nvidiaH100", 118448)],
)
def test_imported_by_the_web_page_it_asks_for_the_competitions_files_and_machine(
    name: str, accelerator: str, source: int
) -> None:
    kaggle = json.loads(build(settings={"competition": name}))["metadata"]["kaggle"]
    assert kaggle["dataSources"] == [{"sourceId": source, "sourceType": "competition"}]
    assert (kaggle["accelerator"], kaggle["isGpuEnabled"], kaggle["isInternetEnabled"]) == (accelerator, True, False)
    assert json.loads(build())["metadata"]["kaggle"]["accelerator"] == "nvidiaTeslaT4"


@pytest.mark.slow
def test_two_builds_are_the_same(tmp_path: Path) -> None:
    main(["--wheel", "--output", str(tmp_path / "first.ipynb")])
    main(["--wheel", "--output", str(tmp_path / "second.ipynb")])
    assert (tmp_path / "first.ipynb").read_bytes() == (tmp_path / "second.ipynb").read_bytes()


def test_percent_cells_become_cells(tmp_path: Path) -> None:
    text = '# %% [markdown]\n# # Title\n#\n# text\n\n# %% [code] {"tags": ["a"]}\nWHEEL = {}\n\n# %%\nprint(1)\n'
    first, second, third = json.loads(build(written(tmp_path, text)))["cells"]
    assert (first["cell_type"], "".join(first["source"])) == ("markdown", "# Title\n\ntext")
    assert (second["metadata"], second["source"]) == ({"tags": ["a"]}, ["WHEEL = {}"])
    assert (third["cell_type"], third["source"]) == ("code", ["print(1)"])


@pytest.mark.parametrize("head", ["# %% [raw]", "# %% [code] {broken}", "# %% a title", "# %%%"])
def test_a_head_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, head: str) -> None:
    with pytest.raises(UserError, match=r"line 2: .* starts no cell; write"):
        build(written(tmp_path, f"WHEEL = {{}}\n{head}\n"))


@pytest.mark.parametrize("lines", [0, 2])
def test_a_source_without_one_place_for_the_wheel_is_refused(tmp_path: Path, lines: int) -> None:
    with pytest.raises(UserError, match=f"needs one line `WHEEL = {{}}` for the wheel, not {lines}"):
        build(written(tmp_path, "# %%\n" + "WHEEL = {}\n" * lines))


def test_the_command_does_not_overwrite_the_committed_notebook_with_one_that_has_a_wheel(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--wheel"])
    assert "--wheel needs --output FILE" in capsys.readouterr().err
