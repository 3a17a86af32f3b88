"""How the vote on each problem went, candidate by candidate, as numpy arrays: what a clock would have found at any moment.

The vectorised twin of `voting`, `stopping` and of the solver's election; tests hold them against each other. Not covered:
candidates beyond the first N (`extra_candidates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.stopping import StopRule, worst_overtaking
from sctir_kaggle.types import SolveResult, TraceStatus

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST = 4096
"""More than there can be candidates: scores count this, places in the order of ties 1."""


@dataclass(frozen=True, slots=True, eq=False)
class CompletionOrder:
    """R problems, each with N candidates in the order in which they ended.

    `seconds` since the problem's start, infinite for what is not known; `choices` number a problem's distinct answers, -1 is
    no vote; `weights` of the votes, multiples of 1/4096; `numbers` are the candidates', which break ties; `values` the order
    of a problem's answers by size (R x C). `truth` is the number of the right choice, -1 where nobody found it; `default`
    says whether the default answer is right.
    """

    seconds: Floats
    choices: Ints
    weights: Floats
    numbers: Ints
    values: Ints
    truth: Ints
    default: Flags


@dataclass(frozen=True, slots=True, eq=False)
class VoteTrajectories:
    """R problems, after k = 0..N candidates have ended.

    `seconds` [R, N + 1] is when the k-th ended; `right` whether the answer then is; `voted` whether anybody has; `calm`
    the first number from k on at which the vote is not contested. `last` [R] is the k at which the stop rule ends it.
    """

    seconds: Floats
    right: Flags
    voted: Flags
    contested: Flags
    calm: Ints
    last: Ints


def completion_order_of(results: Sequence[SolveResult], config: SolverConfig) -> CompletionOrder:
    """The ends of results, those of cancelled candidates left out, with the weights of the config's vote."""
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


def trajectories_of(ends: CompletionOrder, config: SolverConfig) -> VoteTrajectories:
    """The vote under the config's stop rule and tie-break; of a plain one probabilities are known."""
    rows, candidates = ends.seconds.shape
    right = np.repeat(ends.default[:, None], candidates + 1, axis=1)
    voted, contested = np.zeros_like(right), np.ones_like(right)
    last = np.full(rows, candidates)
    for k, vote in enumerate(_votes(ends, config)):
        right[:, k] = np.where(vote.leader >= 0, vote.leader == ends.truth, ends.default)
        voted[:, k] = vote.leader >= 0
        decided = vote.lead > candidates - k
        risk = vote.risk(candidates - k) if config.vote == "plain" else np.where(decided, 0.0, 1.0)
        contested[:, k] = risk > config.contested_risk
        last[_stops(config.stop_rule, decided, risk, vote) & (last == candidates)] = k
    seconds = np.column_stack([np.zeros(rows), ends.seconds])
    return VoteTrajectories(seconds, right, voted, contested, _next_calm(contested), last)


def _stops(rule: StopRule, decided: Flags, risk: Floats, vote: _State) -> Flags:
    """`StopRule.reason`, where there is one."""
    struck: Flags = {
        "none": np.zeros_like(decided),
        "exact": decided,
        "beta": decided | ((vote.ballots >= rule.least) & (risk <= rule.delta)),
        "k": decided | (vote.top >= rule.number),
        "margin": decided | (vote.lead >= rule.number),
    }[rule.name]
    return struck


def _next_calm(contested: Flags) -> Ints:
    """For every k, the first from there on that is not contested; N where there is none: then all have ended."""
    places = np.where(contested, contested.shape[1] - 1, np.arange(contested.shape[1]))
    return np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """The vote on every problem at one k: scores by choice, the leader (-1: none), its score, how far it leads, ballots."""

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


def _votes(ends: CompletionOrder, config: SolverConfig) -> Iterable[_State]:
    """The state after 0, 1, ... N candidates."""
    rows, candidates = ends.seconds.shape
    each = np.arange(rows)
    width = max(1, int(ends.choices.max(initial=0)) + 1)
    scores, cast = np.zeros((rows, width)), np.zeros((rows, width), np.int64)
    order = {"smallest": ends.values, "largest": -ends.values}.get(config.tie_break)
    order = np.full((rows, width), MOST - 1) if order is None else order[:, :width].copy()
    for k in range(candidates + 1):
        if k:
            voting = each[ends.choices[:, k - 1] >= 0]
            choice = ends.choices[voting, k - 1]
            scores[voting, choice] += ends.weights[voting, k - 1]
            cast[voting, choice] += 1
            if config.tie_break == "first":
                order[voting, choice] = np.minimum(order[voting, choice], ends.numbers[voting, k - 1])
        yield _state(scores, cast, order)


def _state(scores: Floats, cast: Ints, order: Ints) -> _State:
    each = np.arange(len(scores))
    keys = np.where(cast > 0, scores * MOST - order / MOST, -np.inf)
    leader = np.where(cast.any(axis=1), keys.argmax(axis=1), -1)
    top = np.where(leader >= 0, scores[each, leader], 0.0)
    rivals = scores.copy()
    rivals[each, leader] = 0.0
    lead = np.where(leader >= 0, top - rivals.max(axis=1), -1.0)
    return _State(scores, leader, top, lead, cast.sum(axis=1))


def _risks(top: Ints, rivals: Ints, unfinished: int) -> Floats:
    """By the leader's and a rival's votes, `worst_overtaking` for the pairs that occur."""
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


def _places(answers: Sequence[int | None]) -> list[int]:
    """The place of each answer in their order by size; Python's integers have no limit."""
    ranked = sorted(answer for answer in answers if answer is not None)
    return [ranked.index(answer) for answer in answers if answer is not None]
