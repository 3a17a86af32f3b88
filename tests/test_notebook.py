"""The notebook is built from its source, byte for byte; it is short, it holds no functions, and it can carry the wheel."""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.kaggle.notebook import COMMITTED, SOURCE, build, main
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


def test_it_has_at_most_eight_short_cells_without_functions(cells: list[dict[str, Any]]) -> None:
    assert len(cells) <= 8
    assert max(len(cell["source"]) for cell in cells) <= 20
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for text in code(cells) for node in ast.walk(ast.parse(text)) if isinstance(node, defined)]


def test_its_cells_read_the_environment_through_the_library_only(cells: list[dict[str, Any]]) -> None:
    assert not [text for text in code(cells) if "environ" in text or "getenv" in text]


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
    [(name, payload)] = ast.literal_eval(assigned.value).items()
    assert name == wheel.name
    assert base64.b64decode(payload) == wheel.read_bytes()


def test_nothing_but_the_payload_differs_with_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "some-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    without, filled = json.loads(build()), json.loads(build(wheel=wheel))
    differ = [a["id"] for a, b in zip(without["cells"], filled["cells"], strict=True) if a != b]
    assert differ == ["cell-2"]


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
