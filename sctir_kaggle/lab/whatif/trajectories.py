"""Vectorised vote trajectories: the vote on each problem after every candidate, so that any deadline can be applied.

The numpy twin of `voting`, `stopping` and the solver's election: those work on one vote, these on thousands of problems at
once, and a property-based test compares them vote by vote. Not covered: candidates beyond the first N
(`extra_candidates`). R is the number of problems, N of candidates, C of a problem's distinct answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.stopping import StopRule, worst_overtaking
from sctir_kaggle.types import Answer, SolveResult, TraceStatus

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST = 4096
"""More than there can be candidates, and the unit of weights: a score and its tie-break rank fit in one exact float."""


@dataclass(frozen=True, slots=True, eq=False)
class CompletionOrder:
    """R problems, each with N candidates in the order in which they ended."""

    seconds: Floats
    """(R, N): since the problem's start, infinite for a candidate that was cancelled."""
    choices: Ints
    """(R, N): index into the problem's distinct answers, -1 for no vote."""
    weights: Floats
    """(R, N): of the votes, multiples of 1/4096."""
    numbers: Ints
    """(R, N): the candidates' numbers, which the tie-break `first` compares."""
    values: Ints
    """(R, C): the rank of each distinct answer by size, which `smallest` and `largest` compare."""
    truth: Ints
    """(R,): index of the right answer, -1 where no candidate gave it."""
    default: Flags
    """(R,): whether the default answer is right."""


@dataclass(frozen=True, slots=True, eq=False)
class VoteTrajectories:
    """R problems after k = 0..N candidates have ended; all but `last` are (R, N + 1)."""

    seconds: Floats
    """When the k-th candidate ended; 0 for k = 0."""
    right: Flags
    """Whether the answer elected after k candidates is right."""
    voted: Flags
    """Whether any of the first k voted."""
    contested: Flags
    """Whether the leader's risk of being overtaken exceeds `contested_risk`."""
    calm: Ints
    """The first number of candidates from k on at which the vote is not contested; N where there is none."""
    last: Ints
    """(R,): the k at which the stop rule ends the problem."""


def completion_order_of(results: Sequence[SolveResult], config: SolverConfig) -> CompletionOrder:
    """The completion order of R results, without cancelled candidates, with the weights of the config's vote rule."""
    shape, rule = (len(results), config.candidates), config.vote_rule
    seconds, weights = np.full(shape, np.inf), np.zeros(shape)
    choices, numbers, values = np.full(shape, -1), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    truth, default = np.full(len(results), -1), np.zeros(len(results), bool)
    for row, result in enumerate(results):
        ended = [trace for trace in result.traces if trace.status is not TraceStatus.CANCELLED]
        answers = list(dict.fromkeys(trace.answer for trace in ended if trace.answer is not None))
        for place, trace in enumerate(ended):
            seconds[row, place], numbers[row, place] = trace.seconds, trace.candidate
            if trace.answer is not None:
                choices[row, place] = answers.index(trace.answer)
                weights[row, place] = rule.weigh(result.problem, trace, config.modulus)
        values[row, : len(answers)] = _places(answers)
        truth[row] = answers.index(result.problem.answer) if result.problem.answer in answers else -1
        default[row] = result.fallback and result.correct is True
    return CompletionOrder(seconds, choices, weights, numbers, values, truth, default)


def trajectories_of(completion: CompletionOrder, config: SolverConfig) -> VoteTrajectories:
    """The vote after every candidate, under the config's stop rule and tie-break.

    The risk of a plain vote is a probability; of a weighted one it is 0 where the vote is decided, else 1, as in `solver`.
    """
    rows, candidates = completion.seconds.shape
    right = np.repeat(completion.default[:, None], candidates + 1, axis=1)
    voted, contested = np.zeros_like(right), np.ones_like(right)
    last = np.full(rows, candidates)
    for k, vote in enumerate(_votes(completion, config)):
        right[:, k] = np.where(vote.leader >= 0, vote.leader == completion.truth, completion.default)
        voted[:, k] = vote.leader >= 0
        decided = vote.lead > candidates - k
        risk = vote.risk(candidates - k) if config.vote == "plain" else np.where(decided, 0.0, 1.0)
        contested[:, k] = risk > config.contested_risk
        last[_stops(config.stop_rule, decided, risk, vote) & (last == candidates)] = k
    seconds = np.column_stack([np.zeros(rows), completion.seconds])
    return VoteTrajectories(seconds, right, voted, contested, _next_calm(contested), last)


def _stops(rule: StopRule, decided: Flags, risk: Floats, vote: _State) -> Flags:
    """Where `StopRule.reason` gives a reason to stop: (R,)."""
    struck: Flags = {
        "none": np.zeros_like(decided),
        "exact": decided,
        "beta": decided | ((vote.ballots >= rule.least) & (risk <= rule.delta)),
        "k": decided | (vote.top >= rule.number),
        "margin": decided | (vote.lead >= rule.number),
    }[rule.name]
    return struck


def _next_calm(contested: Flags) -> Ints:
    """For every k the first number from there on that is not contested; N where there is none: then all have ended."""
    # The running minimum from the right over the places that are calm.
    places = np.where(contested, contested.shape[1] - 1, np.arange(contested.shape[1]))
    return np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """The vote on R problems at one k: `scores` (R, C), and (R,) each the leader (-1: none), its score `top`, its lead, the
    number of ballots."""

    scores: Floats
    leader: Ints
    top: Floats
    lead: Floats
    ballots: Ints

    def risk(self, unfinished: int) -> Floats:
        """`stopping.leader_risk` of plain votes: the rivals' risks, and that of an answer not seen yet."""
        rows = np.arange(len(self.leader))
        rivals = self.scores.astype(np.int64)
        top = np.where(self.leader >= 0, rivals[rows, self.leader], 0)
        rivals[rows, self.leader] = 0
        table = _risks(top, rivals, unfinished)
        seen = np.where(rivals > 0, table[top[:, None], rivals], 0.0).sum(axis=1)
        return np.where(top > 0, np.minimum(1.0, seen + table[top, 0]), 1.0)


def _votes(completion: CompletionOrder, config: SolverConfig) -> Iterable[_State]:
    """The state of the vote after 0, 1, ... N candidates."""
    rows, candidates = completion.seconds.shape
    each = np.arange(rows)
    width = max(1, int(completion.choices.max(initial=0)) + 1)
    scores, cast = np.zeros((rows, width)), np.zeros((rows, width), np.int64)
    order = {"smallest": completion.values, "largest": -completion.values}.get(config.tie_break)
    order = np.full((rows, width), MOST - 1) if order is None else order[:, :width].copy()
    for k in range(candidates + 1):
        if k:
            voting = each[completion.choices[:, k - 1] >= 0]
            choice = completion.choices[voting, k - 1]
            scores[voting, choice] += completion.weights[voting, k - 1]
            cast[voting, choice] += 1
            if config.tie_break == "first":
                order[voting, choice] = np.minimum(order[voting, choice], completion.numbers[voting, k - 1])
        yield _state(scores, cast, order)


def _state(scores: Floats, cast: Ints, order: Ints) -> _State:
    """Elect a leader by score, then by the lower `order`; scores, votes cast and order are (R, C)."""
    each = np.arange(len(scores))
    # Scores times MOST are integers and order / MOST is below 1, so that the order decides between equal scores only.
    keys = np.where(cast > 0, scores * MOST - order / MOST, -np.inf)
    leader = np.where(cast.any(axis=1), keys.argmax(axis=1), -1)
    top = np.where(leader >= 0, scores[each, leader], 0.0)
    rivals = scores.copy()
    rivals[each, leader] = 0.0
    lead = np.where(leader >= 0, top - rivals.max(axis=1), -1.0)
    return _State(scores, leader, top, lead, cast.sum(axis=1))


def _risks(top: Ints, rivals: Ints, unfinished: int) -> Floats:
    """`worst_overtaking` as a table [leader's votes, rival's votes], filled in for the pairs that occur only."""
    size = int(max(top.max(initial=0), rivals.max(initial=0))) + 1
    wanted = np.zeros((size, size), bool)
    wanted[top[:, None], rivals] = True
    wanted[top, 0] = True
    table = np.zeros((size, size))
    for leader, rival in np.argwhere(wanted):
        if leader:
            table[leader, rival] = _overtaking(int(leader), int(rival), unfinished)
    return table


@cache
def _overtaking(leader: int, rival: int, unfinished: int) -> float:
    return float(worst_overtaking(leader, rival, unfinished))


def _places(answers: Sequence[Answer | None]) -> list[int]:
    """The rank of each answer by size. In Python, since answers may exceed 64 bits."""
    ranked = sorted(answer for answer in answers if answer is not None)
    return [ranked.index(answer) for answer in answers if answer is not None]
