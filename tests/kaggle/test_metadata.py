"""kernel-metadata.json: ours is right, and `sctir push --dry-run` refuses every broken one, without a request."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.kaggle import kernel, metadata
from sctir_kaggle.kaggle.kernel import stage_kernel
from sctir_kaggle.kaggle.settings_cell import cell_settings, resolve_cell
from sctir_kaggle.types import UserError

ROOT = Path(__file__).resolve().parents[2]
MODEL = "alice/m/transformers/v"

Change = dict[str, Any]

BROKEN: dict[str, tuple[Change, str, str]] = {
    "an unknown key": ({"enable_internett": False}, "enable_internett = false", "did you mean enable_internet?"),
    "a missing key": ({"enable_internet": None}, "enable_internet is missing", 'write "enable_internet": false'),
    "internet on": ({"enable_internet": True}, "enable_internet = true", "write false"),
    "a word for a truth value": ({"is_private": "true"}, 'is_private = "true"', "true or false, without quotes"),
    "an unknown machine": ({"machine_shape": "NvidiaTeslaT5"}, '"NvidiaTeslaT5"', "did you mean NvidiaTeslaT4?"),
    "a machine that is gone": ({"machine_shape": "NvidiaTeslaP100"}, '"NvidiaTeslaP100"', "write NvidiaTeslaT4"),
    "a title for another slug": ({"title": "Another Title"}, 'title = "Another Title"', "write 'sctir kaggle'"),
    "a short title": ({"title": "ab", "id": "alice/ab"}, 'title = "ab"', "must have 5 to 50"),
    "a short slug": ({"title": "a b c", "id": "alice/ab"}, 'id = "alice/ab"', "at least 5"),
    "no owner": ({"id": "sctir-kaggle"}, 'id = "sctir-kaggle"', "must be owner/slug"),
    "a version in the id": ({"id": "alice/sctir-kaggle/3"}, 'id = "alice/sctir-kaggle/3"', "must be owner/slug"),
    "a placeholder": ({"id": "alice/INSERT_KERNEL_SLUG_HERE"}, "INSERT_KERNEL_SLUG_HERE", "write the real value"),
    "a data set without owner": ({"dataset_sources": ["wheels"]}, 'dataset_sources = "wheels"', "owner/slug/version"),
    "a model without version": ({"model_sources": [MODEL]}, f'model_sources = "{MODEL}"', "version (a number)"),
    "a model's latest": ({"model_sources": [f"{MODEL}/latest"]}, f'"{MODEL}/latest"', "version (a number)"),
    "a competition's address": ({"competition_sources": ["c/aimo"]}, '"c/aimo"', "must be the competition's slug"),
    "no competition": ({"competition_sources": []}, "competition_sources = []", "ai-mathematical-olympiad-prize"),
    "a text for a list": ({"model_sources": f"{MODEL}/1"}, f'model_sources = "{MODEL}/1"', "must be a list of texts"),
    "a file that is not there": ({"code_file": "nb.ipynb"}, 'code_file = "nb.ipynb"', "does not exist"),
    "a file that is no notebook": ({"code_file": "kernel-metadata.json"}, "code_file = ", "not a notebook"),
    "a script": ({"kernel_type": "script"}, 'kernel_type = "script"', 'write "notebook"'),
    "another language": ({"language": "r"}, 'language = "r"', 'write "python"'),
    "an image without its digest": (
        {"docker_image": "gcr.io/kaggle-gpu-images/python:v149"},
        'docker_image = "gcr.io/kaggle-gpu-images/python:v149"',
        "@sha256:... (64 digits)",
    ),
    "a Python of no image": ({"docker_image_python": "3.10"}, 'docker_image_python = "3.10"', "name the image"),
    "an image's Python as a number": ({"docker_image_python": 3.1}, "docker_image_python = 3.1", "text in quotes"),
    "another Python than the image has": (
        {
            "docker_image": f"gcr.io/kaggle-gpu-images/python@{next(iter(metadata.IMAGES))}",
            "docker_image_python": "3.10",
        },
        'docker_image_python = "3.10"',
        'write "3.12"',
    ),
    "no GPU": ({"enable_gpu": False}, "enable_gpu = false", "write true"),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "submission.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    (tmp_path / "kernel-metadata.json").write_bytes((ROOT / "kernel-metadata.json").read_bytes())
    return tmp_path


def change(checkout: Path, changes: Change) -> None:
    """None takes a key away."""
    path = checkout / "kernel-metadata.json"
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def dry_run(checkout: Path, *options: str) -> int:
    return main(["push", "--dry-run", "--path", str(checkout), "--output", str(checkout / "out"), *options])


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_refused_with_key_value_and_remedy(
    checkout: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, shown, remedy = BROKEN[broken]
    change(checkout, changes)
    assert dry_run(checkout, "--owner", "alice") == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if shown in line and remedy in line]
    assert line.startswith("  ")
    assert not (checkout / "out").exists()


def test_all_problems_are_told_at_once(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(checkout, {"enable_internet": True, "machine_shape": "T4", "title": None, "nonsense": 1})
    assert dry_run(checkout, "--owner", "alice") == 2
    lines = capsys.readouterr().err.splitlines()
    assert "has 4 problems:" in lines[0]
    assert len(lines) == 5


def test_the_committed_file_waits_for_its_owner_and_is_right_then(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    assert dry_run(checkout) == 2
    assert capsys.readouterr().err.count("your Kaggle name goes there: say --owner NAME, or set KAGGLE_USERNAME") == 4
    monkeypatch.setenv("KAGGLE_USERNAME", "alice")
    assert dry_run(checkout) == 0
    pushed = json.loads((checkout / "out" / "pushed" / "kernel-metadata.json").read_text())
    assert pushed["id"] == "alice/sctir-kaggle"
    assert pushed["code_file"] == "submission.ipynb"
    assert list(metadata.problems(pushed, checkout / "out" / "pushed")) == []


def test_an_owner_that_kaggle_cannot_have_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(checkout, "--owner", 'Al "ice"') == 2
    assert "write it as in kaggle.com/NAME, in small letters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": 1,}', "cannot be read"),
        ('{"title": "a", "title": "b"}', "title: is there twice"),
        ("[]", "must be an object"),
    ],
)
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "kernel-metadata.json"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        metadata.read(path)


def test_a_dry_run_opens_no_socket_and_does_not_load_the_client(checkout: Path) -> None:
    program = f"""
import sys
sys.addaudithook(lambda event, _: print("HOOK", event) if event.startswith("socket.") else None)
from sctir_kaggle.cli import main
code = main(["push", "--dry-run", "--owner", "alice", "--path", {str(checkout)!r}, "--output", {str(checkout / "out")!r}])
print(code, "kaggle" in sys.modules)
import socket
socket.socket().close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    *before, answer, opened = done.stdout.splitlines()
    assert answer == "0 False"
    assert opened == "HOOK socket.__new__"  # the hook sees one when there is one
    assert "HOOK" not in "".join(before)


@pytest.mark.slow
def test_this_checkout_is_pushed_as_a_notebook_with_its_own_wheel_inside(tmp_path: Path) -> None:
    assert main(["push", "--dry-run", "--owner", "alice", "--path", str(ROOT), "--output", str(tmp_path)]) == 0
    pushed = (tmp_path / "pushed" / "submission.ipynb").read_text()
    committed = (ROOT / "notebooks" / "submission.ipynb").read_text()
    assert re.search(r"sctir_kaggle-[0-9.]+-py3-none-any\.whl", pushed)
    assert 100_000 < len(pushed) - len(committed) < 1_000_000


@pytest.mark.kaggle_real
@pytest.mark.parametrize(
    "title", ["SCTIR Kaggle", "SC-TIR: a vote, in 9 h", "It's 48 x 4", "a  b__c", "x.y.z (1)", "1,000 votes & more"]
)
def test_a_title_becomes_the_slug_that_the_client_makes_of_it(title: str) -> None:
    slugify = pytest.importorskip("slugify", reason="comes with the extra `kaggle`").slugify
    assert metadata.slugify(title) == slugify(title)


def test_a_push_for_another_competition_fills_metadata_and_the_notebooks_cell(tmp_path: Path) -> None:
    settings = {"competition": "aimo3", "candidates": 8, "engine_options": {"enforce_eager": True}}
    document = stage_kernel(ROOT, tmp_path / "pushed", "alice", settings)
    assert document["competition_sources"] == ["ai-mathematical-olympiad-progress-prize-3"]
    assert document["machine_shape"] == "NvidiaH100"
    assert json.loads((tmp_path / "pushed" / "kernel-metadata.json").read_text()) == document
    cell = cell_settings(tmp_path / "pushed" / "submission.ipynb")
    assert cell is not None
    run = resolve_cell(cell, {})
    assert (run.competition, run.solver.candidates, run.engine.engine) == ("aimo3", 8, "vllm")
    assert run.engine.engine_options == {"enforce_eager": True}


@pytest.mark.slow
def test_without_one_the_cell_follows_the_metadata(tmp_path: Path) -> None:
    stage_kernel(ROOT, tmp_path / "pushed", "alice", {})
    cell = cell_settings(tmp_path / "pushed" / "submission.ipynb")
    assert cell is not None
    assert cell == {"competition": "aimo1", "engine": "vllm"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "candidate=3"], "--set candidate: there is no such setting; did you mean candidates?"),
        (["--competition", "aimo9"], "there is no competition 'aimo9'"),
        (["--preset", "numena"], "there is no preset 'numena'; did you mean numina?"),
    ],
)
def test_settings_that_the_notebook_would_refuse_are_refused_before_a_push(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "push",
        "--dry-run",
        "--owner",
        "alice",
        "--path",
        str(ROOT),
        "--output",
        str(tmp_path / "out"),
        *options,
    ]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def notebook_for(checkout: Path, competition: str | None, *, source: bool = False) -> None:
    """A notebook whose cell asks for this competition; with `source` its percent-cell source beside it."""
    cell = f'SETTINGS = {{"competition": "{competition}", "engine": "vllm"}}\n' if competition else "print(1)\n"
    cells = [{"cell_type": "code", "metadata": {}, "source": ["%matplotlib inline\n", "import os\n", cell]}]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = checkout / "notebooks" / "submission.ipynb"
    path.write_text(json.dumps(notebook))
    if source:
        path.with_suffix(".py").write_text(f"# %%\nWHEEL = {{}}\n\n# %%\n{cell}")


AIMO3 = {"competition_sources": ["ai-mathematical-olympiad-progress-prize-3"], "machine_shape": "NvidiaH100"}


@pytest.mark.parametrize("source", [False, True], ids=["a built notebook", "its source"])
def test_metadata_for_another_competition_than_the_notebooks_are_refused_in_one_line(
    checkout: Path, capsys: pytest.CaptureFixture[str], source: bool
) -> None:
    notebook_for(checkout, "aimo1", source=source)
    change(checkout, AIMO3)
    assert dry_run(checkout, "--owner", "alice") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "competition_sources ai-mathematical-olympiad-progress-prize-3 (aimo3)" in line
    assert 'SETTINGS["competition"] = "aimo1"' in line
    assert "sctir push --competition aimo1" in line
    assert not (checkout / "out").exists()


def test_a_notebook_that_sets_no_competition_follows_the_metadata(checkout: Path) -> None:
    notebook_for(checkout, None)
    change(checkout, AIMO3)
    assert dry_run(checkout, "--owner", "alice") == 0


def test_metadata_that_name_no_competition_follow_the_notebook(checkout: Path) -> None:
    notebook_for(checkout, "aimo3")
    change(checkout, {"competition_sources": None, "machine_shape": None})
    assert dry_run(checkout, "--owner", "alice") == 0
    pushed = json.loads((checkout / "out" / "pushed" / "kernel-metadata.json").read_text())
    assert {key: pushed[key] for key in AIMO3} == AIMO3


def test_settings_that_are_computed_are_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook_for(checkout, "aimo1")
    path = checkout / "notebooks" / "submission.ipynb"
    path.write_text(path.read_text().replace('SETTINGS = {\\"competition', 'SETTINGS = {**DEFAULTS, \\"competition'))
    assert dry_run(checkout, "--owner", "alice") == 2
    assert "SETTINGS is computed: write its values out" in capsys.readouterr().err


def test_settings_over_several_lines_are_read(tmp_path: Path) -> None:
    source = tmp_path / "submission.py"
    source.write_text('# %%\nSETTINGS = {\n    "competition": "aimo2",  # this one\n    "candidates": 8,\n}\n')
    assert cell_settings(source) == {"competition": "aimo2", "candidates": 8}
    source.write_text("print(1)\n")
    assert cell_settings(source) is None


@pytest.mark.parametrize("said", ["aimo1", "ai-mathematical-olympiad-prize"])
def test_the_name_and_the_slug_are_one_competition(checkout: Path, said: str) -> None:
    notebook_for(checkout, said)
    assert dry_run(checkout, "--owner", "alice") == 0


WITHOUT_310 = {"dataset_sources": ["alice/sctir-wheels"]}
IMAGE = f"gcr.io/kaggle-gpu-images/python@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ({}, "aimo1 runs on Python 3.10 alone and the image's has 3.12"),
        ({"docker_image": IMAGE}, "the image's is not known (docker_image_python)"),
        ({"docker_image": IMAGE, "docker_image_python": "3.11"}, "the image's has 3.11"),
    ],
)
def test_aimo1_without_its_python_is_refused_in_one_line(
    checkout: Path, capsys: pytest.CaptureFixture[str], image: Change, told: str
) -> None:
    change(checkout, {**WITHOUT_310, **image})
    assert dry_run(checkout, "--owner", "alice") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line
    assert 'add "INSERT_OWNER/sctir-python310" to dataset_sources' in line
    assert not (checkout / "out").exists()


def test_an_image_with_that_python_is_enough_and_our_own_key_is_not_pushed(checkout: Path) -> None:
    change(checkout, {**WITHOUT_310, "docker_image": IMAGE, "docker_image_python": "3.10"})
    assert dry_run(checkout, "--owner", "alice") == 0
    pushed = json.loads((checkout / "out" / "pushed" / "kernel-metadata.json").read_text())
    assert pushed["docker_image"] == IMAGE
    assert "docker_image_python" not in pushed


def test_a_data_set_of_another_name_is_enough(checkout: Path) -> None:
    change(checkout, {"dataset_sources": ["bob/my-python310-pack/2"]})
    assert dry_run(checkout, "--owner", "alice") == 0


def test_data_sets_and_image_come_and_go_with_the_competition(tmp_path: Path) -> None:
    committed = metadata.with_owner(metadata.read(ROOT / "kernel-metadata.json"), "alice")
    assert committed["dataset_sources"] == ["alice/sctir-wheels", "alice/sctir-python310"]
    named = {**committed, "docker_image": IMAGE, "docker_image_python": "3.10"}
    third = kernel.for_competition(named, PROFILES["aimo3"])
    assert third["dataset_sources"] == ["alice/sctir-wheels"]
    assert third.keys() & {"docker_image", "docker_image_python"} == set()
    back = kernel.for_competition(third, PROFILES["aimo1"])
    assert back == committed
    assert kernel.for_competition(named, PROFILES["aimo1"]) == named


def test_any_number_of_wheel_data_sets_may_be_named(checkout: Path) -> None:
    many = [f"alice/sctir-wheels-{number}" for number in range(2, 12)]
    change(checkout, {"dataset_sources": ["alice/sctir-wheels", *many, "alice/sctir-python310"]})
    assert dry_run(checkout, "--owner", "alice") == 0


@pytest.mark.slow
def test_a_notebook_that_was_edited_instead_of_its_source_is_refused(tmp_path: Path) -> None:
    for name in ("kernel-metadata.json", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(
        ROOT / "sctir_kaggle",
        tmp_path / "sctir_kaggle",
        ignore=shutil.ignore_patterns("model*", "recipes", "__pycache__"),
    )
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    notebook, source = tmp_path / "notebooks" / "submission.ipynb", tmp_path / "notebooks" / "submission.py"
    assert stage_kernel(tmp_path, tmp_path / "pushed", "alice", {})["machine_shape"] == "NvidiaTeslaT4"
    notebook.write_text(notebook.read_text().replace('# \\"candidates\\": 48', '\\"candidates\\": 9'))
    os.utime(source, ns=(0, notebook.stat().st_mtime_ns - 1))
    with pytest.raises(
        UserError, match=r"submission.ipynb was edited, from cell \d+ on, but .* built from submission.py"
    ):
        stage_kernel(tmp_path, tmp_path / "pushed", "alice", {})
    source.touch()
    os.utime(source, ns=(0, notebook.stat().st_mtime_ns + 1))
    stage_kernel(tmp_path, tmp_path / "pushed", "alice", {})
