"""Reference answers that no vote can elect, because the range of answers of a run leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sctir_kaggle.answers import to_vote
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.types import Answer, Problem


def not_electable(problems: Sequence[Problem], config: SolverConfig) -> str:
    """The end of the line on what was read: how many references no vote can elect under `config`, and the range in which
    they are votes; empty where there are none."""
    lost = [
        problem.answer for problem in problems if problem.answer is not None and not _is_vote(problem.answer, config)
    ]
    if not lost:
        return ""
    range_ = "rational" if any(isinstance(answer, Fraction) for answer in lost) else "any"
    are = f"{len(lost)} answer{'s' * (len(lost) > 1)} ({lost[0]}{', ...' * (len(lost) > 1)})"
    return f"; {are} can get no vote in the range of this run and count{'s' * (len(lost) == 1)} as wrong: --answers {range_}"


def _is_vote(answer: Answer, config: SolverConfig) -> bool:
    vote = to_vote(
        Fraction(answer),
        modulus=config.modulus,
        lowest=config.lowest,
        highest=config.highest,
        fractions=config.fractions,
    )
    return vote == answer
