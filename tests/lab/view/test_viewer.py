"""The viewer's page as a file: it is complete in itself, holds no markup but its own, and says what the journal says."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks.written import run
from sctir_kaggle.budget import Budget
from sctir_kaggle.journal import Journal
from sctir_kaggle.kaggle.bundle import CHECKOUT
from sctir_kaggle.lab.clock import recorded_shares
from sctir_kaggle.lab.score.report import report_of
from sctir_kaggle.lab.view import page as pages
from sctir_kaggle.lab.view.curves import curves
from sctir_kaggle.lab.view.page import page, write_page
from sctir_kaggle.lab.view.problems import candidates, problems
from sctir_kaggle.lab.view.tiles import tiles
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.types import ExecutionResult, Problem, SolveResult, StopReason, UserError
from tests.support.solved import solved, trace, turn

HOSTILE = "</script><script>pwned()</script><img src=x onerror=pwned()><!--\u2028{{index}}\ud800"


def test_the_page_has_words_for_every_reason_to_stop() -> None:
    said = re.search(r"const STOPPED = \{(.*?)\};", Path(pages.__file__).with_name("problem.js").read_text(), re.DOTALL)
    assert said
    assert re.findall(r"^  (\w+):", said[1], re.MULTILINE) == list(get_args(StopReason))


class Tags(HTMLParser):
    """Every element of a page with its attributes, and what the scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


def kept(folder: Path, header: dict[str, Any], results: list[SolveResult]) -> Path:
    """The run as a journal on the disk."""
    with Journal.create(folder / "journal.jsonl", header) as journal:
        for result in results:
            journal.append(result)
    return folder


def sctir(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sctir_kaggle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def tile(results: list[SolveResult], name: str) -> tuple[str, str]:
    [found] = [one for one in tiles(results) if one["name"] == name]
    return found["value"], found["note"]


def test_the_page_names_nothing_that_a_browser_would_fetch() -> None:
    header, results = run(3, 4, 2)
    text = page(results, [header])
    for tag, attributes in Tags(text).found:
        assert not {"src", "href", "srcset", "action", "data", "poster", "style"} & attributes.keys(), tag
    assert not [url for url in re.findall(r"url\(([^)]{0,40})", text) if not url.startswith("data:font/woff2;base64,")]
    assert "@import" not in text


def test_its_policy_lets_nothing_load_and_only_its_own_script_run() -> None:
    tags = Tags(page([solved("p", 1)], []))
    [policy] = [
        a["content"] for tag, a in tags.found if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    digest = base64.b64encode(hashlib.sha256(tags.scripts[-1].encode()).digest()).decode()
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["style-src"].startswith("'sha256-")
    assert rules["font-src"] == "data:"
    assert "unsafe" not in str(policy)


def test_nothing_of_a_run_is_markup_or_can_be_read_as_any() -> None:
    hostile = solved(HOSTILE, problem=Problem(HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE), traces=(_hostile(),))
    harmless = solved("p", problem=Problem("p", "p", 1), traces=(_hostile(),))
    text = page([hostile], [{"engine": {"model": HOSTILE}}], title=HOSTILE, faults=[HOSTILE])
    assert [tag for tag, _ in Tags(text).found] == [tag for tag, _ in Tags(page([harmless], [])).found]
    assert "pwned" not in re.sub(r"&lt;script&gt;pwned\(\)|onerror=pwned\(\)&gt;", "", text)


def _hostile() -> Any:
    executed = turn(HOSTILE, code=HOSTILE, execution=ExecutionResult(HOSTILE), bridge=(HOSTILE,))
    return trace(0, 1, executed, detail=HOSTILE, boxed=HOSTILE)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    header, results = run(2, 4, 2)
    for name in ("one", "two"):
        write_page(results, [header], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_tiles_of_one_seed_say_how_many_are_right() -> None:
    results = [solved("a", 1, reference=1), solved("b", 1, reference=2), solved("c", 1)]
    assert tile(results, "Right") == ("1 of 2", "50.0 %; 1 without a reference")


def test_the_tiles_of_several_seeds_say_mean_and_standard_deviation() -> None:
    given = {0: {"a": 1, "b": 1}, 1: {"a": 1, "b": 2}, 2: {"a": 1, "b": 2}}
    results = [
        solved(id_, answer, reference=1, seed=s) for s, answers in given.items() for id_, answer in answers.items()
    ]
    assert tile(results, "Right") == ("66.7 ± 28.9", "%, mean ± sd of 3 seeds, 2 problems")


def test_a_seed_that_is_not_complete_is_told() -> None:
    results = [solved("a", 1, reference=1), solved("b", 1, reference=1), solved("a", 1, reference=1, seed=1)]
    assert "1 to 2 problems: not all are complete" in tile(results, "Right")[1]


def test_two_runs_with_the_same_seeds_are_not_mixed() -> None:
    results = [solved("a", 1, reference=1), solved("a", 2, reference=1)]
    assert (tile(results, "Right, run 1")[0], tile(results, "Right, run 2")[0]) == ("1 of 1", "0 of 1")
    assert [one["label"] for one in problems(results, None)[0]["attempts"]] == ["seed 0, run 1", "seed 0, run 2"]
    assert curves(results, []) is None


def test_two_problems_with_one_id_stay_two() -> None:
    results = [solved("1", 1, problem=Problem("1", "of AMC")), solved("1", 1, problem=Problem("1", "of AIME"))]
    assert [problem["id"] for problem in problems(results, None)] == ["1", "1 (2)"]


def test_without_references_and_without_results_the_tiles_say_so() -> None:
    assert tile([solved("a", 1)], "Answered") == ("1", "no reference answers: right or wrong is not known")
    assert tile([], "Results")[0] == "none yet"


@pytest.mark.parametrize(("answers", "contested"), [((1, 1, 2), False), ((1, 1, 2, 3), True), ((), False)])
def test_contested_is_a_winner_with_at_most_half_of_the_votes(answers: tuple[int, ...], contested: bool) -> None:
    assert problems([solved("a", *answers)], None)[0]["attempts"][0]["contested"] is contested


def test_an_answer_keeps_all_its_digits() -> None:
    [problem] = problems([solved("a", 10**40 + 7, reference=10**40 + 7)], None)
    assert problem["reference"] == problem["attempts"][0]["answer"] == str(10**40 + 7)


def test_the_curves_are_those_of_score(tmp_path: Path) -> None:
    header, results = run(6, 12, 2, seeds=2)
    [summary] = report_of([kept(tmp_path, header, results)]).summaries
    found = curves(results, [header])
    assert found is not None
    assert summary.curve is not None
    assert [row[0] for row in found["maj"]] == pytest.approx(summary.curve.maj, abs=0.005)
    assert [row[0] for row in found["pass"]] == pytest.approx(summary.curve.passed, abs=1e-4)
    assert [row[1] for row in found["pass"]] == pytest.approx(summary.curve.passed_low, abs=0.02)


def test_the_shares_are_those_that_the_budget_gave() -> None:
    results = [solved("a", 1, seconds=10.0), solved("b", 1, seconds=40.0), solved("c", 1, seconds=5.0)]
    now = 0.0
    budget = Budget(300.0, 3, reserve=RESERVE * 300.0, grace=2.0, started=0.0, clock=lambda: now)
    given = []
    for result in results:
        limits = budget.next_deadlines()
        given.append((limits.soft - now, limits.hard - now))
        now += result.seconds
    assert recorded_shares(results, [{"budget": 300.0, "config": {"grace_seconds": 2.0}}]) == given


@pytest.mark.parametrize("header", [{}, {"budget": None}, {"budget": 300.0, "seeds": [0]}])
def test_a_run_without_a_clock_has_no_shares(header: dict[str, Any]) -> None:
    assert recorded_shares([solved("a", 1)], [header]) is None


def test_an_output_that_the_model_saw_in_part_is_shown_whole_and_as_it_was_shown() -> None:
    long = ExecutionResult("1" * 1000)
    blocks = ("\n```output\n" + "1" * 1000 + "\n```", "short")
    whole, cut = (turn("x", code="c", execution=long, bridge=(block,)) for block in blocks)
    [candidate] = candidates(solved("a", traces=(trace(0, 1, whole, cut),)))
    assert [one["output"]["shown"] for one in candidate["turns"]] == [None, "short"]
    assert candidate["turns"][1]["output"]["text"] == "1" * 1000


def test_texts_that_do_not_fit_are_left_out_but_those_of_wrong_answers_last(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [solved("right", 1, reference=1), solved("wrong", 1, reference=2)]
    one = len(pages._packed(candidates(results[1])))
    monkeypatch.setattr(pages, "TEXT_LIMIT", one)
    blocks = re.findall(r'id="d\d">([^<]*)<', page(results, []))
    found = [json.loads(gzip.decompress(base64.b64decode(block))) for block in blocks]
    assert [block[0]["turns"] is None for block in found] == [True, False]


def test_view_writes_a_page_beside_the_journal_and_says_where(tmp_path: Path) -> None:
    folder = kept(tmp_path / "my run", *run(2, 3, 2))
    done = sctir("view", folder)
    assert done.stdout.startswith(f"{folder / 'view.html'}: 2 results, "), done.stderr
    assert "<title>my run · sctir</title>" in (folder / "view.html").read_text(encoding="utf-8")


def test_view_opens_the_page_in_the_browser(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    output = tmp_path / "page.html"
    sctir("view", kept(tmp_path / "run", *run(1, 2, 1)), "--output", output, "--open", BROWSER=f"{browser} %s")
    assert (tmp_path / "opened").read_text().strip() == output.as_uri()


def test_a_page_is_not_written_over_a_journal(tmp_path: Path) -> None:
    folder = kept(tmp_path / "run", *run(1, 2, 1))
    before = (folder / "journal.jsonl").read_bytes()
    done = sctir("view", folder, "--output", folder / "journal.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (folder / "journal.jsonl").read_bytes() == before


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = sctir("view", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no journal" in done.stderr


def test_a_page_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*: Is a directory; choose another --output"):
        write_page([], [], tmp_path)


def test_an_ordinary_package_has_every_file_of_the_viewer(tmp_path: Path) -> None:
    """What setuptools would put in: the patterns of pyproject.toml cover every file that lies there."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    patterns = re.findall(r'"(lab/view/[^"]+)"', text)
    package = CHECKOUT / "sctir_kaggle"
    covered = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    there = {
        path for path in (package / "lab/view").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert there == covered
    assert len([path for path in there if path.suffix == ".woff2"]) == 20


def test_the_risk_and_the_default_reach_the_page() -> None:
    default = replace(solved("a", None), risk=0.25, stopped="beta")
    [attempt] = problems([default], None)[0]["attempts"]
    assert (attempt["default"], attempt["risk"], attempt["stopped"]) == (True, 0.25, "beta")
