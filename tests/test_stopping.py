"""The stop rules: a proof by search that the exact one never changes a winner, what beta risks, and k and margin by hand."""

from __future__ import annotations

import asyncio
import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctir_kaggle import Completion, Problem, Prompt, SamplingParams, SolverConfig, TraceStatus, UserError
from sctir_kaggle.lab.whatif.timed import SimulatedLoop, run_simulated
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.solver import Solver
from sctir_kaggle.stopping import StopRule, _overtaking, beta_decided, decided, leader_risk
from sctir_kaggle.types import Answer
from sctir_kaggle.voting import Ballot, TieBreak, tally

TIE_BREAKS = st.sampled_from(["first", "smallest", "largest"])


def ballots(*answers: int) -> list[Ballot]:
    return [Ballot(candidate, answer) for candidate, answer in enumerate(answers)]


def test_without_a_ballot_nothing_is_decided() -> None:
    assert not decided([], unfinished=0)


def test_a_weight_beyond_the_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="would not be exact"):
        decided([Ballot(0, 1, weight=1.5)], unfinished=0)


def test_the_rule_stops_exactly_when_the_lead_exceeds_what_is_left() -> None:
    assert decided(ballots(1, 1, 1, 2), unfinished=1)
    assert not decided(ballots(1, 1, 1, 2), unfinished=2)
    assert decided(ballots(1, 1, 1), unfinished=2)
    assert not decided(ballots(1, 1, 1), unfinished=3)


@pytest.mark.slow
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


@pytest.mark.slow
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


def urn(votes: tuple[int, ...], further: int) -> dict[tuple[int, ...], Fraction]:
    """Every outcome of `further` votes under uniform Dirichlet shares, step by step: Polya's urn."""
    outcomes = {votes: Fraction(1)}
    for _ in range(further):
        after: dict[tuple[int, ...], Fraction] = {}
        for state, probability in outcomes.items():
            for place, count in enumerate(state):
                added = (*state[:place], count + 1, *state[place + 1 :])
                share = Fraction(count + 1, sum(state) + len(state))
                after[added] = after.get(added, Fraction(0)) + probability * share
        outcomes = after
    return outcomes


def leader_fails(votes: tuple[int, ...], further: int) -> Fraction:
    """The exact probability that the first is not alone in front after `further` votes."""
    return sum((p for state, p in urn(votes, further).items() if state[0] <= max(state[1:])), Fraction(0))


def cast_of(votes: tuple[int, ...]) -> list[Ballot]:
    return ballots(*(answer for answer, count in enumerate(votes) for _ in range(count)))


def test_the_closed_form_of_one_rival_is_the_urns() -> None:
    for leader, rival, further in itertools.product(range(1, 6), range(5), range(7)):
        if rival <= leader:
            assert _overtaking(leader, rival, further) == leader_fails((leader, rival), further)


def test_the_three_numbers_of_further_votes_that_are_looked_at_hold_the_worst_of_all() -> None:
    for leader, rival, unfinished in itertools.product(range(1, 9), range(8), range(16)):
        if rival <= leader:
            worst = max(_overtaking(leader, rival, further) for further in range(unfinished + 1))
            some = {0, 1, unfinished - 1, unfinished} & set(range(unfinished + 1))
            assert max(_overtaking(leader, rival, further) for further in some) == worst


@pytest.mark.parametrize("votes", [(3, 0), (4, 1, 0), (5, 2, 0), (3, 1, 1, 0), (5, 1, 1, 1, 0), (2, 2, 0)])
def test_the_risk_bounds_the_models_exact_probability_however_many_of_the_rest_vote(votes: tuple[int, ...]) -> None:
    """The last place is the answer not seen yet."""
    for further in range(6):
        assert leader_fails(votes, further) <= leader_risk(cast_of(votes), unfinished=5)


def test_the_risk_is_one_without_votes_and_at_a_tie_and_zero_when_all_have_ended_with_a_leader() -> None:
    assert leader_risk([], unfinished=3) == 1
    assert leader_risk(ballots(1, 2), unfinished=3) == 1
    assert leader_risk(ballots(1, 1, 2), unfinished=0) == 0


def test_the_risk_of_a_known_case() -> None:
    assert leader_risk(ballots(1, 1), unfinished=2) == Fraction(1, 10)  # both for the rival: 1/4 x 2/5
    assert leader_risk(ballots(1, 1, 2), unfinished=1) == Fraction(2, 5)  # (1 + 1) / (2 + 1 + 2)


def test_a_weighted_vote_has_no_risk_of_this_model() -> None:
    with pytest.raises(ValueError, match="plain majority"):
        leader_risk([Ballot(0, 1, weight=0.5)], unfinished=1)


STREAMS = st.lists(st.integers(0, 3) | st.none(), min_size=1, max_size=48)
DELTAS = st.floats(0, 0.49)


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(0, 40), DELTAS, st.integers(1, 48))
def test_what_is_exactly_decided_is_beta_decided(stream: list[int | None], left: int, delta: float, least: int) -> None:
    cast = [Ballot(c, a) for c, a in enumerate(stream) if a is not None]
    if decided(cast, unfinished=left):
        assert leader_risk(cast, unfinished=left) == 0
        assert beta_decided(cast, unfinished=left, delta=delta, min_ballots=least)


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(0, 40))
def test_without_any_risk_allowed_it_is_the_exact_rule(stream: list[int | None], left: int) -> None:
    cast = [Ballot(c, a) for c, a in enumerate(stream) if a is not None]
    assert beta_decided(cast, unfinished=left, delta=0) == decided(cast, unfinished=left)


@settings(max_examples=300, deadline=None)
@given(STREAMS, st.integers(0, 40), DELTAS, DELTAS)
def test_a_larger_delta_never_stops_later(stream: list[int | None], left: int, one: float, other: float) -> None:
    cast = [Ballot(c, a) for c, a in enumerate(stream) if a is not None]
    if beta_decided(cast, unfinished=left, delta=min(one, other)):
        assert beta_decided(cast, unfinished=left, delta=max(one, other))


def test_it_waits_for_its_least_number_of_ballots() -> None:
    assert beta_decided(ballots(*[1] * 8), unfinished=40, delta=0.05, min_ballots=8)
    assert not beta_decided(ballots(*[1] * 7), unfinished=41, delta=0.05, min_ballots=8)
    assert beta_decided(ballots(1, 1), unfinished=1, delta=0.05, min_ballots=8)  # decided exactly


def test_1024_candidates_are_no_problem_for_the_whole_numbers() -> None:
    risk = leader_risk(ballots(*[1] * 300, *[2] * 270), unfinished=454)
    assert float(risk) == pytest.approx(0.032, abs=0.001)  # the final lead is about normal, 53.9 +- 28.6: P(< 1)


def first_stop(stream: list[int | None], delta: float) -> int:
    """How many candidates have ended when the rule stops."""
    for done in range(1, len(stream)):
        cast = [Ballot(c, a) for c, a in enumerate(stream[:done]) if a is not None]
        if beta_decided(cast, unfinished=len(stream) - done, delta=delta):
            return done
    return len(stream)


def winner_of(stream: list[int | None]) -> Answer | None:
    return tally(Ballot(c, a) for c, a in enumerate(stream) if a is not None).winner


@pytest.mark.slow
@pytest.mark.parametrize("delta", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("voting", [1.0, 0.6])
def test_under_its_model_it_errs_no_more_often_than_delta(delta: float, voting: float) -> None:
    """Monte Carlo over whole runs: two answers with uniform shares, every vote looked at, also where not all vote."""
    rng, runs, wrong, stopped = random.Random(1), 1500, 0, 0
    for _ in range(runs):
        share = rng.random()
        stream = [int(rng.random() < share) if rng.random() < voting else None for _ in range(24)]
        done = first_stop(stream, delta)
        stopped += done < 24
        wrong += winner_of(stream[:done]) != winner_of(stream)
    assert stopped > runs / 2
    assert wrong / runs <= delta


def in_words(stream: list[tuple[int, int] | None], rule: str, number: int) -> tuple[int, str]:
    """After how many ends a rule stops and why, by its definition in words; weights are given in 4096ths.

    `exact` is searched for: all unfinished candidates vote for one rival with weight 1.
    """
    votes: dict[int, int] = {}
    for done, vote in enumerate([None, *stream]):
        if vote is not None:
            votes[vote[0]] = votes.get(vote[0], 0) + vote[1]
        leaders = [answer for answer, score in votes.items() if score == max(votes.values())]
        unfinished = 4096 * (len(stream) - done)
        rivals = [votes.get(rival, 0) for rival in (*votes, -1) if leaders and rival != leaders[0]]
        if leaders and all(rival + unfinished < votes[leaders[0]] for rival in rivals):
            return done, "exact"
        if rule == "k" and any(score >= 4096 * number for score in votes.values()):
            return done, "k"
        if rule == "margin" and leaders and all(votes[leaders[0]] - rival >= 4096 * number for rival in rivals):
            return done, "margin"
    return len(stream), "all"


def by_the_rule(stream: list[tuple[int, int] | None], rule: StopRule) -> tuple[int, str]:
    for done in range(len(stream) + 1):
        cast = [Ballot(c, vote[0], vote[1] / 4096) for c, vote in enumerate(stream[:done]) if vote is not None]
        if reason := rule.reason(cast, unfinished=len(stream) - done):
            return done, reason
    return len(stream), "all"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k", "margin"])
@pytest.mark.parametrize("weights", [(4096,), (0, 1, 410, 1024, 2048, 4096)], ids=["plain", "weighted"])
def test_on_1000_random_streams_a_counted_stop_is_its_definition_in_words(name: str, weights: tuple[int, ...]) -> None:
    rng, seen = random.Random(name), set()
    for _ in range(1000):
        total, answers, silent = rng.randint(1, 24), rng.randint(1, 6), rng.choice([0.0, 0.1, 0.5])
        stream = [
            None
            if rng.random() < silent
            else (min(rng.randint(0, answers), rng.randint(0, answers)), rng.choice(weights))
            for _ in range(total)
        ]
        number = rng.randint(1, 8)
        found = by_the_rule(stream, StopRule.parse(f"{name}={number}"))
        assert found == in_words(stream, name, number)
        seen.add(found[1])
    assert seen == {name, "exact", "all"}


class InTurn:
    """Candidate number k ends after k seconds with the k-th answer, or without one."""

    def __init__(self, answers: list[int | None]) -> None:
        self.answers = answers

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        candidate = int(request_id.split("/")[1])
        await asyncio.sleep(candidate + 1)
        answer = self.answers[candidate]
        return Completion("Hm." if answer is None else f"So $\\boxed{{{answer}}}$.")


@pytest.mark.parametrize("name", ["k", "margin"])
@pytest.mark.parametrize(("vote", "small"), [("plain", 4096), ("small=0.1", 410)])
def test_on_1000_random_streams_the_solver_stops_where_the_definition_in_words_does(
    sandbox: Sandbox, name: str, vote: str, small: int
) -> None:
    """250 for each of the four; answers up to 5 are what `small` trusts less."""
    rng = random.Random(f"{name} {vote}")
    for _ in range(250):
        answers = [rng.choice([None, rng.randint(3, 8), rng.randint(3, 8)]) for _ in range(rng.randint(1, 16))]
        number, loop = rng.randint(1, 5), SimulatedLoop()
        config = SolverConfig(candidates=len(answers), stop=f"{name}={number}", vote=vote, force_answer=False)
        solver = Solver(InTurn(answers), sandbox, config, clock=loop.time)
        result = run_simulated(loop, solver.solve(Problem("p", "Add.")))
        done = sum(trace.status is not TraceStatus.CANCELLED for trace in result.traces)
        votes = [None if answer is None else (answer, small if answer < 6 else 4096) for answer in answers]
        ended, reason = in_words(votes, name, number)
        assert (done, result.stopped) == (ended, reason if ended < len(answers) else "all")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4096)) | st.none(), max_size=24),
    st.sampled_from(["exact", "k=1", "k=4", "k=2048", "margin=1", "margin=3"]),
    st.integers(0, 24),
)
def test_every_stop_but_none_ends_a_decided_vote(
    stream: list[tuple[int, int] | None], text: str, unfinished: int
) -> None:
    cast = [Ballot(c, vote[0], vote[1] / 4096) for c, vote in enumerate(stream) if vote is not None]
    assert StopRule.parse("none").reason(cast, unfinished=unfinished) is None
    if decided(cast, unfinished=unfinished):
        assert StopRule.parse(text).reason(cast, unfinished=unfinished) == "exact"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3) | st.none(), max_size=24), st.integers(1, 24))
def test_k_beyond_half_of_all_candidates_is_the_exact_stop(stream: list[int | None], more: int) -> None:
    rule, votes = StopRule.parse(f"k={len(stream) // 2 + more}"), [None if a is None else (a, 4096) for a in stream]
    assert by_the_rule(votes, rule) == by_the_rule(votes, StopRule.parse("exact"))


@pytest.mark.parametrize("text", ["exact", "beta", "none", "k=1", "k=4", "k=2048", "margin=3"])
def test_a_stop_is_named_as_it_is_typed(text: str) -> None:
    assert StopRule.parse(text).label == text


@pytest.mark.parametrize(
    "text", ["", "exakt", "k", "k=", "k=0", "k=-1", "k=2.5", "k=2049", "k=" + "9" * 5000, "margin", "none=1", "K=4"]
)
def test_a_stop_that_is_none_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(UserError, match="it must be exact, beta, k=K, margin=M or none, K and M whole numbers from 1"):
        StopRule.parse(text)
