"""The vote: majority, ties, and that the order of the ends does not matter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.voting import Ballot, TieBreak, tally

TIE_BREAKS = st.sampled_from(["first", "smallest", "largest"])


def ballots(*answers: int) -> list[Ballot]:
    return [Ballot(candidate, answer) for candidate, answer in enumerate(answers)]


def test_the_majority_wins_and_the_ranking_holds_every_answer() -> None:
    assert tally(ballots(7, 3, 7, 9)).ranking == ((7, 2.0), (3, 1.0), (9, 1.0))


def test_an_empty_vote_has_no_winner() -> None:
    assert tally([]).winner is None


@pytest.mark.parametrize(("rule", "winner"), [("first", 5), ("smallest", 2), ("largest", 8)])
def test_a_tie_goes_to_the_rule(rule: TieBreak, winner: int) -> None:
    assert tally(ballots(5, 2, 8), tie_break=rule).winner == winner


@given(st.lists(st.integers(-3, 3), max_size=12), TIE_BREAKS, st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_finish_does_not_matter(
    answers: list[int], rule: TieBreak, order: random.Random
) -> None:
    cast = [Ballot(candidate, answer, weight=0.1 * (1 + candidate % 7)) for candidate, answer in enumerate(answers)]
    shuffled = order.sample(cast, len(cast))
    assert tally(shuffled, tie_break=rule) == tally(cast, tie_break=rule)


def test_a_candidate_votes_once() -> None:
    with pytest.raises(ValueError, match="at most one vote"):
        tally([Ballot(0, 1), Ballot(0, 2)])
