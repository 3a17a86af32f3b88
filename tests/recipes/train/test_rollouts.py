"""Candidates as token ids: turns put together, what was read and what was written, and what the rewards ask of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sctir_kaggle.types import Completion, ExecutionResult, ExecutionStatus, Problem, Trace, TraceStatus, Turn

pytest.importorskip("torch", reason="the engine needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.recipes.train.live_engine import Sampled
from sctir_kaggle.recipes.train.rl import metrics, rewards
from sctir_kaggle.recipes.train.rollouts import Candidate, Sequenced, sequenced


def sampled(prompt: tuple[int, ...], ids: tuple[int, ...]) -> Sampled:
    """With a log-probability for each id that no other id has."""
    return Sampled(prompt, ids, tuple(-token / 100 for token in ids))


def test_a_turn_is_its_prompt_and_what_was_sampled() -> None:
    assert sequenced([sampled((1, 2), (3, 4))]) == Sequenced((1, 2), (3, 4), (1, 1), (-0.03, -0.04))


def test_what_stands_between_two_turns_was_only_read() -> None:
    whole = sequenced([sampled((1, 2), (3, 4)), sampled((1, 2, 3, 4, 50, 51), (6,))])
    assert whole == Sequenced((1, 2), (3, 4, 50, 51, 6), (1, 1, 0, 0, 1), (-0.03, -0.04, 0.0, 0.0, -0.06))


def test_an_end_token_that_is_not_sent_again_is_not_in_the_sequence() -> None:
    whole = sequenced([sampled((1,), (3, 9)), sampled((1, 3, 50), (6, 9))])
    assert whole == Sequenced((1,), (3, 50, 6, 9), (1, 0, 1, 1), (-0.03, 0.0, -0.06, -0.09))


def test_a_token_in_which_a_stop_string_ends_is_read_as_it_was_encoded_again() -> None:
    whole = sequenced([sampled((1,), (3, 70)), sampled((1, 3, 71, 72, 50), (6,))])
    assert whole == Sequenced((1,), (3, 71, 72, 50, 6), (1, 0, 0, 0, 1), (-0.03, 0.0, 0.0, 0.0, -0.06))


def test_an_end_token_that_is_sent_again_was_written() -> None:
    whole = sequenced([sampled((1,), (3, 9)), sampled((1, 3, 9, 50), (6,))])
    assert whole.written == (1, 1, 0, 1)


def candidate(
    answer: int | None, *ran: ExecutionStatus, status: TraceStatus = TraceStatus.ANSWERED, counts: bool = True
) -> Candidate:
    """Of a problem whose answer is 7; a turn for each block of code that it ran, and a last one."""
    turns = [Turn(Completion("code", (3,)), execution=ExecutionResult("7", one)) for one in ran]
    trace = Trace(0, (*turns, Turn(Completion("end", (4,)))), status, answer)
    sequence = Sequenced((1, 2), (3, 50, 4), (1, 0, 1), (-0.1, 0.0, -0.2))
    return Candidate(Problem("a", "6 + 1?", 7), trace, (), sequence, counts)


OK, ERROR = ExecutionStatus.OK, ExecutionStatus.ERROR

REWARDED = {
    "right": (candidate(7, OK), (1.0, 0.0, 1.0)),
    "right after a repair": (candidate(7, ERROR, OK), (1.0, 0.0, 1.0)),
    "right in spite of its code": (candidate(7, ERROR), (1.0, 0.0, 0.0)),
    "right without code": (candidate(7), (1.0, 0.0, 0.0)),
    "wrong": (candidate(8, OK), (0.0, 1.0, 1.0)),
    "wrong without code": (candidate(-7), (0.0, 1.0, 0.0)),
    "no answer": (candidate(None, OK, status=TraceStatus.EXHAUSTED), (0.0, 0.0, 1.0)),
    "timed out": (candidate(None, ExecutionStatus.TIMEOUT, status=TraceStatus.EXHAUSTED), (0.0, 0.0, 0.0)),
    "cancelled": (candidate(None, OK, status=TraceStatus.CANCELLED, counts=False), (None, None, None)),
}


@pytest.mark.parametrize("what", REWARDED)
def test_the_rewards_are_for_the_answer_and_for_code_that_ran(what: str) -> None:
    one, expected = REWARDED[what]
    rollouts: Any = SimpleNamespace(last=[one, candidate(7)])
    given = [reward(log_metric=lambda name, value: None) for reward in rewards(rollouts)]
    assert tuple(column[0] for column in given) == expected
    assert [column[1] for column in given] == [1.0, 0.0, 0.0]


def test_the_metrics_are_of_the_candidates_that_count() -> None:
    cancelled = candidate(None, OK, OK, status=TraceStatus.CANCELLED, counts=False)
    assert metrics([candidate(7, OK), candidate(None), cancelled]) == {
        "candidates/left_out": 1.0,
        "candidates/turns": 1.5,
        "candidates/tokens_written": 2.0,
        "candidates/tokens_read": 1.0,
        "candidates/with_code": 0.5,
        "candidates/answered": 0.5,
    }
