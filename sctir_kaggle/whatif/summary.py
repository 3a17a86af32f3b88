"""Outcomes -> a row a set of rules: score, seconds, tokens, what was saved, answers that are not the full vote's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sctir_kaggle.whatif.played import Outcome, Replicate


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the replicates (runs and seeds); `saved` are shares of what all candidates take, None where not known.

    `right` is a lower bound where answers are `unsure`, `right_most` the upper one. `changed` answers are not the full
    vote's, of all problems of all replicates; `unsure` ones, and those whose full vote is not known (`unknown_full`), are not
    among them. Where candidates were `cut` before these rules would have ended them, seconds and tokens are lower bounds.
    """

    name: str
    replicates: int
    problems: float
    graded: float
    right: float
    right_most: float
    right_sd: float | None
    seconds: float
    tokens: float
    saved_seconds: float | None
    saved_tokens: float | None
    changed: int
    unsure: int
    unknown_full: int
    cut: int
    unrecorded: int


def summarise(name: str, outcomes: Sequence[Outcome]) -> Row:
    """One row."""
    replicates = list(_by_replicate(outcomes).values())
    right = [sum(is_right(one) and not one.unsure for one in each) for each in replicates]
    most = [sum(is_right(one) or (one.unsure and one.reference is not None) for one in each) for each in replicates]
    known = [one for one in outcomes if not (one.unsure or one.full.unsure)]
    whole = not any(one.full.cut for one in outcomes)
    return Row(
        name=name,
        replicates=len(replicates),
        problems=statistics.fmean(map(len, replicates)),
        graded=statistics.fmean(sum(one.reference is not None for one in each) for each in replicates),
        right=statistics.fmean(right),
        right_most=statistics.fmean(most),
        right_sd=statistics.stdev(right) if len(right) > 1 else None,
        seconds=statistics.fmean(sum(one.seconds for one in each) for each in replicates),
        tokens=statistics.fmean(sum(one.tokens for one in each) for each in replicates),
        saved_seconds=_saved([(one.seconds, one.full.seconds) for one in outcomes]) if whole else None,
        saved_tokens=_saved([(one.tokens, one.full.tokens) for one in outcomes]) if whole else None,
        changed=sum(one.answer != one.full.answer for one in known),
        unsure=sum(one.unsure for one in outcomes),
        unknown_full=sum(one.full.unsure for one in outcomes),
        cut=sum(one.cut for one in outcomes),
        unrecorded=sum(one.unrecorded for one in outcomes),
    )


def is_right(outcome: Outcome) -> bool:
    """The answer is the reference."""
    return outcome.reference is not None and outcome.answer == outcome.reference


def _by_replicate(outcomes: Sequence[Outcome]) -> dict[Replicate, list[Outcome]]:
    found: dict[Replicate, list[Outcome]] = {}
    for one in outcomes:
        found.setdefault(one.replicate, []).append(one)
    return found


def _saved(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The share that is not needed of what the full vote takes."""
    whole = sum(full for _, full in pairs)
    return 1 - sum(spent for spent, _ in pairs) / whole if whole else None
