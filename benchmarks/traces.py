"""Whether the sandbox shows what other interpreters showed: `python -m benchmarks.traces`.

Replays the recorded blocks of `../shared/data/traces` and compares every output with the recorded one. A block counts as
reproduced where both show the same text, the same number (to a relative 1e-9), an exception of the same class, or both
ran out of time. Only the recorder's own hand is undone first: the middle that it cut out of long outputs, IPython's line
breaks between the items of a list, its word for no output, its colours, its notes. Every other difference has a name.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import gzip
import itertools
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, get_args

from rich.console import Console
from rich.table import Table

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.cell import PRELUDE
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, LastExpression

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "traces"
LEAST = {"rho_tir_math_gsm8k": 0.97, "mathcoder_math": 0.95, "tora_gsm8k": 0.99}
"""The part of each record that has to be reproduced."""

CODE_SECONDS = 5.0  # as the recorders had it
OUTPUT_BYTES = 1 << 20  # nothing is left out that a recorder kept

SAME_TEXT, SAME_NUMBER = "the same text", "the same number"
SAME_EXCEPTION, BOTH_TIMED_OUT = "an exception of the same class", "out of time on both sides"
REPRODUCED = (SAME_TEXT, SAME_NUMBER, SAME_EXCEPTION, BOTH_TIMED_OUT)
NOT_RECORDED = "nothing was recorded"
TIMED_OUT_HERE, FOLLOWS = "out of time here only", "an earlier block of this completion differed"
UNNAMED = "not named"

BY_HAND = {
    ("rho-math-1b-interpreter-v0.1-minerva_math-83", 0): "sympy brackets a power in its error message",
    ("rho-math-7b-interpreter-v0.1-minerva_math-83", 0): "sympy brackets a power in its error message",
    ("rho-math-7b-interpreter-v0.1-minerva_math-458", 0): "sympy writes '+ 0' in its error message",
    ("mc-MathCoder-L-7b-MATH-correct-988", 0): "sympy no longer takes a float factor out of a square",
    ("mc-MathCoder-L-7b-MATH-correct-988", 1): "sympy no longer takes a float factor out of a square",
}
"""Looked at one by one: trace and block, and why it differs. The versions of sympy differ."""

_EXCEPTION = re.compile(r"^\s*(?:[\w.]+\.)?(\w*(?:Error|Exception|Failed|Iteration|NoConvergence))(?::|\s*$)", re.M)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RECORDERS_NOTE = re.compile(r"^The history saving thread hit an unexpected error.*\n?", re.M)
_NUMPY_SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")
_STUCK_KERNEL = "Timeout waiting for reply"


class Block(NamedTuple):
    """A recorded block. `recorded` is None where the record holds no output."""

    trace: str
    number: int
    code: str
    recorded: str | None


class Outcome(NamedTuple):
    """A block, what the sandbox made of it, and the name of how both compare."""

    block: Block
    result: ExecutionResult
    verdict: str


def completions(path: Path, *, every: int = 1) -> list[list[Block]]:
    """The blocks of every n-th completion of a record, in the order in which they ran."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        traces = [json.loads(line) for line in lines]
    return [
        [Block(trace["id"], number, block["code"], block["output"]) for number, block in enumerate(run["code_blocks"])]
        for trace in traces[::every]
        for run in trace["completions"]
    ]


def replay(sandbox: Sandbox, runs: list[list[Block]], *, tasks: int = 2) -> list[Outcome]:
    """Run all blocks, each completion in an interpreter of its own, and compare."""
    outcomes: list[Outcome] = []
    waiting = iter(runs)

    async def task() -> None:
        for blocks in waiting:
            outcomes.extend(judge(blocks, await _run(sandbox, blocks)))

    async def work() -> None:
        await asyncio.gather(*(task() for _ in range(tasks)))

    asyncio.run(work())
    return outcomes


async def _run(sandbox: Sandbox, blocks: list[Block]) -> list[ExecutionResult]:
    results = []
    for block in blocks:
        request_id, deadline = f"{block.trace}/{block.number}", time.monotonic() + 60
        results.append(await sandbox.execute(block.code, request_id=request_id, deadline=deadline))
    if blocks:
        sandbox.release(blocks[0].trace)
    return results


def judge(blocks: list[Block], results: list[ExecutionResult]) -> list[Outcome]:
    """Name how each block of a completion compares with its record."""
    outcomes: list[Outcome] = []
    for block, result in zip(blocks, results, strict=True):
        verdict = _alike(block, result)
        if verdict is None:
            verdict = _difference(block, result, earlier={outcome.verdict for outcome in outcomes})
        outcomes.append(Outcome(block, result, verdict))
    return outcomes


def _alike(block: Block, result: ExecutionResult) -> str | None:
    if block.recorded is None:
        return NOT_RECORDED
    there, here = _plain(block.recorded), _plain(result.output)
    if there == here or _is_cut(there, here):
        return SAME_TEXT
    if _timed_out(there) and result.status is ExecutionStatus.TIMEOUT:
        return BOTH_TIMED_OUT
    if result.status is not ExecutionStatus.OK and not _timed_out(there) and _same_exception(there, here):
        return SAME_EXCEPTION
    return SAME_NUMBER if _same_number(there, here) else None


def _plain(text: str) -> str:
    """Without what a recorder added to it."""
    text = _RECORDERS_NOTE.sub("", _COLOURS.sub("", text)).strip()
    return "" if text == "<empty_execution>" else re.sub(r",\n\s*", ", ", text)


def _is_cut(there: str, here: str) -> bool:
    """Whether the recorder kept 200 characters of both ends."""
    return len(there) == 403 and there[200:203] == "..." and here.startswith(there[:200]) and here.endswith(there[203:])


def _timed_out(there: str) -> bool:
    return _STUCK_KERNEL in there or there.endswith("TimeoutError: 'Timed Out'")


def _same_exception(there: str, here: str) -> bool:
    """The class, or the whole line where the recorder kept the last line of a message of several."""
    names = _EXCEPTION.findall(there)
    return names[-1:] == _EXCEPTION.findall(here)[-1:] if names else here.endswith(f"\n{there}")


def _same_number(there: str, here: str) -> bool:
    with contextlib.suppress(ValueError):
        return math.isclose(float(there), float(here), rel_tol=1e-9)
    return False


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(?:e[-+]?\d+)?", text) is not None


def _difference(block: Block, result: ExecutionResult, *, earlier: set[str]) -> str:
    there, here = _plain(block.recorded or ""), _plain(result.output)
    for name, matches in _DIFFERENCES.items():
        if matches(there, here, block, result):
            return name
    if TIMED_OUT_HERE in earlier or (earlier - set(REPRODUCED) and re.search(r"^NameError: ", here, re.M)):
        return FOLLOWS
    return BY_HAND.get((block.trace, block.number), UNNAMED)


_DIFFERENCES: dict[str, Callable[[str, str, Block, ExecutionResult], bool]] = {
    "numpy 2 names the type of a scalar": lambda there, here, *_: _NUMPY_SCALAR.sub(r"\1", here) == there,
    "out of time there only": lambda there, *_: _timed_out(there),
    TIMED_OUT_HERE: lambda there, here, block, result: result.status is ExecutionStatus.TIMEOUT,
    "a module that is not installed": lambda there, here, *_: "\nModuleNotFoundError: No module named" in here,
    "a name that every block has here": lambda there, *_: (
        re.search(rf"NameError: name '({'|'.join(PRELUDE)})' is not defined", there) is not None
    ),
    "the same items in another order": lambda there, here, *_: _items(there) == _items(here),
    "IPython shows the first 1,000 items": lambda there, here, *_: (
        there.endswith(", ...]") and not _items(there[:-6]) - _items(here)
    ),
    "a numerical optimiser of another version": lambda there, here, block, _: (
        "scipy.optimize" in block.code and _is_number(there) and _is_number(here)
    ),
}
"""Differences by name; the first that fits is taken. Arguments: the text there, the text here, the block, the result."""


def _items(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\s,()\[\]{}]+", text))


def rate(outcomes: Iterable[Outcome]) -> float:
    """The part reproduced of what was recorded."""
    recorded = [outcome for outcome in outcomes if outcome.verdict != NOT_RECORDED]
    return sum(outcome.verdict in REPRODUCED for outcome in recorded) / len(recorded)


def values_shown(runs: Iterable[list[Block]]) -> tuple[int, int]:
    """How many blocks end in an expression that is no call of print, and how many of these print before it."""
    ends = printed = 0
    for block in itertools.chain(*runs):
        with contextlib.suppress(SyntaxError):
            *before, last = ast.parse(block.code).body or [ast.Pass()]
            if isinstance(last, ast.Expr) and not _prints(last):
                ends += 1
                printed += any(map(_prints, before))
    return ends, printed


def _prints(tree: ast.stmt) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == "print" for called in calls)


def table(name: str, outcomes: list[Outcome]) -> Table:
    """How many blocks there are of each verdict, and which where they are few."""
    grid = Table("", "blocks", title=f"{name}: {100 * rate(outcomes):.2f} % of {len(outcomes)} blocks reproduced")
    grid.add_column("which", overflow="fold")
    for verdict, count in Counter(outcome.verdict for outcome in outcomes).most_common():
        few = [f"{o.block.trace}[{o.block.number}]" for o in outcomes if o.verdict == verdict] if count < 12 else []
        grid.add_row(verdict, str(count), "\n".join(few))
    return grid


def main() -> int:
    """Print a table for each record; 1 where too little was reproduced or a difference has no name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each n-th completion only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--last-expression", choices=get_args(LastExpression), default="always")
    args = parser.parse_args()
    if not args.traces.is_dir():
        parser.error(f"no folder {args.traces}: the recorded data is not part of the repository")
    failed, console = 0, Console()
    options = {"output_bytes": OUTPUT_BYTES, "last_expression": args.last_expression}
    with Sandbox(workers=args.workers, code_seconds=CODE_SECONDS, **options) as sandbox:
        for name, least in LEAST.items():
            runs = completions(args.traces / f"{name}.jsonl.gz", every=args.every)
            outcomes = replay(sandbox, runs, tasks=args.workers)
            console.print(table(name, outcomes))
            ends, printed = values_shown(runs)
            console.print(
                f"{ends} of {len(outcomes)} blocks end in a value that is not printed; {printed} print before it"
            )
            failed |= rate(outcomes) < least or any(outcome.verdict == UNNAMED for outcome in outcomes)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
