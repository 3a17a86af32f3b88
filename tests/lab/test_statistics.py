"""pass@k is the closed form, maj@k the count over all subsets, the paired test McNemar's; intervals hold what they should."""

from __future__ import annotations

from itertools import combinations, product
from math import comb, sqrt

import numpy as np
import pytest

from sctir_kaggle.lab import statistics
from sctir_kaggle.lab.statistics import (
    DRAWS,
    bootstrap,
    holm,
    maj_at_k,
    maj_curve,
    pass_at_k,
    pass_curve,
    share_bounds,
    sign_flip,
    spread,
)
from sctir_kaggle.voting import Ballot, TieBreak, tally


@pytest.mark.parametrize("n", [1, 7, 48])
def test_pass_at_k_is_the_closed_form(n: int) -> None:
    correct = np.arange(n + 1)
    for k in range(1, n + 1):
        closed = [1 - comb(n - c, k) / comb(n, k) for c in correct.tolist()]
        assert pass_at_k(correct, n, k) == pytest.approx(closed, abs=1e-12)


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_candidate() -> None:
    right = [True, False, False, True, False, False]
    for k in range(1, 7):
        subsets = list(combinations(right, k))
        assert pass_at_k(np.array([2]), 6, k)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_a_thousand_candidates_overflow_nothing() -> None:
    curve = pass_curve(np.array([0, 1, 1024]), 1024)
    assert curve[1] == pytest.approx(np.arange(1, 1025) / 1024)
    assert (curve[0] == 0).all()
    assert (curve[2] == 1).all()


@pytest.mark.parametrize("k", [0, 4])
def test_more_candidates_than_there_are_cannot_be_drawn(k: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 3"):
        pass_at_k(np.array([1]), 3, k)


def elected_right(votes: tuple[int, ...], right: int, rule: TieBreak, default_right: bool) -> float:
    """The share of all orders of `votes` in which the vote that a run holds elects `right`; -1 is no vote."""
    ballots = [(number, vote) for number, vote in enumerate(votes) if vote >= 0]
    if not ballots:
        return float(default_right)
    if rule != "first":
        return float(tally([Ballot(*ballot) for ballot in ballots], tie_break=rule).winner == right)
    scores = tally([Ballot(*ballot) for ballot in ballots]).ranking
    leaders = [answer for answer, score in scores if score == scores[0][1]]
    return (right in leaders) / len(leaders)


@pytest.mark.parametrize("rule", ["first", "smallest", "largest"])
@pytest.mark.parametrize("default_right", [False, True])
def test_maj_at_k_is_the_count_over_all_subsets_within_its_error(rule: TieBreak, default_right: bool) -> None:
    rng = np.random.default_rng(3)
    rows = [(1, 0, 1, 2, -1, 0, 2, 3), (0, 0, -1, -1, -1, -1, -1, 1), (-1,) * 8, (2, 1, 0, 0, 1, 2, 0, 1)]
    rows += [tuple(row) for row in rng.integers(-1, 4, (6, 8)).tolist()]
    votes, right = np.array(rows, np.int32), np.array([0, 1, -1, 2, 0, 1, 2, 3, 0, 0])
    precedence = {"first": None, "smallest": 3 - np.tile(np.arange(4), (10, 1)), "largest": np.tile(range(4), (10, 1))}
    curve = maj_curve(votes, right, precedence=precedence[rule], default_right=np.full(10, default_right))
    margin = 5 * 0.5 / sqrt(DRAWS / len(rows))
    for row, k in product(range(len(rows)), range(1, 9)):
        subsets = list(combinations(rows[row], k))
        exact = sum(elected_right(subset, right[row], rule, default_right) for subset in subsets) / len(subsets)
        assert curve[row, k - 1] == pytest.approx(exact, abs=margin if k < 8 else 1e-12)


def test_the_share_of_a_tie_is_what_the_lowest_number_wins_on_average_over_all_orders() -> None:
    """Why `first` needs no order: with two of five votes each, 0 and 1 lead; the lowest number falls on either as often."""
    from itertools import permutations

    orders = list(permutations((0, 0, 1, 1, 2)))
    winners = [tally(Ballot(*ballot) for ballot in enumerate(order)).winner for order in orders]
    assert winners.count(0) / len(orders) == 0.5 == maj_at_k(np.array([[0, 0, 1, 1, 2]]), np.array([0]), 5)[0]


def test_a_majority_is_not_that_of_the_first_k() -> None:
    """All the right votes stand first: maj@1 is their share all the same."""
    curve = maj_curve(np.array([[0, 0, 0, 1, 1, 1, 1, 1, 1, 1]]), np.array([0]))
    assert curve[0, 0] == pytest.approx(0.3, abs=5 * 0.5 / sqrt(DRAWS))


def test_the_blocks_change_no_figure_but_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = np.random.default_rng(0).integers(-1, 3, (7, 5)).astype(np.int32)
    whole = maj_curve(votes, np.zeros(7, int), draws=70_000)
    for cells in (5, 50_000, 120_000):  # a part of a row, a row, two rows at a time
        monkeypatch.setattr(statistics, "CELLS", cells)
        parts = maj_curve(votes, np.zeros(7, int), draws=700 if cells == 5 else 70_000)
        assert parts[:, -1] == pytest.approx(whole[:, -1])
        assert np.abs(parts - whole).max() < 5 * 0.5 / sqrt(100 if cells == 5 else 10_000)


def binomial(better: int, worse: int) -> float:
    """McNemar's exact two-sided p-value."""
    n, least = better + worse, min(better, worse)
    tail = sum(comb(n, i) for i in range(least + 1)) / float(2**n)
    return min(1.0, 2 * tail)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 2), (8, 8), (15, 3), (0, 30)])
def test_the_paired_test_of_single_seeds_is_mcnemars(better: int, worse: int) -> None:
    differences = np.array([1] * better + [-1] * worse + [0] * 50)
    assert sign_flip(differences) == pytest.approx(binomial(better, worse), abs=1e-12)


def test_the_paired_test_of_several_seeds_is_the_count_over_all_signs() -> None:
    differences = np.array([5, -3, 2, 2, -1, 4, 0, 3])
    sums = [abs(int(np.dot(signs, differences))) for signs in product((-1, 1), repeat=8)]
    assert sign_flip(differences) == pytest.approx(sum(s >= 12 for s in sums) / 256)


def test_the_normal_distribution_takes_over_where_it_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(5).integers(-9, 10, 3000)
    exact = sign_flip(differences)
    monkeypatch.setattr(statistics, "LONGEST", 10)
    assert sign_flip(differences) == pytest.approx(exact, abs=0.002)


def test_two_runs_of_the_same_skill_differ_significantly_in_one_of_twenty_pairs_at_most() -> None:
    rng = np.random.default_rng(11)
    skill = rng.random(60)
    pairs = [(rng.random((2, 60)) < skill).astype(int) for _ in range(400)]
    alarms = sum(sign_flip(a - b) <= 0.05 for a, b in pairs)
    assert 0 < alarms <= 0.05 * 400 + 4 * sqrt(400 * 0.05 * 0.95)


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_spread_is_over_seeds() -> None:
    right, seeds = np.array([1, 1, 0, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 2])
    assert np.array(spread(right, seeds), float) == pytest.approx(np.array([0.5, 0.5]))
    assert spread(right, np.zeros(6)) == (0.5, None)


@pytest.mark.slow
def test_the_interval_holds_the_truth_in_about_95_of_100_sets() -> None:
    """Problems of unlike difficulty, 5 seeds each; the truth is the mean over all problems there could be."""
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(200):
        skill = rng.beta(0.8, 0.8, 60)
        right = (rng.random((60, 5)) < skill[:, None]).astype(float)
        low, high = bootstrap(right.ravel(), np.repeat(np.arange(60), 5), seed=trial)
        held += bool(low <= 0.5 <= high)
    assert 0.89 <= held / 200 <= 0.99


def test_seeds_of_one_problem_do_not_feign_more_problems() -> None:
    right = np.random.default_rng(1).integers(0, 2, 40).astype(float)
    several = bootstrap(np.repeat(right, 5), np.repeat(np.arange(40), 5))
    assert np.array(several) == pytest.approx(np.array(bootstrap(right, np.arange(40))))


def test_all_right_is_not_certain() -> None:
    bound = 0.025 ** (1 / 10)
    assert np.array(share_bounds(np.ones(10), np.arange(10))) == pytest.approx(np.array([bound, 1]))
    assert np.array(share_bounds(np.zeros(10), np.arange(10))) == pytest.approx(np.array([0, 1 - bound]))
