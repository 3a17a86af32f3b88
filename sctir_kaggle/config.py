"""Settings of the solver: one frozen dataclass, `SolverConfig`.

Its defaults are the settings that won the first AIMO Progress Prize (48 candidates, 4 turns, T = 0.8) with their flaws
fixed, the preset `numina-fixed`. The preset `numina` is the winning notebook as published: it showed the first 200
characters of an output, ran the last block in a fresh process, forced no answer, began again where a turn had neither code
nor answer, and waited for all candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sctir_kaggle.stopping import StopRule
from sctir_kaggle.types import LastExpression, UserError
from sctir_kaggle.voting import TieBreak, VoteRule


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverConfig:
    """Every setting that can change an answer. Raises `UserError` on a value outside its limits."""

    candidates: int = 48
    """N: solution attempts a problem."""

    turns: int = 4
    """M: executions of code a candidate may have, the last turn's included. 0 is chain of thought: nothing is executed."""

    temperature: float = 0.8
    """Sampling temperature; 0 is greedy."""

    top_p: float = 1.0
    """Nucleus sampling: only the smallest set of tokens with this probability; 1 is off."""

    top_k: int = 0
    """Sample among this many of the likeliest tokens only; 0 is off."""

    min_p: float = 0.0
    """Sample only among tokens with at least this fraction of the likeliest one's probability; 0 is off."""

    repetition_penalty: float = 1.0
    """Above 1 makes tokens of the text so far less likely, the prompt's included; 1 is off."""

    max_tokens: int = 2048
    """New tokens a turn, at most; an engine lowers it to what the context leaves."""

    code_seconds: float = 5.0
    """Seconds of wall clock for one block of code, at most."""

    output_chars: int = 600
    """Characters of output shown to the model, head and tail."""

    output_clip: Literal["middle", "head"] = "middle"
    """Clipping of a longer output: `middle` leaves out its middle, `head` keeps its beginning only."""

    blocks: Literal["all", "last"] = "all"
    """Which of a turn's blocks of code run: `all`, in order and as one, or the `last` alone."""

    restart: bool = False
    """A candidate whose turn has neither code nor answer begins again from the bare prompt, as one of its turns."""

    stateful: bool = True
    """A candidate's blocks share their variables, as in the training traces; False is a fresh process a block."""

    last_expression: LastExpression = "always"
    """Whether the value of a block's last expression is shown: `always`, as in a notebook; `if-silent`, where the block has
    printed nothing; or `never`, as in a script."""

    force_answer: bool = True
    """A candidate that ran code and has no answer is asked once to finish `\\boxed{`."""

    force_tokens: int = 32
    """New tokens of that forced answer, at most."""

    modulus: int | None = 1000
    """Answers are reduced modulo this; None leaves them as they are."""

    lowest: int | None = 0
    """The smallest integer that is a vote; None has no limit."""

    highest: int | None = 999
    """The largest integer that is a vote; None has no limit."""

    fractions: bool = False
    """A fraction is a vote as well, for its exact value; needs `modulus` none. The range `--answers rational`."""

    default_answer: int = 0
    """The answer of a problem without votes."""

    vote: str = "plain"
    """Weights of the vote: 1 each in a `plain` majority; less for `small` answers (0 to 5), for numbers that occur in the
    `statement`, or for answers that the candidate's own code has not `confirmed`; `small=0.1` sets the weight."""

    stop: str = "exact"
    """Early end of a problem: `exact`, once no continuation can change the winner; `beta`, once probably none does;
    `k=4`, once 4 candidates agree; `margin=3`, once the leader is 3 votes ahead; `none` waits for all. All but `none`
    stop where `exact` does; `beta`, `k` and `margin` may change an answer (`stopping.StopRule`)."""

    stop_delta: float = 0.05
    """The risk at which `beta` stops: the probability, under its model, that the rest would elect another answer."""

    stop_ballots: int = 8
    """`beta` does not stop with fewer votes than this, unless the vote is exactly decided."""

    contested_risk: float = 0.05
    """At its deadline a problem may use time that others saved only if its leader would lose with more than this risk.
    For votes other than `plain` no risk is known: there it may until it is decided."""

    extra_candidates: int = 0
    """Additional candidates of a problem after all have ended, if they would overturn its vote with more than
    `contested_risk`; they are cancelled as soon as that no longer holds. 0 is off."""

    tie_break: TieBreak = "first"
    """Which of several answers with equal scores wins: `first` is that of the lowest candidate number."""

    seed: int = 0
    """Each request derives its own seed from this and its request id."""

    grace_seconds: float = 2.0
    """Seconds that cancelled candidates may take to end before the solver goes on without them."""

    @property
    def vote_rule(self) -> VoteRule:
        """`vote`, parsed."""
        return VoteRule.parse(self.vote)

    @property
    def stop_rule(self) -> StopRule:
        """`stop`, parsed, with its risk and its least number of votes."""
        return StopRule.parse(self.stop, delta=self.stop_delta, least=self.stop_ballots)

    def __post_init__(self) -> None:
        _require(1 <= self.candidates <= 1024, "candidates", self.candidates, "1 to 1024")
        _require(self.turns >= 0, "turns", self.turns, "0 (no code) or more")
        _require(0 <= self.temperature < math.inf, "temperature", self.temperature, "0 (greedy) or more")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        _require(0 <= self.min_p < 1, "min_p", self.min_p, "0 (off) or more and below 1")
        _require(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "above 0; 1 is off")
        _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "at least 1")
        _require(self.code_seconds > 0, "code_seconds", self.code_seconds, "above 0 seconds")
        _require(self.output_chars >= 0, "output_chars", self.output_chars, "0 or more characters")
        _require(self.force_tokens >= 1, "force_tokens", self.force_tokens, "at least 1")
        _require(self.modulus is None or self.modulus >= 1, "modulus", self.modulus, "at least 1, or None")
        _require(not self.fractions or self.modulus is None, "modulus", self.modulus, "None with fractions")
        _require(self._in_range(self.default_answer), "default_answer", self.default_answer, "an answer in range")
        _require(0 <= self.stop_delta < 0.5, "stop_delta", self.stop_delta, "0 (exact) or more and below 0.5")
        _require(self.stop_ballots >= 1, "stop_ballots", self.stop_ballots, "at least 1")
        _require(0 <= self.contested_risk <= 1, "contested_risk", self.contested_risk, "from 0 to 1")
        _require(0 <= self.extra_candidates <= 1024, "extra_candidates", self.extra_candidates, "0 (none) to 1024")
        _require(self.grace_seconds >= 0, "grace_seconds", self.grace_seconds, "0 seconds or more")
        object.__setattr__(self, "vote", self.vote_rule.label)
        object.__setattr__(self, "stop", self.stop_rule.label)
        self._require_plain(self.stop != "beta", "stop", "exact, k=K, margin=M or none", "beta knows the risk")
        self._require_plain(not self.extra_candidates, "extra_candidates", "0", "they are called by the risk")

    def _require_plain(self, holds: bool, name: str, limit: str, why: str) -> None:
        fits = holds or self.vote == "plain"
        _require(fits, name, getattr(self, name), f"{limit} with vote {self.vote}: {why} of plain votes only")

    def _in_range(self, answer: int) -> bool:
        return (self.lowest is None or answer >= self.lowest) and (self.highest is None or answer <= self.highest)


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}; it must be {limit}")


AIMO1 = SolverConfig()
"""AIMO Progress Prize 1 and 2: integers 0..999, reduced modulo 1000."""

AIMO3 = SolverConfig(modulus=None, lowest=0, highest=99_999)
"""AIMO Progress Prize 3: integers 0..99999, not reduced."""

MATH = SolverConfig(modulus=None, lowest=None, highest=None)
"""MATH and AMC validation sets: any integer, negative ones too."""

RATIONAL = SolverConfig(modulus=None, lowest=None, highest=None, fractions=True)
"""Sets whose answers may be fractions, such as OlympiadBench: any rational number, by its exact value."""
