"""RL on the embedded model: `python -m benchmarks.rl [--seeds N] [--minutes N] [--output DIR] [--write FILE ...]`.

Trains it by `recipes.train.rl` with `tiny_rl.yaml` on problems of its families, for at most so many minutes a seed, and has it
solve the validation problems, which nothing was trained on, before and after: one program a candidate, and SC-TIR's four
turns, both sampled as at inference. A seed's figures are in `DIR/seed-N.json`, and such a seed is not run again; a training
that was interrupted goes on from its last checkpoint, with the minutes that it had left there. So a run can be split: first
`--seeds 1`, then `--seeds 2`, ... The minutes are of wall clock, without loading: measure on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks.machine import machine
from benchmarks.runs import single
from benchmarks.tables import publish
from sctir_kaggle import Problem, Solver, SolverConfig, SolveResult
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.lab.statistics import format_mean_sd
from sctir_kaggle.presets import PRESETS
from sctir_kaggle.recipes.data.problem_list import write_problems
from sctir_kaggle.recipes.settings import CONFIGS, keep_settings, read_settings, run_recipe, write_json
from sctir_kaggle.recipes.tiny.problems import held_out, training_drafts, validation
from sctir_kaggle.recipes.train.rl import RL, rl
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import UserError

EACH = 60
"""Training problems of each family, before those that occur twice are dropped."""

WAYS = {"single-tir": "one program", "sc-tir": "SC-TIR: 4 turns"}
"""The rows: presets of `sctir replay`."""

CLOCK = "clock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The settings of a run; a folder holds seeds of the same only. Raises `UserError` outside limits."""

    output: Path = Path("runs/rl")
    minutes: float = 30.0
    """Of training, at most; it ends before where `tiny_rl.yaml`'s steps take less."""
    steps: int | None = None
    """However long they take: for a smoke test, or a machine that is busy."""
    candidates: int = 8
    """Of a validation problem."""
    each: int = 4
    """Validation problems of each family."""
    changes: tuple[str, ...] = ()
    """Fields of `tiny_rl.yaml` with other values, each `FIELD=VALUE`."""

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise UserError(f"minutes is {self.minutes:g}; it must be above 0")
        for name in ("steps", "candidates", "each"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")

    def at(self, name: str) -> Path:
        """A file or a folder of the output."""
        return self.output / name


@dataclass(frozen=True, slots=True)
class Measured:
    """One seed: percent of single candidates right by preset, before and after; steps, and minutes of training."""

    before: dict[str, float]
    after: dict[str, float]
    steps: int
    minutes: float


class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Ends a training after `minutes`, with a checkpoint; with None it only measures.

    `file` keeps the seconds at each checkpoint, so that what an interruption lost does not count.
    """

    def __init__(self, file: Path, minutes: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._file, self._minutes, self._now, self._began = file, minutes, now, 0.0
        self._before: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self._now() - self._began

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on with the seconds of the checkpoint that the training goes on from."""
        self._began = self._now() - self._before.get(str(state.global_step), 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End where the time is over."""
        if self._minutes is not None and self.seconds >= 60 * self._minutes:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the seconds at this checkpoint."""
        self._before[str(state.global_step)] = self.seconds
        write_json(self._file, self._before)


def measure(benchmark: Benchmark, seed: int) -> Measured:
    """One seed: solve, train, solve; or what an earlier run wrote of it."""
    file = benchmark.at(f"seed-{seed}.json")
    if not file.exists():
        before = solved(EMBEDDED_MODEL, benchmark, seed)
        model, steps, seconds = trained(benchmark, seed)
        after = solved(model, benchmark, seed)
        write_json(file, asdict(Measured(before, after, steps, seconds / 60)))
    return Measured(**json.loads(file.read_text(encoding="utf-8")))


def trained(benchmark: Benchmark, seed: int) -> tuple[Path, int, float]:
    """Train, or go on with it; the model's folder, the steps and the seconds that they took."""
    folder, problems = benchmark.at(f"training-{seed}"), benchmark.at("problems.csv")
    write_problems(problems, training_problems())
    ours = (f"model={EMBEDDED_MODEL}", f"problems={problems}", f"output={folder}", f"seed={seed}")
    steps = (f"steps={benchmark.steps}",) if benchmark.steps else ()
    settings = read_settings(RL, CONFIGS / "tiny_rl.yaml", [*ours, *steps, *benchmark.changes])
    model = settings.output / "model"
    if not model.exists():
        rl(settings, [Clock(folder / CLOCK, None if benchmark.steps else benchmark.minutes)])
    seconds: dict[str, float] = json.loads((folder / CLOCK).read_text(encoding="utf-8"))
    last = max(map(int, seconds))
    return model, last, seconds[str(last)]


def training_problems() -> list[dict[str, object]]:
    """Rows of problems of every family; none has the parameters of a held-out or a validation problem."""
    drafts = training_drafts(0, [*held_out(0), *validation(0)], EACH)
    return [
        {"id": f"{one.family}-{number}", "problem": one.problem, "answer": one.answer}
        for number, one in enumerate(drafts)
    ]


def solved(model: Path, benchmark: Benchmark, seed: int) -> dict[str, float]:
    """Percent of single candidates right on the validation problems, by preset."""
    problems, found = [posed.problem for posed in validation(0, benchmark.each)], {}
    with Sandbox() as sandbox, closing(TransformersEngine.load(model, slots=64)) as engine:
        for way in WAYS:
            preset = SolverConfig(**PRESETS[way].values)
            config = replace(preset, stop="none", candidates=benchmark.candidates, seed=seed)
            found[way] = single(asyncio.run(_at_once(Solver(engine, sandbox, config), problems)))
            print(f"{model}, seed {seed}: {WAYS[way]}: {found[way]:.1f} % of candidates right", flush=True)
    return found


async def _at_once(solver: Solver, problems: Sequence[Problem]) -> list[SolveResult]:
    """All problems together, which keeps the engine's slots full."""
    return list(await asyncio.gather(*map(solver.solve, problems)))


def report(measured: Mapping[int, Measured], benchmark: Benchmark) -> str:
    """The table as Markdown, with what was trained and on what machine."""
    count, temperature = len(validation(0, benchmark.each)), SolverConfig().temperature
    head = f"{count} problems x {benchmark.candidates} candidates, T = {temperature}: right (%)"
    seeds = list(measured.values())
    lines = [f"| {head} | before | after | gain, mean ± sd of {len(seeds)} seeds |", "|---|---|---|---|"]
    for way, name in WAYS.items():
        before, after = [one.before[way] for one in seeds], [one.after[way] for one in seeds]
        gains = [new - old for old, new in zip(before, after, strict=True)]
        lines.append(f"| {name} | {format_mean_sd(before)} | {format_mean_sd(after)} | {format_mean_sd(gains)} |")
    minutes, steps = (format_mean_sd([float(getattr(one, name)) for one in seeds]) for name in ("minutes", "steps"))
    return "\n".join([*lines, "", f"Trained for {minutes} minutes a seed, {steps} steps.", made(benchmark, len(seeds))])


def made(benchmark: Benchmark, seeds: int) -> str:
    """The line about commit, machine and command."""
    limit = f"--steps {benchmark.steps}" if benchmark.steps else f"--minutes {benchmark.minutes:g}"
    sizes = f" --candidates {benchmark.candidates} --each {benchmark.each}"
    changes = f" --set {' '.join(benchmark.changes)}" if benchmark.changes else ""
    return machine("rl", "no GPU", options=f"--seeds {seeds} {limit}{sizes}{changes}")


def main() -> None:
    """Print the table; with `--write FILE`, put it between that file's markers."""
    default = Benchmark()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: 3)")
    parser.add_argument(
        "--minutes", type=float, default=default.minutes, help=f"each, at most (default: {default.minutes:g})"
    )
    parser.add_argument("--steps", type=int, help="each, instead of minutes")
    parser.add_argument("--candidates", type=int, default=default.candidates, help="of a validation problem")
    parser.add_argument("--each", type=int, default=default.each, help="validation problems of each family")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="change tiny_rl.yaml")
    parser.add_argument("--output", type=Path, default=default.output, help=f"folder (default: {default.output})")
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="+", default=[], help="files with its markers")
    args = vars(parser.parse_args())
    files, seeds, changes = args.pop("write"), args.pop("seeds"), tuple(args.pop("set"))
    benchmark = Benchmark(**args, changes=changes)
    keep_settings(benchmark.output, "benchmark.json", asdict(benchmark))
    written = report({seed: measure(benchmark, seed) for seed in range(seeds)}, benchmark)
    print(f"\n{written}")
    for file in files:
        publish(file, "rl", written)


if __name__ == "__main__":
    run_recipe(main)
