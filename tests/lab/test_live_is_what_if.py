"""What `what-if` says of a full record is what a run under that vote and stop does: 50 of 50 problems, for all of them."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import SolverConfig, SolveResult, TraceStatus
from sctir_kaggle.cli import main
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.lab.whatif.resimulate import rerun
from sctir_kaggle.lab.whatif.rules import Rules, config_of
from sctir_kaggle.runtime import open_session
from sctir_kaggle.settings import ClockConfig, RunConfig
from tests.support.whatif_support import RULES, STOPS, solved

pytestmark = pytest.mark.slow

N, PROBLEMS = 12, 50

EAGER: dict[str, Any] = {"stop_ballots": 2, "stop_delta": 0.3}
"""With these beta stops a dozen candidates, too."""


def run(folder: Path, **fields: Any) -> Path:
    """A journal of a real solver with this config, a scripted model and simulated times, the same for every config."""
    config = SolverConfig(candidates=N, **EAGER, **fields)
    with Journal.create(folder / "journal.jsonl", {"config": asdict(config)}) as journal:
        for number in range(PROBLEMS):
            result = solved(number, orderly=True, candidates=N, **EAGER, **fields)
            journal.append(replace(result, problem=replace(result.problem, id=f"p{number}"), seed=0))
    return folder


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("record"), stop="none")


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: f"{rules['vote']}-{rules['stop']}")
def test_a_live_run_is_what_the_full_record_said_of_it(
    rules: dict[str, str], record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, live = read_journal(run(tmp_path / "live", **rules) / "journal.jsonl")
    full = read_journal(record / "journal.jsonl")[1]
    assert (header["config"]["vote"], header["config"]["stop"]) == (rules["vote"], rules["stop"])
    told = [rerun(result, Rules(config=config_of(header)), first=N).result for result in full]
    assert list(map(outcome, told)) == list(map(outcome, live))
    options = ["--vote", rules["vote"], "--stop", rules["stop"], "--csv", str(tmp_path / "t.csv")]
    assert main(["what-if", str(record), *options]) == 0
    lines = list(csv.DictReader((tmp_path / "t.csv").open()))[PROBLEMS:]
    assert [(line["id"], int(line["answer"]), line["stopped"]) for line in lines] == [
        (result.problem.id, result.answer, result.stopped) for result in live
    ]


def outcome(result: SolveResult) -> tuple[Any, ...]:
    """All but times and the turns of candidates that were cancelled, which the simulated clock may cut a turn apart."""
    ended = [trace for trace in result.traces if trace.status is not TraceStatus.CANCELLED]
    return result.problem.id, result.answer, result.stopped, result.vote, result.risk, result.fallback, ended


@pytest.mark.parametrize(
    "rules", [{"vote": "small", "stop": "k=2"}, {"vote": "statement", "stop": "margin=2"}], ids=str
)
def test_a_replay_of_the_full_record_may_choose_vote_and_stop_as_well(
    rules: dict[str, Any], record: Path, tmp_path: Path
) -> None:
    """By the command's own path: a session over the `recorded` engine, into a journal."""
    problems = [result.problem for result in read_journal(record / "journal.jsonl")[1]]
    config = SolverConfig(candidates=N, **EAGER, **rules)
    engine = EngineConfig(engine="recorded", model=record)
    chosen = RunConfig(solver=config, engine=engine, clock=ClockConfig(budget=3600.0))
    with open_session(
        chosen, tmp_path / "again", planned=PROBLEMS, started=time.monotonic(), problems=problems
    ) as session:
        again = [session.solve(problem) for problem in problems]
    live = read_journal(run(tmp_path / "live", **rules) / "journal.jsonl")[1]
    assert [(one.answer, one.stopped, one.vote) for one in again] == [
        (one.answer, one.stopped, one.vote) for one in live
    ]


def test_every_reason_to_stop_is_among_them(record: Path) -> None:
    full = read_journal(record / "journal.jsonl")[1]
    reasons = {
        rerun(result, Rules(config=SolverConfig(candidates=N, stop=stop, **EAGER)), first=N).result.stopped
        for result in full
        for stop in STOPS
    }
    assert reasons == {"all", "exact", "beta", "k", "margin"}


def test_a_record_made_under_a_vote_is_played_again_under_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "small", vote="small=0.1", stop="k=3")
    assert main(["what-if", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "do not come out as recorded" not in shown
    assert shown.count("12 x 4, k=3, small=0.1") == 2


def test_a_journal_from_before_votes_and_counted_stops_is_read_as_it_was(record: Path, tmp_path: Path) -> None:
    header, results = read_journal(record / "journal.jsonl")
    old = {name: value for name, value in header["config"].items() if name != "vote"}
    with Journal.create(tmp_path / "journal.jsonl", {"config": {**old, "stop": "none"}}) as journal:
        for result in results:
            journal.append(result)
    assert config_of(read_journal(tmp_path / "journal.jsonl")[0]) == config_of(header)
    assert main(["what-if", str(tmp_path), "--stop", "exact,beta,k=4,margin=3,none"]) == 0
