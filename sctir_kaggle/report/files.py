"""The report as files: CSV, a line a (run, problem, seed); JSON, all figures of the tables and every k of the curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sctir_kaggle.report.records import STATUSES, Records
from sctir_kaggle.report.score import Report

FIELDS = (
    *("run", "id", "seed", "level", "subject", "reference", "answer", "right", "default", "stopped", "seconds"),
    *("candidates", "answered", "cancelled", "right_candidates", "votes", "tokens", "executions"),
)
"""`votes` are those for the answer given; `right` is empty where there is no reference."""


def write_csv(report: Report, path: Path) -> None:
    """Every row of the records, for a spreadsheet or a data frame."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, FIELDS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(_lines(report.records))


def write_json(report: Report, path: Path) -> None:
    """`{"summaries": [...], "comparisons": [...], "notes": [...]}`; shares are of 1, bounds are of 95 %."""
    figures = {
        "summaries": [asdict(summary) for summary in report.summaries],
        "comparisons": [asdict(one) | {"noise": one.noise} for one in report.comparisons],
        "notes": report.notes,
    }
    path.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _lines(records: Records) -> Iterator[dict[str, Any]]:
    for row, id_ in enumerate(records.problem_ids):
        reference, answer = records.reference[row], records.answer[row]
        choices, status = records.choices[row], records.status[row]
        yield {
            "run": records.runs[records.run[row]],
            "id": id_,
            "seed": records.seed[row],
            "level": records.levels[row],
            "subject": records.subjects[row],
            "reference": reference,
            "answer": answer,
            "right": None if reference is None else int(answer == reference),
            "default": int(records.fallback[row]),
            "stopped": records.stopped[row],
            "seconds": round(float(records.seconds[row]), 3),
            "candidates": int((status != 0).sum()),
            "answered": int((status == STATUSES.index("answered")).sum()),
            "cancelled": int((status == STATUSES.index("cancelled")).sum()),
            "right_candidates": int(records.right[row].sum()),
            "votes": int((records.votes[row] == choices.index(answer)).sum()) if answer in choices else 0,
            "tokens": int(records.tokens[row].sum()),
            "executions": int(records.executions[row].sum()),
        }
