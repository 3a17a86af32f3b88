"""Write the problems of training rows as a CSV: `python -m sctir_kaggle.recipes.data.problem_list ROWS.jsonl PROBLEMS.csv`.

`sctir replay` reads it, for example to sample KTO's candidates. Rows whose answer is not an integer are left out, and
all but the first of several with the same id.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

from sctir_kaggle.recipes.rows import Row, read_rows
from sctir_kaggle.recipes.settings import run_recipe
from sctir_kaggle.types import UserError


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="rows: .jsonl, .jsonl.gz or .csv")
    parser.add_argument("problems", type=Path, help="the CSV that is written: id, problem, answer")
    args = parser.parse_args()
    kept, left_out = solvable(read_rows(args.rows))
    if not kept:
        raise UserError(f"{args.rows} has no row with an integer answer; a label needs one")
    write_problems(args.problems, kept)
    print(
        f"{args.problems}: {len(kept)} problems; {left_out} rows left out: no integer answer, or an id that was there"
    )


def solvable(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """The rows with an integer answer, the first of each id, in order; and how many were left out."""
    kept: dict[str, Row] = {}
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007
        if type(row.get("answer")) is int:
            kept.setdefault(row["id"], row)
    return list(kept.values()), count - len(kept)


def write_problems(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV with the columns id, problem, answer."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "problem", "answer"))
        writer.writerows((row["id"], row["problem"], row["answer"]) for row in rows)


if __name__ == "__main__":
    run_recipe(main)
