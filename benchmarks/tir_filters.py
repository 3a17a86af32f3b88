"""What the filters of TIR data refuse among recorded traces whose answer is right: `python -m benchmarks.tir_filters`.

The traces are those of `../shared/data/traces`; `--show` prints the refused ones' boxes and the ends of their last outputs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.traces import FOLDER
from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.expressions import same
from sctir_kaggle.recipes.data.tir.outcomes import Outcome, Rules
from sctir_kaggle.types import (
    Completion,
    ExecutionResult,
    ExecutionStatus,
    Problem,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
    Vote,
)

NAMES = ("rho_tir_math_gsm8k", "tora_gsm8k", "mathcoder_math")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true", help="print what is refused")
    args = parser.parse_args()
    print("| traces | answers | right | kept | no code | crashed | contradicted | refused |")
    print("|---|---|---|---|---|---|---|---|")
    for name in NAMES:
        for kind, counts in counts_of(FOLDER / f"{name}.jsonl.gz", show=args.show).items():
            print(f"| {name} | {kind} | {_cells(counts)} |")
    print(machine("tir_filters", options=" ".join(sys.argv[1:])))


def _cells(counts: Counter[Outcome]) -> str:
    kept, right = counts[Outcome.KEPT], counts.total()
    by_filter = (counts[one] for one in (Outcome.NO_CODE, Outcome.CRASHED, Outcome.CONTRADICTED))
    return " | ".join([*map(str, (right, kept, *by_filter)), f"{100 * (right - kept) / max(1, right):.1f} %"])


def counts_of(path: Path, *, show: bool = False) -> dict[str, Counter[Outcome]]:
    """The outcomes, by default rules, of the file's right traces, for answers that are numbers and for others."""
    counts: dict[str, Counter[Outcome]] = {"numbers": Counter(), "others": Counter()}
    for attempt, reference, output in right_attempts(path):
        outcome = Rules().outcome(attempt, reference, lambda written: True)
        counts["numbers" if parse(reference) is not None else "others"][outcome] += 1
        if show and outcome is not Outcome.KEPT:
            print(f"{attempt.problem_id}: {outcome.value}: {attempt.trace.boxed!r}, printed {output[-100:]!r}")
    return counts


def right_attempts(path: Path) -> Iterator[tuple[Attempt, str, str]]:
    """The recorded traces with the right answer, as attempts, with the reference and the last output."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            for completion in record["completions"]:
                written = boxed(completion["text"]) or ""
                value = value_in(written)
                number = parse(record["gt"])
                written = value.text if value is not None else written
                if value.number == number if value and number is not None else same(written, record["gt"]):
                    attempt = Attempt.of(_result(record["id"], completion, written))
                    blocks = completion["code_blocks"]
                    yield attempt, record["gt"], (blocks[-1]["output"] or "") if blocks else ""


def _result(name: str, completion: dict[str, Any], written: str) -> SolveResult:
    turns = [
        Turn(Completion(""), code=block["code"], execution=_execution(block["output"] or ""))
        for block in completion["code_blocks"]
    ]
    trace = Trace(0, tuple(turns), TraceStatus.PRUNED, None, written)
    return SolveResult(Problem(name, ""), 0, Vote(), (trace,))


def _execution(output: str) -> ExecutionResult:
    """A recorded output. Recorders keep no status: an exception's name at the start of its last line says that it failed."""
    last = output.strip().rpartition("\n")[2]
    name = last.strip().partition(":")[0].rpartition(".")[2]
    failed = name.endswith(("Error", "Exception")) and " " not in name
    return ExecutionResult(output, ExecutionStatus.ERROR if failed else ExecutionStatus.OK)


if __name__ == "__main__":
    main()
