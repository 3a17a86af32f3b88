"""Answers that are no numbers: a rule decides, else a judge at a chat server, once for each pair, whatever it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.tir.judge import VERDICTS
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir_data import ROWS, make
from sctir_kaggle.recipes.rows import Row, read_rows, write_rows
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import EngineError, UserError
from tests.support.fake_server import Answer, FakeServer, Json, refuses
from tests.support.unruly_server import UnrulyServer, chat_says

pytestmark = pytest.mark.slow

pytest.importorskip("httpx", reason="the recipe's server is asked by httpx: pip install 'sctir-kaggle[openai]'")

PROBLEMS = [
    # id, reference, what the code prints and the box says, what the judge would say
    ("number", "7", "7", "DIFFERENT"),
    ("rule", r"2\sqrt{3}", r"\sqrt{12}", "DIFFERENT"),
    ("equal", r"\text{the empty set}", "no solution", "Nothing solves it.\nEQUAL"),
    ("different", r"\text{the empty set}", "all numbers", "DIFFERENT"),
    ("garbled", r"\text{the empty set}", "nothing at all", "As a model, I cannot say EQUAL or DIFFERENT."),
]


@pytest.fixture(scope="module", autouse=True)
def one_sandbox(sandbox: Sandbox) -> Iterator[None]:
    """Runs in this process share the session's: it takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sctir_kaggle.sandbox.Sandbox", lambda **_: nullcontext(sandbox))
        yield


def reply(body: Json) -> str:
    """The model: prints and boxes what the table says."""
    problem, *later = [message["content"] for message in body["messages"][1:]]
    [said] = [printed for name, _, printed, _ in PROBLEMS if problem.endswith(f"({name})")]
    printed = said.replace("\\", "\\\\")
    if later:
        return f"The answer is $\\boxed{{{said}}}$."
    return f"We compute.\n\n```python\nprint('{printed}')\n```\n"


def verdict(body: Json) -> Answer:
    [message] = body["messages"]
    name = re.search(r"\((\w+)\)\n</problem>", message["content"])
    assert name is not None
    return chat_says(next(said for known, _, _, said in PROBLEMS if known == name[1]))


def settings(folder: Path, server: FakeServer, judge: FakeServer | None, **changes: Any) -> TirSettings:
    rows = [{"id": name, "problem": f"What is it? ({name})", "answer": right} for name, right, _, _ in PROBLEMS]
    write_rows(folder / "problems.jsonl", rows)
    fields = {"problems": str(folder / "problems.jsonl"), "output": folder / "run", "base_url": (server.url,)}
    fields |= {"in_flight": 5, "rounds": 1, "tries": 2, "pause": 0.01, "patience": 0.1, "failures": 3}
    if judge is not None:
        fields |= {"judge": True, "judge_url": (judge.url,), "judge_price_prompt": 2.0, "judge_price_completion": 8.0}
    return TirSettings(**{**fields, **changes})


def rows_of(folder: Path) -> dict[str, Row]:
    return {row["id"]: row for row in read_rows(folder / "run" / ROWS)}


def test_without_a_judge_only_numbers_are_sampled(tmp_path: Path) -> None:
    with UnrulyServer(reply=reply) as server:
        statistics = make(settings(tmp_path, server, None))
    assert statistics["left_out"] == {"no numerical answer": 4}
    assert set(rows_of(tmp_path)) == {"number"}


def test_a_judge_is_asked_only_where_no_rule_decides_and_never_twice(tmp_path: Path) -> None:
    with UnrulyServer(reply=reply) as server, FakeServer(otherwise=verdict) as judge:
        told = settings(tmp_path, server, judge)
        statistics = make(told)
        assert len(judge.bodies) == 3
        assert all("system" not in {message["role"] for message in body["messages"]} for body in judge.bodies)
        assert make(told) == statistics
        (tmp_path / "run" / "journal.jsonl").unlink()  # as if a kill had come before an attempt was written down
        assert make(told)["judge"] == statistics["judge"]
        assert len(judge.bodies) == 3
    rows = rows_of(tmp_path)
    assert {name: row["answer"] for name, row in rows.items()} == {
        "number": 7,
        "rule": r"2\sqrt{3}",
        "equal": r"\text{the empty set}",
    }
    [line] = statistics["rounds"]
    assert (line["asked"], line["kept"], line["wrong"]) == (5, 3, 2)
    judged = statistics["judge"]
    assert (judged["asked"], judged["equal"], judged["different"], judged["garbled"]) == (3, 1, 1, 1)
    assert judged["prompt_tokens"] == 300
    assert judged["cost"] == pytest.approx((300 * 2 + judged["completion_tokens"] * 8) / 1e6)
    assert statistics["cost"] == pytest.approx(judged["cost"])


def test_a_judge_that_is_gone_fails_the_attempt_which_is_made_again(tmp_path: Path) -> None:
    with UnrulyServer(reply=reply) as server, FakeServer(otherwise=refuses(500, "oops")) as judge:
        told = settings(tmp_path, server, judge, failures=1)
        with pytest.raises(EngineError, match=r"1 attempts in a row failed, the last with: the judge: "):
            make(told)
        judge.otherwise = verdict
        statistics = make(told)
    assert statistics["open"] == 0
    assert set(rows_of(tmp_path)) == {"number", "rule", "equal"}


def test_another_judge_is_another_run(tmp_path: Path) -> None:
    with UnrulyServer(reply=reply) as server:
        with FakeServer(otherwise=verdict) as judge:
            make(settings(tmp_path, server, judge))
        with (
            FakeServer(otherwise=verdict, model="other") as judge,
            pytest.raises(UserError, match=r"^cannot resume [^\n]*judge was [^\n]*$"),
        ):
            make(settings(tmp_path, server, judge))


def test_a_file_that_holds_no_verdicts_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / VERDICTS
    file.write_text(json.dumps({"something": "else"}) + "\n")
    with (
        UnrulyServer(reply=reply) as server,
        FakeServer(otherwise=verdict) as judge,
        pytest.raises(UserError, match=r"^[^\n]* is no file of verdicts; move it away$"),
    ):
        make(settings(tmp_path, server, judge))
    assert json.loads(file.read_text()) == {"something": "else"}
