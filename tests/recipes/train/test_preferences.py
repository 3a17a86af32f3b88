"""Recorded candidates as KTO's data: who wrote what, which are right, and how much each kind weighs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import FORCED_BOX, NUMINA, OUTPUT_FENCE
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train.kto import KTO
from sctir_kaggle.recipes.train.preferences import Preference, balanced, preferences, read_preferences, segments
from sctir_kaggle.types import Completion, ExecutionResult, Problem, Trace, TraceStatus, Turn, UserError
from tests.support.replay_support import PROBLEMS, SEEDS, run
from tests.support.solved import solved, trace, turn

PROBLEM = Problem("p", "What is $6 \\cdot 7$? ", 42)

CODE = Turn(
    Completion(f"We multiply.\n```python\nprint(6 * 7)\n```\n{OUTPUT_FENCE}", stop_reason=OUTPUT_FENCE),
    code="print(6 * 7)",
    execution=ExecutionResult("42\n"),
    bridge=("42\n```",),
)
BOXED = Turn(Completion("\nIt is $\\boxed{42}$."))
FORCED = Turn(Completion("42}$", stop_reason="$"), prefix=FORCED_BOX)


def labelled(*traces: Trace, reference: int | None = 42) -> list[Preference]:
    return list(preferences(solved("p", problem=Problem("p", "text", reference), traces=traces)))


def ended(*turns: Turn) -> bool:
    [one] = labelled(trace(0, 42, *turns))
    return one.ended


@pytest.mark.parametrize("turns", [(BOXED,), (CODE, BOXED), (CODE, CODE, FORCED)])
def test_the_segments_are_the_prompt_that_the_solver_would_send_next(turns: tuple[Turn, ...]) -> None:
    parts = segments(PROBLEM, trace(0, 42, *turns))
    assert "".join(part.text for part in parts) == "".join(map(str, render(NUMINA, PROBLEM, turns)))


def test_the_model_wrote_its_completions_and_nothing_else() -> None:
    parts = segments(PROBLEM, trace(0, 42, CODE, FORCED))
    assert [part.text for part in parts if part.learned] == [CODE.completion.text, "42}$"]
    assert [part.text for part in parts if not part.learned][1:] == ["42\n```", FORCED_BOX]


def test_the_end_counts_only_where_the_model_wrote_it() -> None:
    assert ended(CODE, BOXED)
    assert not ended(CODE, FORCED)
    assert not ended(CODE)
    assert not ended(Turn(Completion("and so on, and", finish_reason="length")))


def test_a_candidate_is_right_if_its_answer_is_the_reference() -> None:
    found = labelled(trace(0, 42, BOXED), trace(1, 41, BOXED), trace(2, None, CODE))
    assert [one.desirable for one in found] == [True, False, False]


def test_candidates_that_were_ended_from_outside_say_nothing_of_the_model() -> None:
    unfinished = [trace(number, None, CODE, status=status) for number, status in enumerate(TraceStatus)]
    kept = len(labelled(*unfinished))
    assert kept == len(TraceStatus) - 2
    assert not labelled(
        trace(0, None, CODE, status=TraceStatus.CANCELLED), trace(1, None, CODE, status=TraceStatus.FAILED)
    )


def test_problems_without_a_reference_and_candidates_without_a_text_are_left_out() -> None:
    assert not labelled(trace(0, 42, turn("42")), reference=None)
    assert not labelled(trace(0, None, status=TraceStatus.OUT_OF_CONTEXT))


def test_they_stand_in_the_order_of_their_numbers() -> None:
    found = labelled(trace(1, 41, turn("b")), trace(0, 42, turn("a")))
    assert [one.desirable for one in found] == [True, False]


@pytest.mark.slow
def test_a_replay_s_journal_is_read_with_all_its_seeds(tmp_path: Path) -> None:
    run(tmp_path)
    found = list(read_preferences([tmp_path]))
    assert len(found) == len(PROBLEMS) * len(SEEDS) * 2
    assert {one.desirable for one in found} == {True, False}


@pytest.mark.parametrize(("right", "wrong"), [(10, 10), (30, 10), (10, 30), (1, 999)])
@pytest.mark.parametrize("quotient", [1.0, 1.2, 4 / 3])
def test_the_weighted_counts_have_the_quotient_and_the_smaller_weight_is_one(
    right: int, wrong: int, quotient: float
) -> None:
    weights = balanced(right, wrong, quotient=quotient)
    assert weights.desirable * right == pytest.approx(quotient * weights.undesirable * wrong)
    assert min(weights.desirable, weights.undesirable) == 1


@pytest.mark.parametrize(("right", "wrong"), [(0, 5), (5, 0)])
def test_one_kind_alone_is_refused(right: int, wrong: int) -> None:
    with pytest.raises(UserError, match=f"{right} completions are right and {wrong} wrong: KTO learns from both"):
        balanced(right, wrong)


@pytest.mark.parametrize("quotient", [0.9, 1.5])
def test_a_quotient_that_the_paper_advises_against_is_refused(quotient: float) -> None:
    with pytest.raises(UserError, match=f"quotient is {quotient}"):
        balanced(1, 1, quotient=quotient)


def test_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch is 1; it must be at least 2"):
        KTO(model="m", runs=(tmp_path,), output=tmp_path, batch=1)


def test_the_settings_in_the_package_are_whole() -> None:
    assert read_settings(KTO, CONFIGS / "kto.yaml").quotient == 1
