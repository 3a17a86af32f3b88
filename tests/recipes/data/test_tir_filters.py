"""Right answers that a trace's code does not carry are refused: each filter keeps one kind of trace and drops another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir_data import ROWS, make
from sctir_kaggle.recipes.rows import Row, read_rows
from sctir_kaggle.sandbox import Sandbox
from tests.support.unruly_server import UnrulyServer, right_by, write_problems

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
