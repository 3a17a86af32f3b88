"""How many rows a second `recipes.data.decontaminate` takes, and how much memory: `python -m benchmarks.decontaminate`.

Rows are real problems, repeated with other ids up to the number that is asked for; sets are real ones: `--rows FILE` and
`--validation FILE ...`. Each round is a process of its own that reads the file, looks and writes kept and dropped rows.
The embedding rule's cost is its model's; `--embedder` measures it with one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.score import Cost, cost_of
from sctir_kaggle.recipes.rows import Row, read_rows, write_rows

REPORTS = """
import sys
from pathlib import Path
from sctir_kaggle.recipes.data.decontaminate import main
main(sys.argv[1:])
sys.stderr.write(Path("/proc/self/status").read_text())
"""


def repeated(rows: Path, count: int) -> Iterator[Row]:
    """`count` rows: those of the file again and again, each with an id of its own, and its solution as a message too."""
    for number, row in enumerate(itertools.islice(itertools.cycle(list(read_rows(rows))), count)):
        texts = {"user": row["problem"], "assistant": row.get("solution", "")}
        messages = [{"role": role, "content": text} for role, text in texts.items()]
        yield {"messages": messages, **row, "id": f"{row['id']}/{number}"}


def measure(folder: Path, rows: Path, validation: Sequence[Path], embedder: str) -> Cost:
    """One round, which writes kept and dropped rows into `folder`."""
    names = json.dumps([str(path.resolve()) for path in validation])
    changes = [f"rows={rows}", f"validation={names}", f"kept={folder / 'kept.jsonl'}", f"embedder={embedder}"]
    return cost_of(
        REPORTS, ["--config", "decontaminate.yaml", "--set", *changes, f"dropped={folder / 'dropped.jsonl'}"]
    )


def main() -> None:
    """Print each round, then the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE")
    parser.add_argument("--validation", type=Path, required=True, nargs="+", metavar="FILE")
    parser.add_argument("--count", type=int, default=860_000, help="rows a round (default: NuminaMath-CoT's 860,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedder", default="none", help="none (default) or tfidf; others need a model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        write_rows(rows, repeated(args.rows, args.count))
        print(f"{args.count:,} rows, {rows.stat().st_size / 1e6:,.0f} MB, embedder {args.embedder}")
        costs = [measure(folder, rows, args.validation, args.embedder) for _ in range(args.rounds)]
    for one in costs:
        print(f"{one.seconds:6.1f} s, {one.processor:6.1f} s of processor, {one.mebibytes:6.0f} MiB")
    seconds = statistics.median(one.seconds for one in costs)
    peak = max(one.mebibytes for one in costs)
    options = f"--rows ... --validation ... --count {args.count} --rounds {args.rounds} --embedder {args.embedder}"
    said = machine("decontaminate", options=options)
    print(f"median {seconds:.1f} s: {args.count / seconds:,.0f} rows/s, at most {peak:.0f} MiB. {said}")


if __name__ == "__main__":
    main()
