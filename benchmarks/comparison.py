"""NuminaMath's comparison in small: chain of thought or tools, one answer or a vote. `python -m benchmarks.comparison`.

The embedded model and its stage-1 twin on the 50 held-out problems: chain of thought and tools, greedy and by vote, one
program a candidate, and SC-TIR; mean and sample standard deviation over seeds. The SC-TIR runs are recorded without a stop
rule and then replayed from the record with the exact one: no answer may differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.comparison_report import Run, Way, figure, stop_line, table
from benchmarks.machine import machine
from benchmarks.runs import changed_by_the_stop, score, single, solve_all
from benchmarks.tables import publish
from sctir_kaggle import Executor, Problem, SolverConfig, SolveResult
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.presets import PRESETS
from sctir_kaggle.problems import ASSETS, HELD_OUT, read_problems
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox

STAGE_1 = ASSETS / "model-cot"

CANDIDATES = 16

NAMES = {
    "greedy-cot": "CoT, greedy (one run)",
    "cot-majority": "CoT, majority",
    "greedy-tir": "TIR, greedy (one run)",
    "single-tir": "TIR, one program, majority",
    "sc-tir": "SC-TIR: 4 turns, majority",
}
"""The rows: presets of `sctir replay`, with `CANDIDATES` where they have more."""


@dataclass(frozen=True)
class Measured:
    """A way's runs, and for each the answers that the exact stop changed and the share of tokens that it needed."""

    runs: list[Run]
    stops: list[tuple[int, float]]


def config_of(way: str, seed: int) -> SolverConfig:
    """The preset with `CANDIDATES` at most; every one goes to its end, so that single candidates can be counted."""
    config = SolverConfig(**{**PRESETS[way].values, "stop": "none", "seed": seed})
    return replace(config, candidates=min(config.candidates, CANDIDATES))


def model_of(way: str) -> Path:
    """The checkpoint of the stage that a way belongs to."""
    return EMBEDDED_MODEL if config_of(way, 0).turns else STAGE_1


def measure(ways: Sequence[str], seeds: int) -> dict[str, Measured]:
    """Every way's runs over all held-out problems; a greedy one does not sample, so it runs once."""
    problems, measured = read_problems(HELD_OUT), {}
    with Sandbox() as sandbox:
        for way in ways:
            with closing(TransformersEngine.load(model_of(way), slots=48)) as engine:
                numbers = range(seeds if config_of(way, 0).temperature else 1)
                done = [run(engine, sandbox, way, seed, problems) for seed in numbers]
            stops = [changed_by_the_stop(results, config_of(way, 0)) for _, results in done] if way == "sc-tir" else []
            measured[way] = Measured([figures for figures, _ in done], stops)
    return measured


def run(
    engine: TransformersEngine, sandbox: Executor, way: str, seed: int, problems: list[Problem]
) -> tuple[Run, list[SolveResult]]:
    """One way with one seed, and a line for whoever waits."""
    started = time.monotonic()
    results = solve_all(engine, sandbox, config_of(way, seed), problems)
    figures = Run(score(results), single(results), time.monotonic() - started)
    print(f"{NAMES[way]}, seed {seed}: {figures.right:.1f} % in {figures.seconds:.0f} s", flush=True)
    return figures, results


def report(measured: Mapping[str, Measured], seeds: int, options: str) -> str:
    """The table as Markdown, what the exact stop did, and what it was measured on."""
    problems = len(read_problems(HELD_OUT))
    title = f"{problems} held-out problems, N = {CANDIDATES}, T = {SolverConfig().temperature}"
    ways = [
        Way(NAMES[way], "2" if model_of(way) == EMBEDDED_MODEL else "1", found.runs) for way, found in measured.items()
    ]
    stops = [stop for found in measured.values() for stop in found.stops]
    return "\n".join(
        [
            table(title, ways, seeds),
            "",
            *([stop_line(stops, problems)] if stops else []),
            machine("comparison", "no GPU", options=options),
        ]
    )


def main() -> None:
    """Print the table; with `--write FILE`, put it between that file's markers; with `--figure FILE`, draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="runs of each way that samples (default: 5)")
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="+", default=[], help="files with its markers")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="an .svg or .png; needs matplotlib")
    args = parser.parse_args()
    measured = measure(list(NAMES), args.seeds)
    written = report(measured, args.seeds, "" if args.seeds == 5 else f"--seeds {args.seeds}")
    print(written)
    for file in args.write:
        publish(file, "comparison", written)
    if args.figure:
        figure([Way(NAMES[way], "", found.runs) for way, found in measured.items()], args.figure)


if __name__ == "__main__":
    main()
