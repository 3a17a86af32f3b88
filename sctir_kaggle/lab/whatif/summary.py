"""Summarise the outcomes of a set of rules: score, seconds, tokens, savings, changed answers; and word the tables' caveats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sctir_kaggle.lab.statistics import mean_sd
from sctir_kaggle.lab.whatif.orders import OrdersRow
from sctir_kaggle.lab.whatif.resimulate import ProblemOutcome, Replicate
from sctir_kaggle.lab.whatif.rules import Rules


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the replicates (runs and seeds) of one set of rules; counts are over all problems of all replicates.

    `right` is a lower bound where answers are `unsure`, `right_most` the upper one, `right_sd` the sample deviation (None:
    one replicate). `saved_...` are shares of what all candidates take, None where unknown. `changed` counts answers that are
    not the full vote's, without those that are `unsure` or whose full vote is unknown (`unknown_full`). Where candidates
    were `cut` before these rules would have ended them, seconds and tokens are lower bounds.
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


def summarise(name: str, outcomes: Sequence[ProblemOutcome]) -> Row:
    """The row of the `outcomes` of one set of rules, which has this name."""
    replicates = list(_by_replicate(outcomes).values())
    right = [sum(is_right(one) and not one.unsure for one in each) for each in replicates]
    most = [sum(is_right(one) or (one.unsure and one.reference is not None) for one in each) for each in replicates]
    mean, sd = mean_sd(right)
    known = [one for one in outcomes if not (one.unsure or one.full.unsure)]
    whole = not any(one.full.cut for one in outcomes)
    return Row(
        name=name,
        replicates=len(replicates),
        problems=fmean(map(len, replicates)),
        graded=fmean(sum(one.reference is not None for one in each) for each in replicates),
        right=mean,
        right_most=fmean(most),
        right_sd=sd,
        seconds=fmean(sum(one.seconds for one in each) for each in replicates),
        tokens=fmean(sum(one.tokens for one in each) for each in replicates),
        saved_seconds=_saved([(one.seconds, one.full.seconds) for one in outcomes]) if whole else None,
        saved_tokens=_saved([(one.tokens, one.full.tokens) for one in outcomes]) if whole else None,
        changed=sum(one.answer != one.full.answer for one in known),
        unsure=sum(one.unsure for one in outcomes),
        unknown_full=sum(one.full.unsure for one in outcomes),
        cut=sum(one.cut for one in outcomes),
        unrecorded=sum(one.unrecorded for one in outcomes),
    )


def is_right(outcome: ProblemOutcome) -> bool:
    """Whether the answer is the reference; False without one."""
    return outcome.reference is not None and outcome.answer == outcome.reference


def _by_replicate(outcomes: Sequence[ProblemOutcome]) -> dict[Replicate, list[ProblemOutcome]]:
    found: dict[Replicate, list[ProblemOutcome]] = {}
    for one in outcomes:
        found.setdefault(one.replicate, []).append(one)
    return found


def _saved(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The share of the full vote's total that is not spent, from pairs (spent, full); None where the total is 0."""
    whole = sum(full for _, full in pairs)
    return 1 - sum(spent for spent, _ in pairs) / whole if whole else None


def captions(rows: Sequence[Row], orders: Sequence[OrdersRow]) -> list[str]:
    """Lines that say what the columns count."""
    seeds = rows[0].replicates
    means = f"means per seed (± sd of {seeds} seeds)" if seeds > 1 else "of the run"
    sums = "; changed, unsure: sums over all seeds" if seeds > 1 else ""
    found = [
        f"right, seconds, tokens: {means}{sums}",
        "changed: answers that are not those of all candidates under the same rules: what stopping or a clock did",
    ]
    if unknown := max(row.unknown_full for row in rows):
        found[-1] += (
            f"; + {unknown} ?: for {unknown} answers more it is not known what all candidates would have elected"
        )
    if orders:
        found.append(
            f"second table: of {orders[0].orders:,} runs in random orders the mean, the sd, and the sd that the order alone "
            "makes; overruns end too late and are worth 0; no vote: problems a run"
        )
    return found


def notes(rows: Sequence[Row], *, differing: Sequence[str], total: int) -> list[str]:
    """Lines on what the record cannot answer, and what to do about it. `differing` of `total` problems were not reproduced."""
    found = []
    if differing:
        found.append(
            f"{len(differing)} of {total} problems do not come out as recorded (the first: {differing[0]}): another "
            "version solved them; record them again"
        )
    if any(row.cut or row.saved_tokens is None for row in rows):
        found.append(
            "a stop rule or a deadline cut the record: what the cancelled candidates would have said and taken is not "
            "known (≥, ?, unsure); record with --stop none and time for all"
        )
    if unrecorded := max(row.unrecorded for row in rows):
        found.append(
            f"up to {unrecorded} candidates a row were asked for what the record does not hold, a forced answer after "
            "fewer turns, say; they are silent here, and `unsure` counts the answers that hang on them; record with those "
            "rules"
        )
    return found


def left_out(impossible: Sequence[str]) -> list[str]:
    """One line for each reason why combinations of rules are invalid."""
    return [
        f"{count} row{'s' if count > 1 else ''} left out: {reason}" for reason, count in Counter(impossible).items()
    ]


def of_references(recorded: Rules, sets: Sequence[Rules]) -> list[str]:
    """Lines on references that another modulus reduces, or leaves undetermined."""
    before = recorded.config.modulus
    moduli = dict.fromkeys(one.config.modulus for one in sets if one.config.modulus != before)
    found = [
        f"references are reduced modulo {modulus} too where answers are" for modulus in moduli if modulus is not None
    ]
    if lost := [str(modulus) for modulus in moduli if before is not None and (modulus is None or before % modulus)]:
        found.append(
            f"references that were reduced modulo {before} do not tell what they are with modulus {', '.join(lost)}: "
            "right may be too low there"
        )
    return found


def of_parallel(headers: Sequence[Mapping[str, Any]], problems: Sequence[int]) -> list[str]:
    """A line where problems shared the machine. `problems` is the number of results of each run."""
    most = max(min(header.get("parallel") or 1, held) for header, held in zip(headers, problems, strict=True))
    if most < 2:
        return []
    return [f"recorded {most} at a time: clocks count problems as if each had the machine alone"]
