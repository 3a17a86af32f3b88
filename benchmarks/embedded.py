"""The paper's order in small: majority with tools, one candidate, no code. `python -m benchmarks.embedded --write README.md`.

The embedded model on its 50 held-out problems, T = 0.8, mean and sample standard deviation over seeds. The majority runs
are recorded without a stop rule and then replayed from the record with the exact one: no answer may differ.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.runs import changed_by_the_stop, score, solve_all
from benchmarks.tables import publish
from sctir_kaggle import SolverConfig
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.opening import EMBEDDED_MODEL
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox

MODES = {
    "majority of 16, 4 turns": SolverConfig(candidates=16, stop="none"),
    "one candidate, 4 turns": SolverConfig(candidates=1, stop="none"),
    "majority of 16, no code run": SolverConfig(candidates=16, turns=0, stop="none"),
    "one candidate, no code run": SolverConfig(candidates=1, turns=0, stop="none"),
}


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
        machine("embedded", "no GPU"),
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table; with `--write FILE`, put it between that file's markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", type=Path, metavar="FILE")
    args = parser.parse_args()
    table = measure(args.seeds)
    print(table)
    if args.write:
        publish(args.write, "embedded", table)


if __name__ == "__main__":
    main()
