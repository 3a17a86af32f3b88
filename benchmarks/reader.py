r"""The answer reader on recorded outputs, and how long repeated fences, boxes or claims hold it: `python -m benchmarks.reader`.

Agreement: outputs of models in ../shared/data/traces (not part of the project) that were scored when they were recorded, with
an integer as reference. The reader agrees if it votes for the reference exactly where the record says that the output is right.
References: the written solutions in ../shared/data/train; the reader has to find the answer that the set gives.
Floods: 200,000 repetitions each, median of `--rounds` and their range.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import machine
from benchmarks.spread import spread
from sctir_kaggle.answers import parse, read_answer, to_vote
from sctir_kaggle.types import Answer, UserError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REPEATED = 200_000
FLOODS = {
    "claims": "The answer is ",
    "claims with a value": "The answer is 1. ",
    "claims in claims": "Final Answer: The final answer is ",
    "headings": "### Answer\n",
    "fences of code": "```python\n",
    "fences of output": "```output\n",
    "bare fences": "```\n",
    "whole blocks": "```python\nx\n```\n",
    "broken code": "```python\nx = '\n",
    "backticks": "`",
    "open boxes": "\\boxed{",
    "boxes": "\\boxed{42} ",
    "boxes and boxes": "\\boxed{42} and ",
    "empty boxes": "\\boxed{ }",
    "braces": "{",
    "closing braces": "}",
    "backslashes": "\\",
    "dollars": "$",
    "full-width digits": "\uff14",
    "line breaks": "\n",
}


class Agreement(NamedTuple):
    """How many of `outputs` are read as the record reads them, and of how many is the vote right."""

    agree: int
    right: int
    outputs: int


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of recorded outputs. Raises `UserError` where it is not there."""
    if not path.exists():
        raise UserError(f"{path} does not exist: it is not part of the project, and there is nothing else to read")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def integer(latex: str) -> int | None:
    """The integer that a reference denotes; None for any other reference."""
    return to_vote(parse(latex), modulus=None, lowest=None, highest=None)


def vote(text: str) -> Answer | None:
    """The integer that an output votes for, whatever its size."""
    return read_answer(text, modulus=None, lowest=None, highest=None).answer


def agreement(path: Path) -> Agreement:
    """Read every output of `path` whose reference is an integer; the record's own score says whether it is right."""
    read = [
        (vote(output["text"]) == reference, output.get("score"))
        for row in lines(path)
        if (reference := integer(row["gt"])) is not None
        for output in row["completions"]
    ]
    scored = [is_right == bool(score) for is_right, score in read if score is not None]
    return Agreement(sum(scored) if scored else -1, sum(is_right for is_right, _ in read), len(read))


def solutions(path: Path) -> tuple[int, int]:
    """(solutions from which the set's own integer is read, solutions with an integer as answer)."""
    wanted = [(row["solution"], reference) for row in lines(path) if (reference := integer(row["answer"])) is not None]
    return sum(vote(solution) == reference for solution, reference in wanted), len(wanted)


def seconds(text: str, rounds: int) -> list[float]:
    """How long each of `rounds` readings of `text` takes."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        read_answer(text)
        took.append(time.perf_counter() - began)
    return took


def main() -> None:
    """Print the agreement with the records, then the floods, slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with traces/ and train/")
    rounds, data = (options := parser.parse_args()).rounds, options.data
    for name in ("rho_tir_math_gsm8k", "tora_gsm8k", "mathcoder_math"):
        found = agreement(data / "traces" / f"{name}.jsonl.gz")
        record = f"{found.agree} of {found.outputs} as recorded, " if found.agree >= 0 else "no recorded score, "
        print(f"{name:20} {record}{found.right} votes for the reference")
    for name in ("gsm8k_train", "math_train"):
        read, asked = solutions(data / "train" / f"{name}.jsonl.gz")
        print(f"{name:20} {read} of {asked} answers read from the written solution")
    took = {name: seconds(piece * REPEATED, rounds) for name, piece in FLOODS.items()}
    for name in sorted(took, key=lambda name: -max(took[name])):
        print(f"{REPEATED} {name:20} {spread(took[name], '.3f')} s")
    print(machine("reader", f"{rounds} rounds"))


if __name__ == "__main__":
    main()
