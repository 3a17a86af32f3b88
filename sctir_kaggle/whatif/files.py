"""The answer to `sctir what-if` as files: CSV, a line a set of rules and problem; JSON, the rows of the tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from sctir_kaggle.whatif.played import Outcome
from sctir_kaggle.whatif.shuffles import OrdersRow
from sctir_kaggle.whatif.summary import Row, is_right

FIELDS = (
    *("rules", "run", "seed", "id", "reference", "answer", "right", "unsure", "stopped", "seconds", "tokens"),
    *("full_answer", "full_seconds", "full_tokens", "full_unsure"),
)
"""`full_...` are those of the vote of all candidates; both flags say that the record ends too early to be sure."""


def write_csv(path: Path, runs: Sequence[str], outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """Every problem under every set of rules."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(FIELDS)
        for name, each in outcomes.items():
            lines.writerows([name, *_line(runs, one)] for one in each)


def write_json(path: Path, rows: Sequence[Row], orders: Sequence[OrdersRow], notes: Sequence[str]) -> None:
    """`{"rules": [...], "orders": [...], "notes": [...]}`."""
    figures = {"rules": [asdict(row) for row in rows], "orders": [asdict(row) for row in orders], "notes": list(notes)}
    path.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _line(runs: Sequence[str], one: Outcome) -> list[object]:
    run, seed = one.replicate
    right = None if one.reference is None else int(is_right(one))
    head = [runs[run], seed, one.problem, one.reference, one.answer, right, int(one.unsure), one.stopped]
    full = one.full
    return [
        *head,
        round(one.seconds, 3),
        one.tokens,
        full.answer,
        round(full.seconds, 3),
        full.tokens,
        int(full.unsure),
    ]
