"""A vote -> when to stop: no continuation changes the winner (exact), probably none does (beta), enough agree (k, margin)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Literal

from sctir_kaggle.types import StopReason, UserError
from sctir_kaggle.voting import Ballot, scores_of

StopName = Literal["exact", "beta", "k", "margin", "none"]

BARE: tuple[StopName, ...] = ("exact", "beta", "none")
"""Stops that are their name alone."""

NUMBERED: tuple[StopName, ...] = ("k", "margin")
"""Stops with a number."""

AT_A_RISK: tuple[StopReason, ...] = ("beta", "k", "margin", "uncontested")
"""Why a vote ended that the rest might have changed."""

MOST = 2048
"""The largest K and M: there are never more candidates."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """A stop by name. Each but `none` also ends a problem as soon as its vote is exactly `decided`; `exact` only then.

    `beta` stops once the leader wins with probability 1 - `delta` or more, with `least` votes or more (`beta_decided`).
    `k` stops once one answer has `number` votes, of weighted votes a sum of weights of at least that: `k=4` of 8
    candidates is the rule of the public AIMO-3 notebooks. `margin` stops once the leader is `number` votes, or that sum of
    weights, ahead of the runner-up; of 0 where there is none. With more than half of all candidates `k` is exact, with
    fewer it may change an answer, as `margin` may: the first K that agree need not be those of the majority.
    """

    name: StopName = "exact"
    number: int = 0
    delta: float = 0.05
    least: int = 8

    @classmethod
    def parse(cls, text: str, *, delta: float = 0.05, least: int = 8) -> StopRule:
        """`exact`, `beta`, `k=4`, `margin=3` or `none`. Raises `UserError`."""
        name, given, digits = text.partition("=")
        number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 4 else 0
        for known in BARE:
            if text == known:
                return cls(known, 0, delta, least)
        for known in NUMBERED:
            if name == known and given and 1 <= number <= MOST:
                return cls(known, number, delta, least)
        raise UserError(
            f"stop is {text}; it must be exact, beta, k=K, margin=M or none, K and M whole numbers from 1 to {MOST}"
        )

    @property
    def label(self) -> str:
        """As it is typed."""
        return f"{self.name}={self.number}" if self.number else self.name

    def reason(self, ballots: Sequence[Ballot], *, unfinished: int) -> StopReason | None:
        """Why the work ends now; None while it goes on."""
        if self.name == "none":
            return None
        if decided(ballots, unfinished=unfinished):
            return "exact"
        return self.name if self._strikes(ballots, unfinished) else None

    def _strikes(self, ballots: Sequence[Ballot], unfinished: int) -> bool:
        """Where the vote is not decided."""
        leader, runner_up = _first_two(ballots)
        if self.name == "beta":
            return beta_decided(ballots, unfinished=unfinished, delta=self.delta, min_ballots=self.least)
        if self.name == "k":
            return leader >= self.number
        return self.name == "margin" and leader - runner_up >= self.number


def decided(ballots: Iterable[Ballot], *, unfinished: int, max_weight: float = 1.0) -> bool:
    """Whether the leader wins for every possible continuation: the exact stop rule.

    With R = `unfinished` candidates (running, queued or not started), each good for at most one vote of `max_weight`, the
    leader a is safe iff S(a) - S(b) > R * max_weight for every rival b; an answer that no candidate gave yet has S = 0. The
    inequality is strict, so it holds under any tie-break. Sums are exact: no rounding, whatever the order.
    """
    ballots = list(ballots)
    if any(not 0 <= ballot.weight <= max_weight for ballot in ballots):
        raise ValueError(f"a weight lies outside 0..{max_weight}: the stop rule would not be exact")
    leader, runner_up = _first_two(ballots)
    return leader - runner_up > unfinished * Fraction(max_weight) if ballots else False


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
    votes = sorted((int(score) for score in scores_of(ballots).values()), reverse=True)
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


def _first_two(ballots: Iterable[Ballot]) -> tuple[Fraction, Fraction]:
    """The scores of leader and runner-up; 0 where there is none."""
    first, second, *_ = [*sorted(scores_of(ballots).values(), reverse=True), Fraction(0), Fraction(0)]
    return first, second
