"""What `sctir score` says of runs with known truth: its figures, its bounds, its warnings, its files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from io import StringIO
from math import comb, sqrt
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.synthetic import write_run
from sctir_kaggle.cli import main
from sctir_kaggle.journal import read_journal, result_from_json, result_to_json
from sctir_kaggle.lab.score.report import Report, report_of, show
from sctir_kaggle.lab.score.tables import COLUMNS
from sctir_kaggle.stopping import decided
from sctir_kaggle.types import UserError
from sctir_kaggle.voting import Ballot, TieBreak, tally

Json = dict[str, Any]


def run(folder: Path, **shape: Any) -> Path:
    folder.mkdir()
    write_run(folder / "journal.jsonl", **shape)
    return folder


def edit(run: Path, line: Callable[[Json], Json], header: Callable[[Json], Json] = lambda header: header) -> Path:
    """The run with every line, and its header, replaced."""
    path = run / "journal.jsonl"
    first, *rest = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(part) + "\n" for part in (header(first), *map(line, rest))))
    return run


def in_terminal(report: Report, width: int) -> str:
    console = Console(width=width, file=StringIO())
    show(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def stopped(line: Json) -> Json:
    """What the exact rule would have left of a full record."""
    candidates, ballots = len(line["traces"]), []
    for place, trace in enumerate(line["traces"], 1):
        ballots += [Ballot(trace["candidate"], trace["answer"])] if trace["answer"] is not None else []
        if decided(ballots, unfinished=candidates - place):
            for late in line["traces"][place:]:
                late.update(status="cancelled", answer=None, turns=[])
            return line | {"stopped": "exact" if place < candidates else "all"}
    return line


def test_the_synthetic_run_is_a_journal_whose_votes_are_those_of_its_candidates(tmp_path: Path) -> None:
    _, results = read_journal(run(tmp_path / "run", problems=20, candidates=8) / "journal.jsonl")
    for result in results:
        ballots = [Ballot(trace.candidate, trace.answer) for trace in result.traces if trace.answer is not None]
        assert result.vote == tally(ballots)
        assert result_from_json(result_to_json(result)) == result


def test_pass_at_k_is_the_closed_form_of_the_record_and_near_the_truth(tmp_path: Path) -> None:
    path = run(tmp_path / "run", problems=300, candidates=12, chance=0.3)
    [summary] = report_of([path]).summaries
    _, results = read_journal(path / "journal.jsonl")
    right = [sum(trace.answer == result.problem.answer for trace in result.traces) for result in results]
    assert summary.curve is not None
    for k, passed in enumerate(summary.curve.passed, 1):
        assert passed == pytest.approx(sum(1 - comb(12 - c, k) / comb(12, k) for c in right) / 300)
        assert passed == pytest.approx(1 - 0.7**k, abs=4 * 0.5 / sqrt(300))
        assert summary.curve.passed_low[k - 1] <= passed <= summary.curve.passed_high[k - 1]


def test_what_all_candidates_elect_is_the_accuracy_and_the_loss_is_what_they_knew_better(tmp_path: Path) -> None:
    """Ties fall as the run's rule says."""
    for rule in ("smallest", "largest"):
        assert_maj_of_all_is_the_accuracy(tmp_path / rule, rule)


def assert_maj_of_all_is_the_accuracy(folder: Path, rule: TieBreak) -> None:
    def voted(line: Json) -> Json:
        ballots = [Ballot(one["candidate"], one["answer"]) for one in line["traces"] if one["answer"] is not None]
        vote = tally(ballots, tie_break=rule)
        return line | {"answer": vote.winner or 0, "vote": {"ranking": vote.ranking}}

    path = run(folder, problems=100, candidates=6, seeds=2)
    ties = lambda header: header | {"config": header["config"] | {"tie_break": rule}}  # noqa: E731
    [summary] = report_of([edit(path, voted, ties)]).summaries
    assert summary.curve is not None
    assert summary.accuracy is not None
    assert summary.curve.maj[-1] == pytest.approx(summary.accuracy.mean)
    assert summary.accuracy.loss == pytest.approx(summary.curve.passed[-1] - summary.accuracy.mean)


def test_the_mean_and_the_sd_are_over_seeds(tmp_path: Path) -> None:
    path = run(tmp_path / "run", problems=40, candidates=5, seeds=3)
    [summary] = report_of([path]).summaries
    _, results = read_journal(path / "journal.jsonl")
    shares = [sum(bool(one.correct) for one in results if one.seed == seed) / 40 for seed in range(3)]
    mean = sum(shares) / 3
    assert summary.accuracy is not None
    assert summary.accuracy.seeds == pytest.approx(dict(enumerate(shares)))
    assert summary.accuracy.mean == pytest.approx(mean)
    assert summary.accuracy.sd == pytest.approx(sqrt(sum((share - mean) ** 2 for share in shares) / 2))
    assert summary.accuracy.low < mean < summary.accuracy.high


def test_levels_and_subjects_add_up_to_the_whole(tmp_path: Path) -> None:
    [summary] = report_of([run(tmp_path / "run", problems=60, candidates=4)]).summaries
    for parts in (summary.levels, summary.subjects):
        assert sum(part.problems for part in parts.values()) == 60
        right = sum(part.mean * part.problems for part in parts.values()) / 60
        assert summary.accuracy is not None
        assert right == pytest.approx(summary.accuracy.mean)
    assert list(summary.levels) == ["1", "2", "3", "4", "5"]


def test_a_new_column_is_one_entry_for_the_runs_and_for_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COLUMNS, "wrong", lambda accuracy, _: f"{1 - accuracy.mean:.3f}")
    report = report_of([run(tmp_path / "run", problems=40, candidates=4)])
    [summary] = report.summaries
    assert summary.accuracy is not None
    shown = in_terminal(report, 120)
    assert shown.count("wrong") == 3  # of the run, by level, by subject
    for accuracy in (summary.accuracy, *summary.levels.values(), *summary.subjects.values()):
        assert f"{1 - accuracy.mean:.3f}" in shown


@pytest.mark.slow
def test_of_a_stopped_run_the_curves_use_as_many_candidates_as_every_problem_has(tmp_path: Path) -> None:
    shape = {"problems": 400, "candidates": 9, "chance": 0.6}
    full = report_of([run(tmp_path / "full", **shape)]).summaries[0]
    report = report_of([edit(run(tmp_path / "cut", **shape), stopped)])
    [cut] = report.summaries
    assert full.accuracy is not None
    assert full.curve is not None
    assert cut.accuracy is not None
    assert cut.curve is not None
    assert len(cut.curve.maj) == 5  # fewer decide nothing
    assert cut.accuracy.mean == full.accuracy.mean
    assert cut.missing == cut.accuracy.missing == cut.ended["cancelled"] > 0
    for k in range(5):
        assert cut.curve.passed[k] == pytest.approx(full.curve.passed[k], abs=4 * 0.5 / sqrt(400 * 5 / (k + 1)))
    assert cut.accuracy.passed <= full.accuracy.passed
    assert "≥" in in_terminal(report, 100)
    assert any("use the first 5 that ended of each problem" in note for note in report.notes)


@pytest.mark.slow
def test_all_that_ended_before_a_stop_would_be_too_many_of_the_leaders(tmp_path: Path) -> None:
    """Why only the first K count: with all, the share of right candidates (truth 0.6) comes out too high."""
    report = report_of([edit(run(tmp_path / "cut", problems=2000, candidates=9, chance=0.6), stopped)])
    records, accuracy = report.records, report.summaries[0].accuracy
    ended = (records.status != 0).sum(axis=1) - (records.status == 5).sum(axis=1)
    naive = float((records.right.sum(axis=1) / ended).mean())
    error = 0.5 / sqrt(2000 * 5)
    assert accuracy is not None
    assert accuracy.one == pytest.approx(0.6, abs=4 * error)
    assert naive > 0.6 + 4 * error


def test_what_the_deadline_cut_counts_as_a_candidate_without_an_answer(tmp_path: Path) -> None:
    def late(line: Json) -> Json:
        line["traces"][-1].update(status="cancelled", answer=None, turns=[])
        return line | {"stopped": "deadline"}

    report = report_of([edit(run(tmp_path / "late", problems=30, candidates=4), late)])
    [summary] = report.summaries
    assert summary.curve is not None
    assert len(summary.curve.maj) == 4
    assert summary.missing == 0
    assert any("30 of 120 candidates were cut by the deadline" in note for note in report.notes)


def test_a_problem_that_an_error_ended_is_wrong_for_every_k(tmp_path: Path) -> None:
    def fail(line: Json) -> Json:
        return line | {"traces": [], "vote": {"ranking": []}, "answer": -1, "fallback": True, "stopped": "error"}

    path = run(tmp_path / "run", problems=10, candidates=4, chance=1.0)
    first = "synthetic-0"
    [summary] = report_of([edit(path, lambda line: fail(line) if line["problem"]["id"] == first else line)]).summaries
    assert summary.curve is not None
    assert summary.accuracy is not None
    assert summary.accuracy.mean == 0.9
    assert summary.curve.maj == summary.curve.passed == pytest.approx([0.9] * 4)
    assert summary.defaults == 1


def test_runs_that_differ_in_their_seed_only_are_counted_together(tmp_path: Path) -> None:
    one, other = (run(tmp_path / name, problems=20, candidates=3) for name in "ab")
    edit(other, lambda line: line | {"seed": 1}, lambda header: header | {"config": header["config"] | {"seed": 1}})
    report = report_of([one, other])
    assert [summary.seeds for summary in report.summaries] == [{0: 20, 1: 20}]
    assert any("differ in their seeds only are counted together: a, b" in note for note in report.notes)


def test_a_difference_inside_the_noise_is_called_so(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, problems=40, candidates=3, chance=chance) for name, chance in (("a", 0.5), ("b", 0.5))]
    edit(runs[1], lambda line: line | {"answer": -1} if line["problem"]["id"] == "synthetic-0" else line)
    report = report_of(runs)
    [comparison] = report.comparisons
    assert comparison.noise
    assert comparison.p == pytest.approx(1)
    assert any("inside the noise (p = 1.000)" in note for note in report.notes)


def test_a_difference_that_is_none_of_chance_is_significant_and_its_sign_is_the_later_runs(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, problems=60, candidates=3, chance=chance) for name, chance in (("a", 0.9), ("b", 0.1))]
    report = report_of(runs)
    [comparison] = report.comparisons
    assert not comparison.noise
    assert comparison.high < 0
    assert comparison.worse > comparison.better
    assert not any("inside the noise" in note for note in report.notes)


def test_a_run_that_has_not_ended_is_said_to_be_part_of_one(tmp_path: Path) -> None:
    path = run(tmp_path / "run", problems=3, candidates=3, seeds=2)
    for problems, said in ((4, True), (3, False)):
        edit(path, lambda line: line, lambda header, count=problems: header | {"problem_count": count})  # type: ignore[misc]
        assert any("6 of 8 results are there" in note for note in report_of([path]).notes) == said


def test_runs_that_share_a_part_of_their_problems_say_what_the_first_has_there(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, problems=count, candidates=3, chance=1.0) for name, count in (("a", 5), ("b", 3))]
    edit(runs[0], lambda line: line | {"answer": -1} if line["problem"]["id"] == "synthetic-0" else line)
    report = report_of(runs)
    assert any("b and a are compared on the 3 problems that they share: there a has 66.7 %" in n for n in report.notes)


def test_where_all_are_right_the_curves_are_not_certain(tmp_path: Path) -> None:
    [summary] = report_of([run(tmp_path / "run", problems=6, candidates=3, chance=1.0)]).summaries
    assert summary.curve is not None
    assert summary.accuracy is not None
    assert summary.curve.maj == [1.0] * 3
    assert summary.curve.maj_low == summary.curve.passed_low == pytest.approx([summary.accuracy.low] * 3)
    assert summary.accuracy.low == pytest.approx(0.025 ** (1 / 6))


def test_runs_of_other_sets_are_not_compared(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, problems=5, candidates=3) for name in "ab"]
    edit(runs[1], lambda line: line | {"problem": line["problem"] | {"id": "x" + line["problem"]["id"]}})
    report = report_of(runs)
    assert report.comparisons == []
    assert any("no graded problem in common" in note for note in report.notes)


def test_one_problem_with_two_references_is_refused(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, problems=5, candidates=3) for name in "ab"]
    edit(runs[1], lambda line: line | {"problem": line["problem"] | {"answer": -7}})
    with pytest.raises(UserError, match=r"no runs of one set: the reference of synthetic-0 is \d+ and -7"):
        report_of(runs)


def test_a_run_without_references_has_ends_and_costs(tmp_path: Path) -> None:
    path = run(tmp_path / "run", problems=5, candidates=3)
    report = report_of([edit(path, lambda line: line | {"problem": line["problem"] | {"answer": None}})])
    shown = in_terminal(report, 100)
    assert "5 of 5 results have no reference" in shown
    assert "What a problem took" in shown
    assert "Right answers" not in shown


def test_a_run_that_has_just_begun_is_no_error(tmp_path: Path) -> None:
    report = report_of([run(tmp_path / "run", problems=0, candidates=3)])
    assert in_terminal(report, 80).strip() == "- run: no problem has ended yet"


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 100])
def test_no_figure_is_cut_off(tmp_path: Path, width: int) -> None:
    shape = {"problems": 60, "candidates": 48, "seeds": 2}
    runs = [run(tmp_path / name, **shape) for name in ("math-level-5-numinamath-7b-tir-seed-0", "b")]
    report = report_of(runs)
    lines = in_terminal(report, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    table = " ".join(lines)
    for figure in (f"{report.summaries[0].cost.total_tokens:,}", "pass@N", "context", "Σ blocks", "noise", *COLUMNS):
        assert figure in table


def test_the_csv_has_a_line_a_problem_and_seed_that_add_up(tmp_path: Path) -> None:
    path = run(tmp_path / "run", problems=10, candidates=3, seeds=2)
    assert main(["score", str(path), "--csv", str(tmp_path / "x.csv"), "--json", str(tmp_path / "x.json")]) == 0
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = json.loads((tmp_path / "x.json").read_text())
    [summary] = figures["summaries"]
    assert Counter(row["seed"] for row in rows) == {"0": 10, "1": 10}
    assert sum(int(row["right"]) for row in rows) / 20 == pytest.approx(summary["accuracy"]["mean"])
    assert sum(int(row["tokens"]) for row in rows) == summary["cost"]["total_tokens"]
    assert len(summary["curve"]["maj"]) == 3


def test_a_journal_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(tmp_path / "run", problems=2, candidates=3)
    before = (path / "journal.jsonl").read_bytes()
    for read in (path, run(tmp_path / "other", problems=2, candidates=3)):
        for option in ("--json", "--csv", "--html", "--png"):
            assert main(["score", str(read), option, str(path / "journal.jsonl")]) == 2
            assert "is a run's journal" in capsys.readouterr().err
    assert (path / "journal.jsonl").read_bytes() == before


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(tmp_path / "none"), "--csv", str(tmp_path / "no" / "x.csv")]) == 2
    assert "must be a file in a folder that exists" in capsys.readouterr().err


@pytest.mark.slow
def test_the_picture_has_a_band_for_each_curve_of_each_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra `plots`: pip install 'sctir-kaggle[plots]'")
    from sctir_kaggle.lab.score.curves import curves

    runs = [run(tmp_path / name, problems=20, candidates=5) for name in "ab"]
    assert main(["score", *map(str, runs), "--png", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    summaries = report_of(runs).summaries
    [axes] = curves(summaries).axes
    assert [line.get_label() for line in axes.lines] == ["a maj@k", "a pass@k", "b maj@k", "b pass@k"]
    assert len(axes.collections) == 4
    assert summaries[0].curve is not None
    assert axes.lines[0].get_ydata() == pytest.approx([100 * mean for mean in summaries[0].curve.maj])


def test_the_page_shows_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("sctir_kaggle.lab.view.page", reason="this checkout has no viewer")
    path = run(tmp_path / "run", problems=3, candidates=2)
    assert main(["score", str(path), "--html", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").read_text().lstrip().lower().startswith("<!doctype html>")
