"""The canary: a problem with a known answer before the first real one of a rerun, in the journal and nowhere else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sctir_kaggle.competition.canary import PROBLEM, seconds_for
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_canaries, read_journal
from sctir_kaggle.lab.score.report import report_of
from tests.competition.test_faults import Broken, bug, counted, dead
from tests.support.competitions import ANSWERS, Outcome, number_in, rerun, right, run_of, scripted

pytestmark = pytest.mark.slow

Run = Callable[..., Outcome]

HOURS = 3600.0
"""Seconds that leave the canary its time; a rerun in these tests takes two."""

ONLY_THE_CANARY = range(42, 43)


@pytest.fixture(params=PROFILES)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A rerun of each competition in turn."""
    return lambda **options: rerun(PROFILES[request.param], tmp_path, monkeypatch, **{"budget": HOURS, **options})


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs, hangs here, and is freed when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def canaries(outcome: Outcome) -> list[str]:
    return [canary["outcome"] for canary in read_canaries(outcome.submission.journal)]


def test_a_right_canary_is_in_the_journal_and_neither_in_results_nor_in_the_submission(run: Run) -> None:
    outcome = run()
    journal = outcome.submission.journal
    assert (canaries(outcome), outcome.answers, outcome.journal) == (["right"], ANSWERS, [])
    assert len(outcome.submission.results) == 4
    assert "canary" in journal.read_text().splitlines()[1]
    assert [result.problem.id for result in read_journal(journal)[1]] == list(ANSWERS)
    assert report_of([journal]).records.problem_ids == list(ANSWERS)


@pytest.mark.parametrize("failure", [dead, bug])
def test_a_dead_engine_is_loaded_again_before_the_first_problem_is_lost(run: Run, failure: Callable[[], None]) -> None:
    load, loaded = counted(lambda: Broken(failure), lambda: Scripted(right))
    outcome = run(load=load)
    assert (outcome.answers, len(loaded), canaries(outcome)) == (ANSWERS, 2, ["failed", "right"])
    assert len(outcome.journal) == 1
    assert outcome.journal[0].startswith("the canary failed (")
    assert outcome.journal[0].endswith("): engine and sandbox are loaded again")


def test_an_engine_that_is_dead_for_good_is_loaded_twice_and_the_run_ends(run: Run) -> None:
    load, loaded = counted(lambda: Broken(dead))
    outcome = run(load=load)
    assert (outcome.answers, len(loaded)) == (dict.fromkeys(ANSWERS, 0), 2)
    assert canaries(outcome) == ["failed", "failed"]


@pytest.mark.parametrize(("said", "told"), [("$\\boxed{41}$.", "wrong"), ("I do not know.", "no vote")])
def test_a_wrong_or_silent_canary_is_noted_and_costs_nothing_else(run: Run, said: str, told: str) -> None:
    def script(prompt: str, candidate: int, turn: int) -> str:
        return said if number_in(prompt) == 42 else right(prompt, candidate, turn)

    outcome = run(load=scripted(script))
    assert (outcome.answers, outcome.journal, canaries(outcome)) == (ANSWERS, [], [told])


def test_a_canary_that_hangs_holds_the_first_answer_for_its_seconds_alone(run: Run) -> None:
    hanging = Broken(lambda: asyncio.sleep(3600), ONLY_THE_CANARY)
    outcome = run(load=lambda run, slots: hanging, budget=530)
    [canary] = read_canaries(outcome.submission.journal)
    assert (outcome.answers, canary["outcome"], outcome.journal) == (ANSWERS, "no vote", [])
    assert canary["fault"] == "no candidate finished a turn before the deadline"


def test_a_canary_that_blocks_the_solver_has_the_engine_loaded_again(
    run: Run, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sctir_kaggle.competition.lifecycle.CLOSE_SECONDS", 0.5)  # the blocked one never closes

    def block() -> None:
        gate.wait(600)

    load, loaded = counted(lambda: Broken(block, ONLY_THE_CANARY), lambda: Scripted(right))
    outcome = run(load=load, budget=640)
    assert (outcome.answers, len(loaded), canaries(outcome)) == (ANSWERS, 2, ["failed", "right"])
    assert "did not come back" in outcome.journal[0]


@pytest.mark.parametrize(("left", "seconds"), [(5 * 3600.0, 60.0), (3000.0, 30.0), (499.0, None), (0.0, None)])
def test_it_takes_a_hundredth_of_the_time_and_there_is_none_where_that_is_too_little(
    left: float, seconds: float | None
) -> None:
    assert seconds_for(left) == seconds


def test_its_answer_can_be_right_in_every_competition() -> None:
    assert PROBLEM.answer is not None
    assert all(profile.in_range(PROBLEM.answer) for profile in PROFILES.values())


def test_a_run_with_a_canary_is_replayed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, budget=HOURS)
    again = run_of(HOURS, engine="recorded", model=outcome.submission.journal)
    replayed = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, run=again, folder=tmp_path / "again", load=None)
    assert (replayed.answers, replayed.journal, canaries(replayed)) == (ANSWERS, [], [])
    resumed = rerun(PROFILES["aimo1"], tmp_path, monkeypatch, run=run_of(HOURS), resume=True)
    assert (resumed.answers, canaries(resumed)) == (ANSWERS, ["right", "right"])
