"""The notebook with its wheel, run by Jupyter where all lies as at Kaggle: in the editor and in a rerun, to its submission.

And without it, in a plain clone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.cli import main as sctir
from sctir_kaggle.competition.gateway import Session
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.stand_in import GatewayProcess
from sctir_kaggle.journal import read_faults
from sctir_kaggle.kaggle.bundle import CHECKOUT, build_wheel
from sctir_kaggle.kaggle.notebook import build
from sctir_kaggle.problems import HELD_OUT, read_problems
from tests.support.kaggle_like import PROBLEMS, SETTINGS, Kaggle, Layout, Ran, execute, write_problems

pytestmark = pytest.mark.slow

for library in ("torch", "nbclient", "ipykernel", "matplotlib"):
    pytest.importorskip(library, reason="needs the extras `cpu` and `test`")

IDS = {problem.id for problem in PROBLEMS}

Expected = Callable[[str], dict[str, int]]


BROKEN = """
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.types import EngineError

async def generate(self, prompt, params, *, request_id):
    raise EngineError(f"the GPU fell off the bus at {request_id}")

TransformersEngine.generate = generate
"""
"""A cell after which every request fails."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def notebook(wheel: Path) -> str:
    return build(wheel=wheel)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """The answers of a plain dry run with the same settings, for a range of answers."""

    @cache
    def of(range_of_answers: str) -> dict[str, int]:
        folder = tmp_path_factory.mktemp("dry-run")
        write_problems(folder / "problems.csv", PROBLEMS)
        options = ["-n", SETTINGS["CANDIDATES"], "-m", SETTINGS["TURNS"], "--answers", range_of_answers]
        command = ["dry-run", "--problems", str(folder / "problems.csv"), "--output", str(folder / "run"), *options]
        assert sctir(command) == 0
        return answers(folder / "run" / "submission.csv")

    return of


def answers(submission: Path) -> dict[str, int]:
    """Of a file that holds what the competition wants and nothing more."""
    import pandas as pd

    if submission.suffix == ".parquet":
        rows = pytest.importorskip("polars").read_parquet(submission).to_dict(as_series=False)
    else:
        rows = pd.read_csv(submission, dtype={"id": str}).to_dict("list")
    assert list(rows) == ["id", "answer"]
    assert all(type(answer) is int for answer in rows["answer"])
    return dict(zip(rows["id"], rows["answer"], strict=True))


def needs_grpc(name: str) -> None:
    if PROFILES[name].api == "push":
        pytest.importorskip("polars", reason="AIMO-2 and 3 need the extra `competition`")
        pytest.importorskip("grpc", reason="AIMO-2 and 3 need the extra `competition`")


def came_from_its_wheel(ran: Ran) -> bool:
    return "sctir_kaggle 0.1.0 from /" in ran.printed and "/sctir-library-" in ran.printed


@pytest.mark.parametrize(
    ("name", "layout", "like"), [("aimo1", "nested", "aimo1"), ("aimo2", "flat", "aimo1"), ("aimo3", "nested", "aimo3")]
)
def test_in_the_editor_it_shows_its_votes_and_writes_the_answers_of_a_dry_run(
    notebook: str, expected: Expected, tmp_path: Path, name: str, layout: Layout, like: str
) -> None:
    needs_grpc(name)
    kaggle = Kaggle.mounted(tmp_path, PROFILES[name], layout, rerun=False)
    ran = kaggle.run(notebook, kaggle.environment())
    assert ran.error == ""
    assert came_from_its_wheel(ran)
    assert answers(kaggle.working / PROFILES[name].submission_file) == expected(like)
    assert set(expected(like)) == IDS
    settings, source, table, worked = ran.shown("text/html")
    assert ">candidates<" in settings
    readable = re.sub("<[^>]*>", "", source)
    assert [part for part in ("NUMINA = Dialect(", "class Rollout:", "def tally(") if part not in readable] == []
    assert [id_ for id_ in IDS if id_ not in table] == []
    parts = ("The prompt, in the dialect numina", "it printed:", "The vote: ")
    assert [part for part in parts if part not in worked] == []
    [picture] = ran.shown("image/png")
    assert len(picture) > 5_000
    assert (kaggle.working / "view.html").read_text().count('<script type="application/gzip" id="d') == len(IDS)
    assert "\ntorch==" in (kaggle.working / "image.txt").read_text()


def test_in_a_rerun_of_a_pull_competition_it_answers_the_hidden_problems_and_shows_nothing(
    notebook: str, expected: Expected, tmp_path: Path
) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=True)
    ran = kaggle.run(notebook, kaggle.environment(KAGGLE_IS_COMPETITION_RERUN="1"))
    assert ran.error == ""
    assert came_from_its_wheel(ran)
    assert answers(kaggle.working / "submission.csv") == expected("aimo1")
    assert (ran.shown("text/html"), ran.shown("image/png")) == ([], [])
    assert {path.name for path in kaggle.working.iterdir()} == {"submission.csv", "journal.jsonl"}


@pytest.mark.parametrize(("name", "layout"), [("aimo2", "nested"), ("aimo3", "flat")])
def test_in_a_rerun_of_a_push_competition_it_answers_whoever_calls_until_they_are_gone(
    notebook: str, expected: Expected, tmp_path: Path, name: str, layout: Layout
) -> None:
    needs_grpc(name)
    profile = PROFILES[name]
    assert profile.evaluation is not None
    kaggle = Kaggle.mounted(tmp_path, profile, layout, rerun=True)
    write_problems(tmp_path / "hidden.csv", PROBLEMS)
    submission, port = kaggle.working / profile.submission_file, free_port()
    rerun = kaggle.environment(KAGGLE_IS_COMPETITION_RERUN="1", SCTIR_GATEWAY_PORT=str(port))
    with GatewayProcess(Session(profile.evaluation, str(tmp_path / "hidden.csv"), str(submission), port)) as gateway:
        ran = kaggle.run(notebook, rerun)
        gateway.wait()
    assert ran.error.startswith("SystemExit")  # at Kaggle the whole notebook ends here
    assert came_from_its_wheel(ran)
    assert answers(submission) == expected("aimo3" if name == "aimo3" else "aimo1")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_in_the_editor_what_the_doctor_finds_fatal_ends_it_before_the_engine_is_loaded(
    notebook: str, tmp_path: Path
) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=False)
    next(kaggle.input.rglob("*.safetensors")).write_bytes(b"torn")
    ran = kaggle.run(notebook, kaggle.environment())
    assert ran.error.startswith("AssertionError: see the doctor")
    assert "fatal   weights" in ran.printed
    assert {path.name for path in kaggle.working.iterdir()} <= {"image.txt"}


def test_a_notebook_without_a_model_says_where_it_looked(notebook: str, tmp_path: Path) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=False)
    ran = kaggle.run(notebook, kaggle.environment(SCTIR_KAGGLE_INPUT=str(kaggle.working)))
    assert ran.error.startswith("NotFound: no checkpoint")
    assert str(kaggle.working) in ran.error


def test_a_rerun_without_a_model_gives_every_problem_the_default(notebook: str, tmp_path: Path) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=True)
    next(kaggle.input.rglob("config.json")).unlink()
    ran = kaggle.run(notebook, kaggle.environment(KAGGLE_IS_COMPETITION_RERUN="1"))
    assert ran.error == ""
    assert answers(kaggle.working / "submission.csv") == dict.fromkeys(IDS, 0)
    assert "no checkpoint" in read_faults(kaggle.working / "journal.jsonl")[0]


def test_an_engine_that_fails_every_request_ends_the_editors_run_in_red_with_the_first_fault(
    notebook: str, tmp_path: Path
) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "nested", rerun=False)
    ran = kaggle.run(with_cell(notebook, BROKEN), kaggle.environment())
    assert ran.error.startswith("RunFailed: candidates failed on 3 of 3 problems, the first fault: ")
    assert "6 of 6 candidates failed: EngineError: the GPU fell off the bus at " in ran.error
    assert len(ran.shown("text/html")) == 4  # the votes are shown before, for whoever looks for the cause
    assert (kaggle.working / "view.html").is_file()


def test_in_a_rerun_an_engine_that_fails_every_request_raises_nothing(notebook: str, tmp_path: Path) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "nested", rerun=True)
    rerun = kaggle.environment(KAGGLE_IS_COMPETITION_RERUN="1")
    ran = kaggle.run(with_cell(notebook, BROKEN), rerun)
    assert ran.error == ""
    assert answers(kaggle.working / "submission.csv") == dict.fromkeys(IDS, 0)


def test_problems_of_ones_own_are_asked_in_the_editor(notebook: str, tmp_path: Path) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=False)
    write_problems(tmp_path / "mine.csv", PROBLEMS[:1])
    ran = kaggle.run(notebook, kaggle.environment(SCTIR_PROBLEMS=str(tmp_path / "mine.csv")))
    assert ran.error == ""
    assert set(answers(kaggle.working / "submission.csv")) == {PROBLEMS[0].id}


def with_cell(notebook: str, code: str) -> str:
    """With another cell before the one that begins to load."""
    document = json.loads(notebook)
    [place] = [n for n, cell in enumerate(document["cells"]) if "submission.start()" in "".join(cell["source"])]
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "broken",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": code,
    }
    document["cells"].insert(place, cell)
    return json.dumps(document)


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_it_takes_the_library_from_an_attached_data_set_where_it_does_not_carry_it(
    wheel: Path, expected: Expected, tmp_path: Path, layout: Layout
) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], layout, rerun=False)
    kaggle.attach_data_set(layout, wheel)
    ran = kaggle.run(build(wheel=wheel, carried=False), kaggle.environment())
    assert ran.error == ""
    assert came_from_its_wheel(ran)
    assert answers(kaggle.working / "submission.csv") == expected("aimo1")


def test_an_attached_library_of_another_version_is_refused_with_what_to_do(wheel: Path, tmp_path: Path) -> None:
    kaggle = Kaggle.mounted(tmp_path, PROFILES["aimo1"], "flat", rerun=False)
    (tmp_path / wheel.name).write_bytes(wheel.read_bytes()[:-1] + b"x")
    kaggle.attach_data_set("flat", tmp_path / wheel.name)
    ran = kaggle.run(build(wheel=wheel, carried=False), kaggle.environment())
    assert ran.error.startswith(f"AssertionError: attach the data set with this version's {wheel.name}; attached: [")


def test_in_a_plain_clone_it_runs_the_embedded_model_and_says_so(tmp_path: Path) -> None:
    """As `jupyter nbconvert --execute notebooks/submission.ipynb` does, with nothing set."""
    clone = tmp_path / "clone"
    for name in ("notebooks", "sctir_kaggle"):
        shutil.copytree(CHECKOUT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", clone)
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SCTIR_", "KAGGLE_", "PYTHONPATH"))
    }
    ran = execute((clone / "notebooks" / "submission.ipynb").read_text(), clone / "notebooks", clean)
    assert ran.error == ""
    assert "not at Kaggle and no checkpoint named: the embedded model" in ran.printed
    assert sorted(path.name for path in (clone / "notebooks").iterdir()) == ["submission.ipynb", "submission.py"]
    [folder] = (clone / "runs").iterdir()
    right = {problem.id: problem.answer for problem in read_problems(HELD_OUT)}
    given = answers(folder / "submission.csv")
    assert set(given) == set(right)
    assert sum(given[id_] == right[id_] for id_ in right) >= 40
    assert len(ran.shown("text/html")) == 4
    assert (folder / "view.html").is_file()
