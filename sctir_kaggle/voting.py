"""Answers -> a vote, and when to stop: the exact rule (no continuation changes the winner) and beta (probably none does)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Literal

from sctir_kaggle.types import Vote

TieBreak = Literal["first", "smallest", "largest"]
"""How equal scores are ordered: the answer that has the lowest candidate number, the smallest or the largest answer.

None of them depends on the order in which candidates finish.
"""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One candidate's vote. `weight` lies between 0 and the rule's `max_weight`; plain majority is weight 1."""

    candidate: int
    answer: int
    weight: float = 1.0


def tally(ballots: Iterable[Ballot], *, tie_break: TieBreak = "first") -> Vote:
    """The vote over `ballots`, whatever their order. A candidate that ballots twice raises ValueError."""
    ballots = list(ballots)
    if len({ballot.candidate for ballot in ballots}) != len(ballots):
        raise ValueError("a candidate has at most one vote")
    scores = _scores(ballots)
    order = _tie_order(ballots, tie_break)
    ranking = sorted(scores, key=lambda answer: (-scores[answer], order(answer)))
    return Vote(tuple((answer, float(scores[answer])) for answer in ranking))


def decided(ballots: Iterable[Ballot], *, unfinished: int, max_weight: float = 1.0) -> bool:
    """Whether the leader wins for every possible continuation: the exact stop rule.

    With R = `unfinished` candidates (running, queued or not started), each good for at most one vote of `max_weight`, the
    leader a is safe iff S(a) - S(b) > R * max_weight for every rival b; an answer that nobody gave yet has S = 0. The
    inequality is strict, so it holds under any tie-break. Sums are exact: no rounding, whatever the order.
    """
    ballots = list(ballots)
    if any(not 0 <= ballot.weight <= max_weight for ballot in ballots):
        raise ValueError(f"a weight lies outside 0..{max_weight}: the stop rule would not be exact")
    scores = sorted(_scores(ballots).values(), reverse=True)
    if not scores:
        return False
    runner_up = scores[1] if len(scores) > 1 else Fraction(0)
    return scores[0] - runner_up > unfinished * Fraction(max_weight)


def beta_decided(ballots: Iterable[Ballot], *, unfinished: int, delta: float, min_ballots: int = 1) -> bool:
    """Whether the leader wins with probability 1 - `delta` or more, or for certain: the beta stop rule.

    It needs `min_ballots` votes, unless the vote is exactly `decided`; with `delta` 0 it is the exact rule. The
    probability is `leader_risk`'s, with its model and its caveat.
    """
    ballots = list(ballots)
    if decided(ballots, unfinished=unfinished):
        return True
    return len(ballots) >= min_ballots and leader_risk(ballots, unfinished=unfinished) <= delta


def leader_risk(ballots: Iterable[Ballot], *, unfinished: int) -> Fraction:
    """At most this probable: that the leader does not win alone once all `unfinished` candidates have ended.

    Model: candidates vote independently of each other with fixed, unknown shares, a priori uniform (Dirichlet with all
    parameters 1) over the answers seen and one not seen yet; any number of the unfinished may not vote. Then the leader's
    share against one rival is a posteriori Beta(a + 1, b + 1), with a and b their votes (the stop criterion of
    Adaptive-Consistency, Aggarwal et al., EMNLP 2023, arXiv:2305.11860, which looks at the runner-up alone and at
    infinitely many votes to come), and k further votes for the two split beta-binomially. Here the rivals' risks are
    added up (Boole's inequality), each for the k <= `unfinished` that is worst, and a tie counts as lost.

    Exact rational arithmetic; plain votes only, another weight than 1 raises ValueError. Without votes, and at a tie for
    the lead, it is 1. The model does not hold where quick candidates vote otherwise than slow ones.
    """
    ballots = list(ballots)
    if any(ballot.weight != 1 for ballot in ballots):
        raise ValueError("a weight is not 1: the beta rule is for plain majority")
    votes = sorted((int(score) for score in _scores(ballots).values()), reverse=True)
    if not votes:
        return Fraction(1)
    leader, rivals = votes[0], [*votes[1:], 0]
    risks = {rival: worst_overtaking(leader, rival, unfinished) for rival in set(rivals)}
    return min(Fraction(1), sum((risks[rival] for rival in rivals), Fraction(0)))


def worst_overtaking(leader: int, rival: int, unfinished: int) -> Fraction:
    """The largest `_overtaking` over 0..`unfinished` further votes for the two.

    By twos it rises with the votes (a path that crosses back needs rarer votes), but for an odd number of them at a lead
    of one: there a single vote is the worst. A test compares all.
    """
    further = {0, 1, unfinished - 1, unfinished}
    return max(_overtaking(leader, rival, votes) for votes in further if 0 <= votes <= unfinished)


def _overtaking(leader: int, rival: int, votes: int) -> Fraction:
    """The probability that the rival draws level or passes with exactly `votes` further votes for the two.

    The leader gets x of them with probability C(leader + x, x) C(rival + votes - x, votes - x) / C(leader + rival +
    votes + 1, votes): the beta-binomial distribution in whole numbers. Summed over leader + x <= rival + votes - x.
    """
    ways, term = 0, comb(rival + votes, votes)
    for x in range((votes - leader + rival) // 2 + 1):
        ways += term
        term = term * (leader + x + 1) * (votes - x) // ((x + 1) * (rival + votes - x))
    return Fraction(ways, comb(leader + rival + votes + 1, votes))


def _scores(ballots: Iterable[Ballot]) -> dict[int, Fraction]:
    scores: dict[int, Fraction] = {}
    for ballot in ballots:
        scores[ballot.answer] = scores.get(ballot.answer, Fraction(0)) + Fraction(ballot.weight)
    return scores


def _tie_order(ballots: list[Ballot], tie_break: TieBreak) -> Callable[[int], int]:
    if tie_break == "smallest":
        return lambda answer: answer
    if tie_break == "largest":
        return lambda answer: -answer
    first: dict[int, int] = {}
    for ballot in ballots:
        first[ballot.answer] = min(ballot.candidate, first.get(ballot.answer, ballot.candidate))
    return lambda answer: first[answer]
