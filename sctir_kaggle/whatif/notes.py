"""What there is to know about the tables of `sctir what-if`: what their figures count, and what the record cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sctir_kaggle.whatif.rules import Rules
from sctir_kaggle.whatif.shuffles import OrdersRow
from sctir_kaggle.whatif.summary import Row


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
