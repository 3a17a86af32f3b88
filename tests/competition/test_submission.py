"""A submission from end to end, for every competition: in the editor and in a rerun, with a scripted engine."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import MATH, SolverConfig, UserError
from sctir_kaggle.competition.profile import PROFILES, Profile, profile_of
from sctir_kaggle.competition.push_server import VARIABLE
from sctir_kaggle.competition.submission import RERUN, Submission, fitted
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.settings import RunConfig
from tests.support.competitions import ANSWERS, EVERY, PROBLEMS, answers_in, csv_of, rerun, right, run_of, scripted

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are the stand-in's runs, also where the competition's own gateway is at hand."""
    monkeypatch.delenv(VARIABLE, raising=False)


def editor(profile: str | Profile, folder: Path, **options: Any) -> Submission:
    """A run in the editor, to its end."""
    options = {"run": run_of(), "folder": folder, "load": scripted(), "problems": csv_of(folder), **options}
    if profile != "aimo1":
        pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')
    submission = Submission(profile, rerun=False, started=time.monotonic(), **options)
    submission.run()
    return submission


@pytest.mark.parametrize("name", PROFILES)
def test_in_the_editor_every_problem_is_answered_and_the_file_is_written(name: str, tmp_path: Path) -> None:
    submission = editor(name, tmp_path)
    assert answers_in(submission) == ANSWERS
    assert submission.submission_file.parent == tmp_path
    assert (submission.faults, len(submission.results)) == ([], 4)
    assert {result.problem.id for result in read_journal(submission.journal)[1]} == set(ANSWERS)


@EVERY
def test_in_a_rerun_too(profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = rerun(profile, tmp_path, monkeypatch)
    assert (outcome.answers, outcome.journal) == (ANSWERS, [])


def test_the_environment_says_whether_it_is_a_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RERUN, raising=False)
    assert not Submission("aimo1", run_of(), folder=tmp_path).rerun
    monkeypatch.setenv(RERUN, "1")
    assert Submission("aimo1", run_of(), folder=tmp_path).rerun


def test_without_a_setup_the_competition_gives_preset_and_budget(tmp_path: Path) -> None:
    submission = Submission(profile_of("aimo3"), model="/models/some", folder=tmp_path, rerun=True)
    assert submission.run_config.solver == PROFILES["aimo3"].config
    assert (submission.run_config.clock.budget, submission.run_config.engine.model) == (5 * 3600, Path("/models/some"))
    assert submission.submission_file == tmp_path / "submission.parquet"


@EVERY
def test_no_config_votes_outside_the_competitions_range(profile: Profile) -> None:
    config = fitted(replace(MATH, default_answer=-5), profile)
    assert (config.lowest, config.highest, config.modulus) == (profile.lowest, profile.highest, profile.modulus)
    assert config.default_answer == 0


def test_limits_that_were_chosen_hold_inside_the_competitions_range() -> None:
    chosen = replace(MATH, lowest=-5, highest=500, modulus=7, default_answer=-3)
    given = {"lowest": "cell", "highest": "cell", "modulus": "cell"}
    config = fitted(chosen, PROFILES["aimo1"], given)
    assert (config.lowest, config.highest, config.modulus, config.default_answer) == (0, 500, 7, 0)
    with pytest.raises(UserError, match="no answer of aimo1 lies from 2000 to 3000: give other limits"):
        fitted(replace(chosen, lowest=2000, highest=3000, default_answer=2500), PROFILES["aimo1"], given)


def test_results_know_the_references_of_the_csv_and_the_model_does_not(tmp_path: Path) -> None:
    csv = tmp_path / "known.csv"
    csv.write_text("id,problem,answer\n" + "".join(f"{p.id},{p.text},9{p.answer}\n" for p in PROBLEMS))
    engine = Scripted(right)
    submission = editor("aimo1", tmp_path, problems=csv, load=lambda run, slots: engine)
    assert [result.problem.answer for result in submission.results] != [None] * 4
    assert not any("9" in prompt for prompt in engine.prompts.values())
    assert [result.correct for result in submission.results] == [False] * 4


def test_loading_begins_with_start_and_does_not_block(tmp_path: Path) -> None:
    gate = threading.Event()

    def slow(run: RunConfig, slots: int) -> Scripted:
        gate.wait(600)
        return Scripted(right)

    began = time.monotonic()
    submission = Submission(
        "aimo1", run_of(), folder=tmp_path, load=slow, rerun=False, started=began, problems=csv_of(tmp_path)
    )
    submission.start()
    assert time.monotonic() - began < 300, "the gate opens after ten minutes"
    assert (submission.faults, submission.results) == ([], [])
    gate.set()
    submission.run()
    assert answers_in(submission) == ANSWERS


def test_a_second_run_in_a_folder_keeps_the_first_ones_journal(tmp_path: Path) -> None:
    first, second = editor("aimo1", tmp_path), editor("aimo1", tmp_path)
    assert [first.journal.name, second.journal.name] == ["journal.jsonl", "journal-2.jsonl"]
    assert len(read_journal(first.journal)[1]) == len(read_journal(second.journal)[1]) == 4


def test_a_run_is_resumed_from_its_journal(tmp_path: Path) -> None:
    def silent(prompt: str, candidate: int, turn: int) -> str:
        raise AssertionError("nothing is generated for a problem that is in the journal")

    editor("aimo1", tmp_path)
    again = editor("aimo1", tmp_path, resume=True, load=scripted(silent))
    assert (answers_in(again), again.faults) == (ANSWERS, [])


def test_a_run_with_faults_is_replayed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(prompt: str, candidate: int, turn: int) -> str:
        if "What is 4?" in prompt:
            raise KeyError("a bug")
        return right(prompt, candidate, turn)

    outcome = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, load=scripted(faulty))
    assert outcome.answers == {**ANSWERS, "424e18": 0}
    again = run_of(engine="recorded", model=outcome.submission.journal)
    replayed = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, run=again, folder=tmp_path / "again", load=None)
    assert replayed.answers == outcome.answers
    resumed = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, resume=True)
    assert resumed.answers == ANSWERS


def test_in_the_editor_a_bug_is_raised(tmp_path: Path) -> None:
    def faulty(prompt: str, candidate: int, turn: int) -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        editor("aimo1", tmp_path, load=scripted(faulty))


def test_in_the_editor_an_engine_that_cannot_be_loaded_is_raised(tmp_path: Path) -> None:
    def missing(run: RunConfig, slots: int) -> Scripted:
        raise FileNotFoundError("no config.json")

    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        editor("aimo1", tmp_path, load=missing)


def test_a_long_error_reaches_the_author_through_grpc(tmp_path: Path) -> None:
    def faulty(prompt: str, candidate: int, turn: int) -> str:
        raise KeyError("ü" * 100_000)

    pytest.importorskip("grpc")
    from sctir_kaggle.competition.verdict import PredictRaised

    with pytest.raises(PredictRaised, match="KeyError"):
        editor("aimo3", tmp_path, load=scripted(faulty))


def test_a_competition_that_is_not_in_the_table_is_one_more_row(tmp_path: Path) -> None:
    config = SolverConfig(modulus=None, highest=9, lowest=0)
    fourth = replace(
        PROFILES["aimo3"], name="aimo4", slug="a-fourth", server=None, lowest=1, highest=9, config=config, problems=4
    )
    submission = editor(fourth, tmp_path)
    assert answers_in(submission) == ANSWERS
