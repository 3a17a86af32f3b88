"""The paper's order in small: majority with tools, one candidate, no code. `python -m benchmarks.embedded --write README.md`.

The embedded model on its 50 held-out problems, T = 0.8, mean and sample standard deviation over seeds. The majority runs
are recorded without a stop rule and then replayed from the record with the exact one: no answer may differ.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sctir_kaggle import Executor, Problem, Solver, SolverConfig, SolveResult
from sctir_kaggle.cli import EMBEDDED_MODEL
from sctir_kaggle.engines.recorded import Recorded
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Engine

MODES = {
    "majority of 16, 4 turns": SolverConfig(candidates=16, stop="none"),
    "one candidate, 4 turns": SolverConfig(candidates=1, stop="none"),
    "majority of 16, no code run": SolverConfig(candidates=16, turns=0, stop="none"),
    "one candidate, no code run": SolverConfig(candidates=1, turns=0, stop="none"),
}

START, END = "<!-- benchmarks.embedded -->", "<!-- end -->"


def solve_all(engine: Engine, executor: Executor, config: SolverConfig, problems: list[Problem]) -> list[SolveResult]:
    """Every problem in turn, without a deadline."""

    async def work() -> list[SolveResult]:
        return [await Solver(engine, executor, config).solve(problem) for problem in problems]

    return asyncio.run(work())


def changed_by_the_stop(results: list[SolveResult], config: SolverConfig) -> tuple[int, float]:
    """How many answers differ when the record is replayed with the exact stop, and the share of its tokens still needed."""
    recorded = Recorded(results)
    problems = [result.problem for result in results]
    stopped = solve_all(recorded, recorded, replace(config, stop="exact"), problems)
    changed = sum(a.answer != b.answer for a, b in zip(results, stopped, strict=True))
    return changed, tokens(stopped) / tokens(results)


def tokens(results: Iterable[SolveResult]) -> int:
    """Tokens sampled, those of cancelled candidates' finished turns too."""
    return sum(turn.completion.tokens for result in results for trace in result.traces for turn in trace.turns)


def score(results: list[SolveResult]) -> float:
    """Percent of answers that are right."""
    return 100 * statistics.fmean(result.correct is True for result in results)


def row(name: str, scores: list[float], seconds: list[float]) -> str:
    """A line of the table."""
    spread = f"{statistics.stdev(scores):.1f}" if len(scores) > 1 else "-"
    return f"| {name} | {statistics.fmean(scores):.1f} ± {spread} | {statistics.median(seconds):.0f} |"


def measure(seeds: int) -> str:
    """The table as Markdown, with what it was measured on."""
    problems = read_problems(HELD_OUT)
    lines = [
        f"| {len(problems)} held-out problems, T = 0.8 | right (%), mean ± sd of {seeds} seeds | seconds (median) |"
    ]
    lines.append("|---|---|---|")
    differing, shares = 0, []
    engine = TransformersEngine.load(EMBEDDED_MODEL, slots=48)
    with Sandbox() as sandbox:
        for name, config in MODES.items():
            scores, seconds = [], []
            for seed in range(seeds):
                started = time.monotonic()
                results = solve_all(engine, sandbox, replace(config, seed=seed), problems)
                seconds.append(time.monotonic() - started)
                scores.append(score(results))
                print(f"{name}, seed {seed}: {scores[-1]:.1f} % in {seconds[-1]:.0f} s", flush=True)
                if config.candidates > 1 and config.turns:
                    changed, share = changed_by_the_stop(results, config)
                    differing += changed
                    shares.append(share)
            lines.append(row(name, scores, seconds))
    engine.close()
    stop = f"Exact stop, replayed from the {seeds} majority runs: {differing} of {seeds * len(problems)} answers differ"
    lines += [
        "",
        f"{stop}; with candidates replayed one after the other, {100 * statistics.fmean(shares):.0f} % of the tokens do.",
        machine(),
    ]
    return "\n".join(lines)


def machine() -> str:
    """Commit and kind of machine."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"Commit {commit.stdout.strip() or 'unknown'}, {os.cpu_count()} x {platform.machine()} cores, no GPU, "
        f"Python {platform.python_version()}: `python -m benchmarks.embedded`."
    )


def main() -> None:
    """Print the table; with `--write FILE`, put it between that file's markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", type=Path, metavar="FILE")
    args = parser.parse_args()
    table = measure(args.seeds)
    print(table)
    if args.write:
        text = args.write.read_text()
        before, after = text.split(START)[0], text.split(END)[1]
        args.write.write_text(f"{before}{START}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
