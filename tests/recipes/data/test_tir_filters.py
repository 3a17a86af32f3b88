"""Right answers that a trace's code does not carry are refused: each filter keeps one kind of trace and drops another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.answers import parse
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir_data import ROWS, make
from sctir_kaggle.recipes.rows import Row, read_rows, write_rows
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import UserError
from tests.support.unruly_server import UnrulyServer, problem_rows, right_by, write_problems

pytestmark = pytest.mark.slow

pytest.importorskip("httpx", reason="the recipe's server is asked by httpx: pip install 'sctir-kaggle[openai]'")

TEN = 10


@pytest.fixture(scope="module", autouse=True)
def one_sandbox(sandbox: Sandbox) -> Iterator[None]:
    """Runs in this process share the session's: it takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sctir_kaggle.sandbox.Sandbox", lambda **_: nullcontext(sandbox))
        yield


def made(folder: Path, how: str, **changes: Any) -> tuple[dict[str, Any], list[Row]]:
    """Statistics and rows of ten problems at a server whose model is always right, and comes to it by `how`."""
    source = write_problems(folder / "problems.jsonl", TEN, findable=True)
    with UnrulyServer(reply=right_by(how)) as server:
        fields = {"problems": str(source), "output": folder / "run", "base_url": (server.url,), "in_flight": TEN}
        statistics = make(TirSettings(**{"rounds": 1, **fields, **changes}))
    return statistics, list(read_rows(folder / "run" / ROWS))


def outcomes(statistics: dict[str, Any]) -> dict[str, int]:
    """How many attempts ended in which way, without those in which none did; their sum is what was asked."""
    [line] = statistics["rounds"]
    names = list(line)[2 : list(line).index("prompt_tokens")]
    assert sum(line[name] for name in names) == line["asked"]
    return {name: line[name] for name in names if line[name]}


@pytest.mark.parametrize(
    ("how", "outcome", "setting"),
    [
        ("no code", "no_code", {"code": "optional"}),
        ("a crash", "crashed", {"last_block": "any", "last_output": "any"}),
        ("another output", "contradicted", {"last_output": "any"}),
    ],
)
def test_ten_of_ten_right_guesses_are_refused_unless_the_filter_is_off(
    tmp_path: Path, how: str, outcome: str, setting: dict[str, str]
) -> None:
    (tmp_path / "on").mkdir()
    (tmp_path / "off").mkdir()
    statistics, rows = made(tmp_path / "on", how)
    assert (outcomes(statistics), rows) == ({outcome: TEN}, [])
    assert statistics["dropped"] == TEN
    statistics, rows = made(tmp_path / "off", how, **setting)
    assert outcomes(statistics) == {"kept": TEN}
    assert len(rows) == TEN


def test_a_trace_whose_code_prints_its_answer_is_kept(tmp_path: Path) -> None:
    statistics, rows = made(tmp_path, "its output")
    assert outcomes(statistics) == {"kept": TEN}
    assert len(rows) == TEN
    assert json.loads((tmp_path / "run" / "statistics.json").read_text()) == statistics


def test_all_rounds_give_a_pass_rate_and_as_many_rows_as_are_to_be_kept(tmp_path: Path) -> None:
    source = write_problems(tmp_path / "problems.jsonl", 40)
    with UnrulyServer() as server:
        fields: dict[str, Any] = {
            "problems": str(source),
            "output": tmp_path / "run",
            "base_url": (server.url,),
            "in_flight": 40,
        }
        fields |= {"rounds": 4, "all_rounds": True, "keep": 2, "duplicates": "kept"}
        told = TirSettings(**fields)
        statistics = make(told)
        asked = server.treated["200"]
        assert make(told) == statistics
        assert server.treated["200"] == asked
    rows = list(read_rows(tmp_path / "run" / ROWS))
    assert [line["asked"] for line in statistics["rounds"]] == 4 * [40]
    for line in statistics["rounds"]:
        names = list(line)[2 : list(line).index("prompt_tokens")]
        assert sum(line[name] for name in names) == line["asked"]
    assert sum(statistics["right"].values()) == 40
    assert statistics["right"]["0"] >= 2  # each twentieth problem's answer is never found
    right = sum(int(count) * problems for count, problems in statistics["right"].items())
    assert right == sum(
        line[name] for line in statistics["rounds"] for name in ("kept", "surplus", "duplicate", "unstable")
    )
    assert statistics["rows"] == len(rows) == len({row["id"] for row in rows})
    assert sum(line["surplus"] for line in statistics["rounds"]) > 0
    by_problem = Counter(row["problem"] for row in rows)
    assert set(by_problem.values()) <= {1, 2}
    assert len(by_problem) == statistics["kept"] == 40 - statistics["dropped"]
    assert {row["attempts"] for row in rows} == {4}
    assert {row["pass_rate"] for row in rows} <= {0.25, 0.5, 0.75, 1.0}


def test_the_same_code_twice_is_one_row(tmp_path: Path) -> None:
    for duplicates, rows in (("code", TEN), ("text", TEN), ("kept", 3 * TEN)):
        (tmp_path / duplicates).mkdir()
        statistics, kept = made(
            tmp_path / duplicates, "its output", rounds=3, keep=3, duplicates=duplicates, seed=len(duplicates)
        )
        assert len(kept) == statistics["rows"] == rows
        assert sum(line["duplicate"] for line in statistics["rounds"]) == 3 * TEN - rows


def test_problems_without_an_answer_are_labelled_by_their_attempts(tmp_path: Path) -> None:
    rows = problem_rows(20)
    write_rows(tmp_path / "problems.jsonl", [{**row, "answer": None} for row in rows])
    with UnrulyServer() as server:
        fields: dict[str, Any] = {
            "problems": str(tmp_path / "problems.jsonl"),
            "output": tmp_path / "run",
            "base_url": (server.url,),
        }
        fields |= {"rounds": 5, "reference": "majority", "in_flight": 20}
        told = TirSettings(**fields)
        statistics = make(told)
    labels, kept = statistics["labels"], list(read_rows(tmp_path / "run" / ROWS))
    assert labels["unanswered"] == 20
    assert labels["majority"] == statistics["kept"] == len(kept) > 0
    assert labels["none"] == 20 - labels["majority"] == statistics["dropped"]
    assert {row["label"] for row in kept} == {"majority"}
    assert sum(line["no_label"] for line in statistics["rounds"]) > 0
    true = {row["id"]: row["answer"] for row in problem_rows(20, findable=True)}
    right = sum(parse(str(true[row["id"]])) == parse(str(row["answer"])) for row in kept)
    assert right > len(kept) / 2  # that of a model which is wrong by one in one of five


def test_an_earlier_version_s_folder_and_other_rules_are_refused_on_one_line(tmp_path: Path) -> None:
    made(tmp_path, "its output")
    journal = tmp_path / "run" / JOURNAL
    before = journal.read_bytes()
    with pytest.raises(UserError, match=r"^cannot resume [^\n]*: last_output was agrees, now any; [^\n]*$"):
        made(tmp_path, "its output", last_output="any")
    header, rest = before.split(b"\n", 1)
    old = {name: value for name, value in json.loads(header).items() if name != "kept_by"}
    journal.write_bytes(json.dumps(old, separators=(",", ":")).encode() + b"\n" + rest)
    with pytest.raises(UserError, match=r"^cannot resume [^\n]*: an earlier version made it [^\n]*$"):
        made(tmp_path, "its output")
    assert journal.read_bytes().endswith(rest)
