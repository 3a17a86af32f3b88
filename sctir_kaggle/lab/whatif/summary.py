"""Outcomes -> a row a set of rules: score, seconds, tokens, what was saved, answers that are not the full vote's."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sctir_kaggle.lab.whatif.orders import OrdersRow
from sctir_kaggle.lab.whatif.resimulate import Outcome, Replicate
from sctir_kaggle.lab.whatif.rules import Rules


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


def captions(rows: Sequence[Row], orders: Sequence[OrdersRow]) -> list[str]:
    """What the columns count."""
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
    """What the record cannot say, and what to do about it."""
    found = []
    if differing:
        found.append(
            f"{len(differing)} of {total} problems do not come out as recorded (the first: {differing[0]}): another "
            "version solved them; record them anew"
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
    """A line a reason why combinations of rules cannot be."""
    return [
        f"{count} row{'s' if count > 1 else ''} left out: {reason}" for reason, count in Counter(impossible).items()
    ]


def of_references(recorded: Rules, sets: Sequence[Rules]) -> list[str]:
    """What another modulus does to the references."""
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
    """Where problems shared the machine: `problems` is how many each run holds."""
    most = max(min(header.get("parallel") or 1, held) for header, held in zip(headers, problems, strict=True))
    if most < 2:
        return []
    return [f"recorded {most} at a time: clocks count problems as if each had the machine alone"]
