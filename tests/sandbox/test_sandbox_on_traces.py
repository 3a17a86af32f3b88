"""What the sandbox shows for real model-written code, against what was recorded. Each eighth completion; all of them:
`python -m benchmarks.traces`. What counts as reproduced, and how differences are named, is written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.traces import (
    BOTH_TIMED_OUT,
    BY_HAND,
    CODE_SECONDS,
    FOLLOWS,
    LEAST,
    NOT_RECORDED,
    OUTPUT_BYTES,
    REPRODUCED,
    SAME_EXCEPTION,
    SAME_NUMBER,
    SAME_TEXT,
    TIMED_OUT_HERE,
    UNNAMED,
    Block,
    completions,
    judge,
    rate,
    replay,
)
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionResult, ExecutionStatus

pytestmark = pytest.mark.slow

EVERY = 8
"""Half a minute, most of it blocks that never end."""


@pytest.fixture(scope="module")
def recorders_limits() -> Iterator[Sandbox]:
    pytest.importorskip("numpy")
    pytest.importorskip("sympy")
    with Sandbox(workers=2, code_seconds=CODE_SECONDS, output_bytes=OUTPUT_BYTES) as sandbox:
        yield sandbox


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "blocks"), [("rho_tir_math_gsm8k", 440), ("mathcoder_math", 280), ("tora_gsm8k", 320)]
)
def test_recorded_outputs_are_reproduced_and_every_difference_has_a_name(
    name: str, blocks: int, recorders_limits: Sandbox, shared_data: Path
) -> None:
    runs = completions(shared_data / "traces" / f"{name}.jsonl.gz", every=EVERY)
    outcomes = replay(recorders_limits, runs)
    assert len(outcomes) > blocks
    assert not [(o.block.trace, o.block.number, o.result.output) for o in outcomes if o.verdict == UNNAMED]
    assert rate(outcomes) >= LEAST[name]


@pytest.mark.shared
def test_blocks_looked_at_by_hand_still_differ(recorders_limits: Sandbox, shared_data: Path) -> None:
    """Otherwise the list has superfluous lines."""
    traces = {trace for trace, _ in BY_HAND}
    runs = [
        run
        for name in LEAST
        for run in completions(shared_data / "traces" / f"{name}.jsonl.gz")
        if run and run[0].trace in traces
    ]
    differing = {
        (outcome.block.trace, outcome.block.number)
        for outcome in replay(recorders_limits, runs)
        if outcome.verdict not in REPRODUCED
    }
    assert set(BY_HAND) <= differing


def verdict(recorded: str | None, output: str, *, code: str = "", status: str = "ok") -> str:
    (outcome,) = judge([Block("trace", 0, code, recorded)], [ExecutionResult(output, ExecutionStatus(status))])
    return outcome.verdict


@pytest.mark.parametrize(
    ("recorded", "output", "status", "expected"),
    [
        ("18", "18\n", "ok", SAME_TEXT),
        ("[1,\n 2,\n 3]", "[1, 2, 3]\n", "ok", SAME_TEXT),
        ("<empty_execution>", "", "ok", SAME_TEXT),
        ("1" * 200 + "..." + "2" * 200, "1" * 300 + "2" * 300 + "\n", "ok", SAME_TEXT),
        ("0.3", "0.30000000000000004\n", "ok", SAME_NUMBER),
        ("0.3", "0.3001\n", "ok", UNNAMED),
        ("18", "19\n", "ok", UNNAMED),
        ("", "18\n", "ok", UNNAMED),
        (None, "18\n", "ok", NOT_RECORDED),
        ("IndexError: list index out of range", "  File ...\nIndexError: other words\n", "error", SAME_EXCEPTION),
        ("\x1b[31mIndexError\x1b[0m: list", "IndexError: other words\n", "error", SAME_EXCEPTION),
        ("second line", "ValueError: first line\nsecond line\n", "error", SAME_EXCEPTION),
        ("IndexError: list index", "KeyError: 0\n", "error", UNNAMED),
        ("IndexError: list index", "IndexError: printed, not raised\n", "ok", UNNAMED),
        ("18", "KeyError: 0\n", "error", UNNAMED),
        ("timeout_decorator.TimeoutError: 'Timed Out'", "TimeoutError: the code ran\n", "timeout", BOTH_TIMED_OUT),
        ("timeout_decorator.TimeoutError: 'Timed Out'", "18\n", "ok", "out of time there only"),
        ("18", "TimeoutError: the code ran\n", "timeout", TIMED_OUT_HERE),
        ("(1.5, 2)", "(np.float64(1.5), np.int64(2))\n", "ok", "numpy 2 names the type of a scalar"),
        ("({-4, 4}, 2)", "({4, -4}, 2)\n", "ok", "the same items in another order"),
        ("({-4, 4}, 2)", "({4, -4}, 3)\n", "ok", UNNAMED),
    ],
)
def test_the_comparison_names_each_kind_of_difference(
    recorded: str | None, output: str, status: str, expected: str
) -> None:
    assert verdict(recorded, output, status=status) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("1\n", "NameError: name 'x' is not defined\n", UNNAMED),
        ("2\n", "NameError: name 'x' is not defined\n", FOLLOWS),
        ("2\n", "0\n", UNNAMED),
    ],
)
def test_a_missing_name_is_blamed_on_an_earlier_difference_only_where_there_was_one(
    first: str, second: str, expected: str
) -> None:
    blocks = [Block("trace", 0, "x = 1; x", "1"), Block("trace", 1, "x", "1")]
    results = [ExecutionResult(first), ExecutionResult(second, ExecutionStatus.ERROR)]
    assert judge(blocks, results)[1].verdict == expected


def test_after_a_block_that_ran_out_of_time_every_difference_follows() -> None:
    blocks = [Block("trace", 0, "x = 1; x", "1"), Block("trace", 1, "x", "1")]
    results = [ExecutionResult("TimeoutError: ...", ExecutionStatus.TIMEOUT), ExecutionResult("0\n")]
    assert [outcome.verdict for outcome in judge(blocks, results)] == [TIMED_OUT_HERE, FOLLOWS]


def test_what_was_not_recorded_does_not_count() -> None:
    blocks = [Block("trace", number, "", recorded) for number, recorded in enumerate(("1", "2", None))]
    assert rate(judge(blocks, [ExecutionResult("1\n")] * 3)) == 0.5
