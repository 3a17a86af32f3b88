"""Stop rules: no continuation can change the winner (exact), probably none does (beta), enough agree (k, margin).

With three candidates unfinished, a lead of four votes is safe and a lead of three is not (the three could tie it):

    >>> decided([Ballot(c, 42) for c in range(4)], unfinished=3)
    True
    >>> decided([Ballot(c, 42) for c in range(3)], unfinished=3)
    False

A stop is a function of the ballots and of the number of unfinished candidates, so what-if can replay it. To add one, give
it a name in `StopName` and `BARE` or `NUMBERED`, a line in `StopRule._fires` and its reason in `types.StopReason`. The
default is one line in `config.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Literal

from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import StopReason, UserError
from sctir_kaggle.voting import Ballot, scores_of

StopName = Literal["exact", "beta", "k", "margin", "none"]

BARE: tuple[StopName, ...] = ("exact", "beta", "none")
"""Stops written as their name alone."""

NUMBERED: tuple[StopName, ...] = ("k", "margin")
"""Stops written with a number, `k=4`."""

_FORMS = {"k": "k=K", "margin": "margin=M"}

AT_A_RISK: tuple[StopReason, ...] = ("beta", "k", "margin", "uncontested")
"""Reasons that end a vote which the candidates still missing might have changed."""

MOST = 2048
"""The largest K and M: N and the extra candidates are at most 1024 each."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """A stop by name. All but `none` stop as soon as the vote is exactly `decided`; `exact` stops only then.

    `beta` stops once the leader wins with probability 1 - `delta` or more and `least` ballots are in (`beta_decided`).
    `k` stops once one answer has a score of `number`: `k=4` of 8 candidates is the rule of the public AIMO-3 notebooks.
    `margin` stops once the leader's score is `number` ahead of the runner-up's, or of 0 where there is no runner-up. With
    more than half of all candidates `k` is exact. With fewer it may change an answer, as `margin` may: the first K
    candidates that agree need not agree with the majority.
    """

    name: StopName = "exact"
    number: int = 0
    delta: float = 0.05
    least: int = 8

    @classmethod
    def parse(cls, text: str, *, delta: float = 0.05, least: int = 8) -> StopRule:
        """Read `exact`, `beta`, `k=4`, `margin=3` or `none`. Raises `UserError`.

        >>> StopRule.parse("k=4").label
        'k=4'
        """
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
            + (
                ""
                if name in NUMBERED
                else nearest(name, (*BARE, *NUMBERED), shown=lambda known: _FORMS.get(known, known))
            )
        )

    @property
    def label(self) -> str:
        """The text that `parse` reads as this rule."""
        return f"{self.name}={self.number}" if self.number else self.name

    def reason(self, ballots: Sequence[Ballot], *, unfinished: int) -> StopReason | None:
        """Return the reason to stop now, None to go on. `unfinished` candidates are running, queued or not started."""
        if self.name == "none":
            return None
        # Exact first: a vote that is decided is reported as such, and without a risk, under every rule.
        if decided(ballots, unfinished=unfinished):
            return "exact"
        return self.name if self._fires(ballots, unfinished) else None

    def _fires(self, ballots: Sequence[Ballot], unfinished: int) -> bool:
        """Check the rule's own condition."""
        leader, runner_up = _first_two(ballots)
        if self.name == "beta":
            return beta_decided(ballots, unfinished=unfinished, delta=self.delta, min_ballots=self.least)
        if self.name == "k":
            return leader >= self.number
        return self.name == "margin" and leader - runner_up >= self.number


def decided(ballots: Iterable[Ballot], *, unfinished: int, max_weight: float = 1.0) -> bool:
    """The exact stop rule: true if the leader wins under every possible continuation.

    Each of the R = `unfinished` candidates casts at most one vote of at most `max_weight`, so a rival b gains at most
    R * max_weight on the leader a, who loses nothing. a is safe iff S(a) - S(b) > R * max_weight for every rival b, an
    answer that is still unseen having S = 0. The inequality is strict, so no tie-break matters, and scores are exact
    fractions, so no rounding does. Raises ValueError where a weight lies outside 0..`max_weight`.
    """
    ballots = list(ballots)
    if any(not 0 <= ballot.weight <= max_weight for ballot in ballots):
        raise ValueError(f"a weight lies outside 0..{max_weight}: the stop rule would not be exact")
    leader, runner_up = _first_two(ballots)
    return leader - runner_up > unfinished * Fraction(max_weight) if ballots else False


def _first_two(ballots: Iterable[Ballot]) -> tuple[Fraction, Fraction]:
    """Scores of leader and runner-up; 0 for one that does not exist."""
    first, second, *_ = [*sorted(scores_of(ballots).values(), reverse=True), Fraction(0), Fraction(0)]
    return first, second


def beta_decided(ballots: Iterable[Ballot], *, unfinished: int, delta: float, min_ballots: int = 1) -> bool:
    """The beta stop rule: true if the leader wins with probability 1 - `delta` or more, or for certain.

    It needs `min_ballots` votes, unless the vote is exactly `decided`; with `delta` 0 it is the exact rule. The
    probability is `leader_risk`'s, with its model and its caveat.
    """
    ballots = list(ballots)
    if decided(ballots, unfinished=unfinished):
        return True
    return len(ballots) >= min_ballots and leader_risk(ballots, unfinished=unfinished) <= delta


def leader_risk(ballots: Iterable[Ballot], *, unfinished: int) -> Fraction:
    """Upper bound on the probability that the leader does not win alone once all `unfinished` candidates have ended.

    Model: candidates vote independently with fixed, unknown shares, a priori uniform (Dirichlet, all parameters 1) over
    the answers seen and one not seen yet; any number of the unfinished may not vote. The leader's share against one rival
    is then a posteriori Beta(a + 1, b + 1), a and b being their votes, and k further votes for the two split
    beta-binomially. That is the stop criterion of Adaptive-Consistency (Aggarwal et al., EMNLP 2023, arXiv:2305.11860),
    which looks at the runner-up alone and at infinitely many votes to come. Here the rivals' risks are added up (Boole's
    inequality), each at its worst k <= `unfinished`, and a tie counts as lost.

    Exact rational arithmetic. Without votes, and at a tie for the lead, it is 1. The model does not hold where quick
    candidates vote differently from slow ones. Raises ValueError on a weight other than 1.

    >>> float(leader_risk([Ballot(c, 42) for c in range(5)], unfinished=3)), leader_risk([], unfinished=3)
    (0.0, Fraction(1, 1))
    >>> round(float(leader_risk([Ballot(c, 42) for c in range(5)], unfinished=11)), 3)
    0.007
    """
    ballots = list(ballots)
    if any(ballot.weight != 1 for ballot in ballots):
        raise ValueError("a weight is not 1: the beta rule is for plain majority")
    votes = sorted((int(score) for score in scores_of(ballots).values()), reverse=True)
    if not votes:
        return Fraction(1)
    leader, rivals = votes[0], [*votes[1:], 0]  # the last is the answer not seen yet
    risks = {rival: worst_overtaking(leader, rival, unfinished) for rival in set(rivals)}
    return min(Fraction(1), sum((risks[rival] for rival in rivals), Fraction(0)))


def worst_overtaking(leader: int, rival: int, unfinished: int) -> Fraction:
    """The largest probability of `_overtaking` over 0 to `unfinished` further votes for the two.

    In steps of two votes it rises (crossing back takes rarer votes), except for odd numbers at a lead of one, where a
    single vote is the worst. So four candidates for the maximum are enough; a test compares them with all.
    """
    further = {0, 1, unfinished - 1, unfinished}
    return max(_overtaking(leader, rival, votes) for votes in further if 0 <= votes <= unfinished)


def _overtaking(leader: int, rival: int, votes: int) -> Fraction:
    """The probability that exactly `votes` further votes for the two let the rival draw level or pass.

    The leader gets x of them with probability C(leader + x, x) C(rival + votes - x, votes - x) / C(leader + rival +
    votes + 1, votes): the beta-binomial distribution in whole numbers. Summed over leader + x <= rival + votes - x.
    """
    ways, term = 0, comb(rival + votes, votes)
    for x in range((votes - leader + rival) // 2 + 1):
        ways += term
        term = term * (leader + x + 1) * (votes - x) // ((x + 1) * (rival + votes - x))
    return Fraction(ways, comb(leader + rival + votes + 1, votes))
