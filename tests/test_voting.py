"""The vote, and the proof by search that the exact stop rule never changes a winner."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctir_kaggle.voting import Ballot, TieBreak, decided, tally

TIE_BREAKS = st.sampled_from(["first", "smallest", "largest"])


def ballots(*answers: int) -> list[Ballot]:
    return [Ballot(candidate, answer) for candidate, answer in enumerate(answers)]


def test_the_majority_wins_and_the_ranking_holds_every_answer() -> None:
    assert tally(ballots(7, 3, 7, 9)).ranking == ((7, 2.0), (3, 1.0), (9, 1.0))


def test_nobody_wins_an_empty_vote() -> None:
    assert tally([]).winner is None
    assert not decided([], unfinished=0)


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


def test_a_weight_beyond_the_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="would not be exact"):
        decided([Ballot(0, 1, weight=1.5)], unfinished=0)


def test_the_rule_stops_exactly_when_the_lead_exceeds_what_is_left() -> None:
    assert decided(ballots(1, 1, 1, 2), unfinished=1)
    assert not decided(ballots(1, 1, 1, 2), unfinished=2)
    assert decided(ballots(1, 1, 1), unfinished=2)
    assert not decided(ballots(1, 1, 1), unfinished=3)


@settings(max_examples=400, deadline=None)
@given(st.data(), TIE_BREAKS)
def test_stopping_never_changes_the_winner_under_any_continuation(data: st.DataObject, rule: TieBreak) -> None:
    """Exhaustive over who is unfinished and what they may still vote: every seen answer, two unseen ones, or nothing."""
    total = data.draw(st.integers(2, 7), label="candidates")
    max_weight = data.draw(st.sampled_from([1.0, 0.3, 2.5]), label="max weight")
    order = data.draw(st.permutations(range(total)), label="who finishes first")
    done = data.draw(st.integers(max(1, total - 3), total), label="finished")
    weights = st.floats(0, max_weight) | st.sampled_from([0.0, max_weight])
    cast = [
        Ballot(c, data.draw(st.integers(0, 2)), data.draw(weights)) for c in order[:done] if data.draw(st.booleans())
    ]
    if not decided(cast, unfinished=total - done, max_weight=max_weight):
        return
    winner = tally(cast, tie_break=rule).winner
    options = [None, *itertools.product((0, 1, 2, -9, 99), (0.0, max_weight / 2, max_weight))]
    for future in itertools.product(options, repeat=total - done):
        late = [Ballot(c, *vote) for c, vote in zip(order[done:], future, strict=True) if vote is not None]
        assert tally([*cast, *late], tie_break=rule).winner == winner


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2) | st.none(), min_size=1, max_size=12), TIE_BREAKS)
def test_the_rule_is_tight_a_stop_one_vote_earlier_could_be_wrong(stream: list[int | None], rule: TieBreak) -> None:
    """Where the rule goes on, some continuation ties or beats the leader: it never waits without reason."""
    total = len(stream)
    for done in range(1, total):
        cast = [Ballot(c, answer) for c, answer in enumerate(stream[:done]) if answer is not None]
        if decided(cast, unfinished=total - done) or not cast:
            continue
        ranking = tally(cast, tie_break=rule).ranking
        rival = ranking[1][0] if len(ranking) > 1 else 99
        late = [Ballot(c, rival) for c in range(done, total)]
        scores = dict(tally([*cast, *late], tie_break=rule).ranking)
        assert scores[rival] >= scores[ranking[0][0]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4) | st.none(), min_size=48, max_size=48), st.randoms(use_true_random=False), TIE_BREAKS)
def test_at_every_prefix_of_48_a_stop_gives_the_full_votes_winner(
    stream: list[int | None], shuffle: random.Random, rule: TieBreak
) -> None:
    order = shuffle.sample(range(48), 48)
    full = tally([Ballot(c, a) for c in order if (a := stream[c]) is not None], tie_break=rule)
    for done in range(49):
        cast = [Ballot(c, a) for c in order[:done] if (a := stream[c]) is not None]
        if decided(cast, unfinished=48 - done):
            assert tally(cast, tie_break=rule).winner == full.winner
