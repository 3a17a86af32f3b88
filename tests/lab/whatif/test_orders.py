"""Many orders at once: the vectorised vote, clock and deadlines are those of the solver and the budget, one by one."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctir_kaggle import SolverConfig, SolveResult, UserError
from sctir_kaggle.budget import Budget
from sctir_kaggle.lab.whatif.clocks import Equal, Shares, Unlimited
from sctir_kaggle.lab.whatif.orders import shuffle, shuffled, simulate
from sctir_kaggle.lab.whatif.resimulate import rerun
from sctir_kaggle.lab.whatif.rules import Rules
from sctir_kaggle.lab.whatif.trajectories import VoteTrajectories, completion_order_of, trajectories_of
from sctir_kaggle.stopping import decided, leader_risk
from sctir_kaggle.voting import Ballot, tally
from tests.support.whatif_support import RULES, solved

N = 9

SOME_RULES = st.sampled_from(RULES)


SECONDS = st.floats(0, 100) | st.floats(0, 1e5)

CLAMPS = st.builds(
    lambda cap, draw, low, high: {
        "cap": cap,
        "draw": draw,
        "floor": low if high is None else min(low, high),
        "high": high,
    },
    st.floats(1, 6),
    st.floats(0, 1),
    st.just(0.0) | SECONDS,
    st.none() | SECONDS.filter(bool),
)

SOME_CLAMPS = st.sampled_from(
    [
        {},
        {"cap": 1.5, "draw": 1.0},
        {"floor": 7.313},
        {"high": 3.331},
        {"floor": 2.737, "high": 9.973, "cap": 4.0},
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.floats(1, 1e5),
    st.integers(1, 60),
    st.floats(0, 1000),
    st.sampled_from([0.0, 2.0, 60.0]),
    CLAMPS,
    st.integers(0, 10**6),
)
def test_shares_are_the_budgets_to_the_last_bit(
    seconds: float, problems: int, reserve: float, grace: float, clamps: Any, seed: int
) -> None:
    """Three runs at once, whose problems take nothing, their soft or hard share, more than that, or anything else."""
    rng, nows = random.Random(seed), [0.0, 0.0, 0.0]
    budgets = [
        Budget(
            seconds,
            problems,
            reserve=reserve,
            grace=grace,
            started=0.0,
            clock=partial(nows.__getitem__, i),
            **clamps,
        )
        for i in range(3)
    ]
    shares = Shares(seconds, problems, reserve=reserve, grace=grace, **clamps)
    for _ in range(problems):
        limits = shares.next_deadlines(np.array(nows))
        for i, budget in enumerate(budgets):
            real = budget.next_deadlines()
            assert (limits.soft[i], limits.hard[i]) == (real.soft, real.hard)
            share = real.soft - nows[i]
            nows[i] += rng.choice(
                [0.0, share, real.hard - nows[i], real.hard - nows[i] + grace, rng.uniform(0, 2) * share]
            )
    with pytest.raises(ValueError, match="every planned problem"):
        shares.next_deadlines(np.array(nows))


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), SOME_RULES, st.sampled_from(["first", "smallest", "largest"]))
def test_the_vectorised_vote_is_the_vote_at_every_candidate(seed: int, rules: Any, tie: Any) -> None:
    config = SolverConfig(candidates=N, tie_break=tie, stop_ballots=3, stop_delta=0.2, **rules)
    results = [solved(seed + i, candidates=N, stop="none", tie_break=tie) for i in range(4)]
    rule = config.vote_rule
    found = trajectories_of(completion_order_of(results, config), config)
    for row, result in enumerate(results):
        cast: list[Ballot] = []
        struck = N
        for k in range(N + 1):
            if k and (answer := result.traces[k - 1].answer) is not None:
                trace = result.traces[k - 1]
                cast.append(Ballot(trace.candidate, answer, rule.weigh(result.problem, trace, config.modulus)))
            winner = tally(cast, tie_break=tie).winner
            assert found.right[row, k] == ((winner or 0) == result.problem.answer)
            assert found.voted[row, k] == (winner is not None)
            plain = rule.name == "plain"
            risk = leader_risk(cast, unfinished=N - k) if plain else not decided(cast, unfinished=N - k)
            assert found.contested[row, k] == (risk > config.contested_risk)
            if config.stop_rule.reason(cast, unfinished=N - k):
                struck = min(struck, k)
        assert found.last[row] == struck


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), SOME_RULES, st.floats(10, 120), SOME_CLAMPS)
def test_a_simulated_order_is_what_solver_and_budget_make_of_it(
    seed: int, named: Any, seconds: float, clamps: Any
) -> None:
    """Five problems in three orders: the same answers, the same end, problem after problem through the real classes.

    No deadline falls on the moment at which a candidate ends: there either order is right.
    """
    rules = Rules(config=SolverConfig(candidates=N, grace_seconds=0.5, **named))
    records = [solved(seed + i, candidates=N, stop="none") for i in range(5)]
    orders = [random.Random(seed + i).sample(range(5), 5) for i in range(3)]
    clock = Shares(seconds, 5, reserve=1.0, grace=0.5, **clamps)
    outcome = simulate(trajectories(records, rules), np.array(orders).T, clock)
    for run, order in enumerate(orders):
        right, end, unanswered = one_by_one([records[place] for place in order], rules, seconds, clamps)
        assert (outcome.scores[run], outcome.unanswered[run]) == (right, unanswered)
        assert outcome.finished[run] == pytest.approx(end, abs=1e-4)


def trajectories(records: list[SolveResult], rules: Rules) -> VoteTrajectories:
    again = [
        rerun(record, replace(rules, config=replace(rules.config, stop="none")), first=N).result for record in records
    ]
    return trajectories_of(completion_order_of(again, rules.config), rules.config)


def one_by_one(records: list[SolveResult], rules: Rules, seconds: float, clamps: Any) -> tuple[int, float, int]:
    now, right, unanswered = 0.0, 0, 0
    budget = Budget(seconds, len(records), reserve=1.0, grace=0.5, started=0.0, clock=lambda: now, **clamps)
    for record in records:
        limits = budget.next_deadlines()
        result = rerun(record, rules, first=N, soft=limits.soft - now, hard=limits.hard - now).result
        now += result.seconds
        right += result.correct is True
        unanswered += result.fallback
    return right, now, unanswered


def test_every_order_holds_every_problem_of_one_set_once() -> None:
    sets = [np.arange(5), np.arange(5, 10)]
    [(which, rows)] = shuffled(sets, 7, np.random.default_rng(0))
    assert which.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert [sorted(rows[:, run].tolist()) for run in range(7)] == [sets[one].tolist() for one in which]
    assert len({tuple(rows[:, run].tolist()) for run in range(7)}) > 2


def test_without_a_limit_a_run_past_the_end_is_worth_nothing() -> None:
    records = [solved(seed, candidates=N, stop="none") for seed in range(6)]
    rules = Rules(config=SolverConfig(candidates=N, stop="none"))
    found, rows = trajectories(records, rules), np.arange(6)[:, None]
    whole = simulate(found, rows, Unlimited(), limit=1e9)
    assert whole.scores[0] == sum(record.correct is True for record in records) > 0
    assert whole.finished[0] == pytest.approx(sum(record.seconds for record in records), abs=1e-3)
    late = simulate(found, rows, Unlimited(), limit=whole.finished[0] - 0.01)
    assert (late.scores[0], late.unanswered[0]) == (0, 1 + sum(record.fallback for record in records[:-1]))


def test_equal_shares_do_not_care_about_the_order() -> None:
    records = [solved(seed, candidates=N, stop="none") for seed in range(6)]
    [(_, rows)] = shuffled([np.arange(6)], 50, np.random.default_rng(1))
    rules = Rules(config=SolverConfig(candidates=N, stop="exact"))
    outcome = simulate(trajectories(records, rules), rows, Equal(6.0))
    assert outcome.scores.std() == 0
    assert outcome.finished.max() <= 36.0 + 1e-9


def test_a_record_that_was_cut_is_not_shuffled_under_rules_that_need_the_rest() -> None:
    records = [(0, solved(seed, candidates=N, stop="exact")) for seed in range(4)]
    assert any(record.stopped == "exact" for _, record in records)
    stopped = Rules(config=SolverConfig(candidates=N, stop="exact"), budget=1000.0)
    assert shuffle(records, N, [("as recorded", stopped)], 10)[0].orders == 10
    with pytest.raises(UserError, match="record with --stop none"):
        shuffle(records, N, [("full", stopped.full)], 10)


def test_the_same_seed_shuffles_the_same_orders() -> None:
    records = [(0, solved(seed, candidates=N, stop="none")) for seed in range(5)]
    rules = Rules(config=SolverConfig(candidates=N, stop="exact"), budget=60.0)
    assert shuffle(records, N, [("a", rules)], 200, seed=3) == shuffle(records, N, [("a", rules)], 200, seed=3)
