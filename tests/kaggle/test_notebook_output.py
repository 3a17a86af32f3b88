"""What the notebook shows a reader: one problem worked, votes, settings, source; and when it ends the editor's run in red."""

from __future__ import annotations

import html as standard
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.journal import Journal
from sctir_kaggle.kaggle import html, settings_cell
from sctir_kaggle.kaggle.notebook_output import (
    PACKAGE,
    RunFailed,
    instructiveness,
    judge,
    key_sources,
    module_list,
    settings_table,
    votes_table,
    worked,
    worked_problem,
    write_image,
)
from sctir_kaggle.kaggle.settings_cell import at_kaggle, resolve_cell, settings_here
from sctir_kaggle.lab.view.page import write_view
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.settings import all_settings
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, Problem, SolveResult, TraceStatus, UserError
from tests.support.solved import solved, trace, turn

WRITTEN = "We add $1 + 1$.\n```python\nprint(1 + 1)\n```\n```output\n"
RAN = turn(WRITTEN, code="print(1 + 1)", execution=ExecutionResult("2", ExecutionStatus.OK, 0.25))
BOXED = turn("So it is $\\boxed{2}$.")


def example(**fields: object) -> SolveResult:
    return solved(
        "sum", traces=(trace(0, 3, BOXED), trace(1, 2, RAN, BOXED), trace(2, 2, BOXED)), reference=2, **fields
    )


def readable(page: str) -> str:
    """What a browser shows, tags left out."""
    return standard.unescape(re.sub("<[^>]*>", "\n", page))


@dataclass
class Run:
    results: list[SolveResult]
    journal: Path = Path("journal.jsonl")
    faults: list[str] = field(default_factory=list)


def failed(id_: str) -> SolveResult:
    lost = trace(0, None, status=TraceStatus.FAILED, detail="EngineError: out of memory")
    return solved(id_, traces=(lost, trace(1, 5, BOXED)))


# one problem worked


def test_a_worked_problem_has_statement_prompt_text_code_output_and_vote() -> None:
    page = readable(worked_problem([example()], NUMINA))
    parts = [
        "statement of sum",
        "### Problem: statement of sum",
        "Candidate 2 of 3, which voted for 2",
        "We add $1 + 1$.",
    ]
    parts += [
        "print",
        "turn 1 ran, ok, 0.25 s; it printed:",
        "\n2\n",
        "So it is $\\boxed{2}$.",
        "The vote: 2, which is right",
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "as they came: 3, 2, 2" in page
    assert "```" not in page


def test_the_most_instructive_problem_is_right_ran_code_and_was_contested() -> None:
    wrong = solved("wrong", traces=(trace(0, 2, RAN, BOXED),), reference=3)
    without_code = solved("plain", 2, 2, 2, reference=2)
    unanimous = solved("unanimous", traces=(trace(0, 2, RAN, BOXED),), reference=2)
    assert max([wrong, without_code, unanimous, example()], key=instructiveness) == example()


def test_what_a_model_a_problem_or_a_program_wrote_is_never_markup() -> None:
    evil = "<script>alert(1)</script>"
    code = f"print('{evil}')"
    bad = turn(f"{evil}\n```python\n{code}\n```\n", code=code, execution=ExecutionResult(evil))
    result = solved(evil, traces=(trace(0, 2, bad, turn(evil)),), problem=Problem(evil, evil, 2))
    for page in (worked_problem([result], NUMINA), votes_table([result])):
        assert "<script" not in page
        assert "<script>alert(1)" in readable(page)


def test_code_that_ran_otherwise_than_it_stands_in_the_text_is_shown_as_it_ran() -> None:
    one = turn("First\n```python\nx = 1\n```\nthen\n```python\nx += 1\n```\n", code="x = 1\nx += 1")
    page = readable(worked_problem([solved("p", traces=(trace(0, 2, one, BOXED),))]))
    assert "First" in page
    assert page.count("+=") == 1


def test_a_text_of_a_million_characters_keeps_its_ends_only() -> None:
    page = worked_problem([solved("p", traces=(trace(0, 2, turn("a" * 10**6 + " the end")),))])
    assert len(page) < 20_000
    assert "[... 994,008 characters ...]" in page
    assert "the end" in page


def test_where_no_problem_has_a_vote_none_is_worked() -> None:
    assert worked_problem([solved("p", None, None)]) == ""


# votes, settings, source


def test_the_vote_table_has_every_problem_with_its_votes_and_defaults() -> None:
    page = readable(votes_table([example(), solved("none", None), solved("many", 1, 2, 3, 4, 5, 5)]))
    assert "2 × 2, 3 × 1" in page
    assert "0 (default)" in page
    assert "5 × 2, 1 × 1, 2 × 1, 3 × 1, 1 more" in page


def test_the_settings_table_names_every_setting_its_value_and_who_gave_it() -> None:
    page = readable(settings_table(resolve_cell({"competition": "aimo3", "preset": "aimo3-gpt-oss"}, {})))
    assert [name for name in all_settings() if f"\n{name}\n" not in page] == []
    assert "preset aimo3-gpt-oss" in page
    assert "competition aimo3" in page


def test_the_source_of_prompt_loop_and_vote_is_readable() -> None:
    page = standard.unescape(re.sub("<[^>]*>", "", key_sources()))
    for part in (
        "NUMINA = Dialect(",
        "def render(",
        "async def step(",
        "async def solve(",
        "def read_answer(",
        "def tally(",
    ):
        assert part in page


def test_every_module_is_listed_with_what_it_is_for() -> None:
    listed = readable(module_list())
    assert str(PACKAGE) in listed
    assert re.search(r"^voting\.py +Majority vote", listed, re.MULTILINE)
    modules = list(PACKAGE.rglob("*.py"))
    assert [path for path in modules if str(path.relative_to(PACKAGE)) not in listed] == []


# files beside the submission


def test_view_and_worked_problem_come_from_the_journal_as_it_lies(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.jsonl", {"config": {}, "dialect": None}) as journal:
        journal.append(example())
        journal.note("something was survived")
    run = Run([example()], journal.path)
    assert write_view(run.journal, run.results) == tmp_path / "view.html"
    assert (tmp_path / "view.html").read_text().count('id="d0"') == 1
    assert "The vote: 2, which is right" in worked(run)


def test_the_image_is_listed_as_pip_freezes_it_without_ourselves(tmp_path: Path) -> None:
    head, *lines = write_image(tmp_path / "new").read_text().splitlines()
    assert head == f"# python: {platform.python_version()}"
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"[a-z0-9][\w.-]*==\S+", line) for line in lines)
    assert any(line.startswith("pytest==") for line in lines)
    assert not [line for line in lines if line.startswith("sctir")]


# the verdict


def test_candidates_that_failed_on_more_than_a_tenth_of_the_problems_end_the_run_with_the_first_fault() -> None:
    with pytest.raises(RunFailed) as raised:
        judge(Run([failed("a"), *(solved(f"p{n}", n) for n in range(8))]))
    assert str(raised.value).startswith(
        "candidates failed on 1 of 9 problems, the first fault: a: 1 of 2 candidates failed: EngineError: out of memory"
    )
    assert "\n" not in str(raised.value)


def test_a_tenth_is_tolerated_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    judge(Run([failed("a"), *(solved(f"p{n}", n) for n in range(9))], faults=["the disk was full"]))
    said = capsys.readouterr().out
    assert "warning: 1 candidates failed, the first with: EngineError: out of memory" in said
    assert "warning: the disk was full" in said


def test_a_run_without_a_single_vote_is_doubted_but_does_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    judge(Run([solved("a", None), solved("b", None)]))
    assert "warning: think before you submit it: not one of 2 problems has a vote" in capsys.readouterr().out


def test_of_a_run_without_fault_or_doubt_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    judge(Run([solved("a", 1), solved("b", 2)]))
    assert capsys.readouterr().out == ""


# a plain clone


CELL = {"competition": "aimo1", "engine": "vllm"}


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_cell, "find_spec", lambda name: None if name == "vllm" else object())


@pytest.mark.usefixtures("no_vllm")
def test_elsewhere_than_at_kaggle_the_embedded_model_runs(caplog: pytest.LogCaptureFixture) -> None:
    run = settings_here({**CELL, "turns": 2}, {})
    assert (run.engine.engine, run.engine.model) == ("transformers", str(EMBEDDED_MODEL))
    assert (run.solver.candidates, run.solver.turns) == (settings_cell.CANDIDATES, 2)
    assert Path(str(run.output)).parent.name == "runs"
    assert "the embedded model" in caplog.text


@pytest.mark.usefixtures("no_vllm")
@pytest.mark.parametrize(
    "environment",
    [{"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, {"KAGGLE_IS_COMPETITION_RERUN": "1"}, {"SCTIR_KAGGLE_INPUT": "/elsewhere"}],
)
def test_at_kaggle_it_never_does(environment: dict[str, str]) -> None:
    run = settings_here(CELL, environment)
    assert (run.engine.engine, run.engine.model, run.output) == ("vllm", None, ".")


@pytest.mark.usefixtures("no_vllm")
def test_a_checkpoint_or_a_server_that_was_named_is_used() -> None:
    assert settings_here({**CELL, "model": "/a/checkpoint"}, {}).engine.engine == "vllm"
    served = {"SCTIR_ENGINE": "chat", "SCTIR_BASE_URL": "http://localhost:8000"}
    assert settings_here(CELL, served).engine.model is None


@pytest.mark.usefixtures("no_vllm")
def test_what_the_environment_says_goes_before(tmp_path: Path) -> None:
    run = settings_here(CELL, {"SCTIR_CANDIDATES": "3", "SCTIR_KAGGLE_WORKING": str(tmp_path)})
    assert (run.solver.candidates, run.output) == (3, str(tmp_path))


def test_a_clone_without_any_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_cell, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"torch, transformers, safetensors are not all installed: pip install 'sctir-"):
        settings_here(CELL, {})


def test_this_test_machine_is_no_kaggle() -> None:
    assert not at_kaggle({})


def test_a_table_keeps_short_cells_on_one_line_and_breaks_long_ones() -> None:
    page = html.table(("a", "b"), [("x" * html.SHORT, "y" * (html.SHORT + 1))])
    assert page.count("white-space:nowrap") == 3
    assert page.count("overflow-wrap:anywhere") == 1


def test_pygments_comes_with_what_the_package_requires() -> None:
    """Nothing else is needed to colour the source."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlib.metadata import requires; print(requires('rich'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pygments" in done.stdout.lower()
