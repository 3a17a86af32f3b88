"""Merges of the embedded models, in the pairs that the original tried: `python -m benchmarks.merging [--quick] [--write FILE]`.

The original merged SFT with KTO, and SFT with the public DeepSeekMath models. Here SFT is the embedded model, its base stage 1
(`assets/model-cot`), and KTO is trained on the candidates of SFT: once by tiny_kto.yaml, and twice with WARP's moving anchor
and other seeds. Each pair is merged by the files `merge_*.yaml`, and each model writes single programs (no second turn) for
problems of every synthetic family that none was trained on. Differences to SFT are paired by problem, and come with their
standard error over the problems. The same command goes on after a kill. Needs the extra `recipes` and mergekit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.tables import publish
from sctir_kaggle import Problem, SolverConfig, SolveResult
from sctir_kaggle.lab.replay.progress import Progress
from sctir_kaggle.lab.replay.run import Plan, replay
from sctir_kaggle.presets import PRESETS
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.settings import CONFIGS, keep_settings, read_settings, run_recipe, write_json
from sctir_kaggle.recipes.tiny.__main__ import gain
from sctir_kaggle.recipes.tiny.problems import TRACES, held_out, training_drafts, validation
from sctir_kaggle.recipes.tiny.steps import Steps
from sctir_kaggle.recipes.train.kto import KTO, kto
from sctir_kaggle.recipes.train.merge import MergeSettings, merge
from sctir_kaggle.recipes.train.validation import solve_all
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.settings import ClockConfig, RunConfig
from sctir_kaggle.types import UserError

BASE = ASSETS / "model-cot"

TRAINING_SEED = 0
"""Of the problems that the embedded model learned from."""

SLOTS = 48
"""Candidates that are decoded at a time."""

DRAWN = 20
"""Times as many problems are drawn as are kept: some families have few that were not learned."""

TOKENS = 512
"""Of a program, at most: the traces that the embedded model learned have some 400. A model that a merge broke may never end."""

POLICIES = {"kto": (42, None), "kto-1": (1, 0.01), "kto-2": (2, 0.01)}
"""The KTO trainings: seed, and the anchor's rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """The settings of a run, which resumes in its `output` as long as no other changes. Raises `UserError` outside limits."""

    output: Path = Path("runs/merging")
    each: int = 6
    """Problems of each family, at most: where nearly all were learned there are fewer."""
    candidates: int = 4
    """Programs of a problem."""
    on_policy: int = 200
    """Training problems that SFT solves for KTO, with four candidates each."""
    learning_rate: float = 1e-4
    """Of KTO: ten times that of tiny_kto.yaml, which changed nothing that could be measured."""
    steps: int | None = None
    """Of each KTO, instead of one pass."""
    seed: int = 1
    """Of the problems and of sampling."""

    def __post_init__(self) -> None:
        for name in ("each", "candidates", "on_policy"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def at(self, name: str) -> Path:
        """A file or a folder of the output."""
        return self.output / name


QUICK = {"each": 1, "candidates": 2, "on_policy": 8, "steps": 2}


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge: its row's first cells, and what it changes of its file, with models by their names here."""

    pair: str
    method: str
    how: str
    file: str
    models: tuple[str, str]
    base: str | None = None
    changes: tuple[str, ...] = ()


SFT_KTO, SFT_BASE, TWO_KTO = ("sft", "kto"), ("sft", "base"), ("kto-1", "kto-2")

MERGES = {
    "sft-kto-linear": Merged("SFT + KTO", "linear", "0.5, 0.5", "merge_linear.yaml", SFT_KTO),
    "sft-kto-ties": Merged("SFT + KTO", "TIES", "0.5, 0.5, density 0.2", "merge_ties.yaml", SFT_KTO, "base"),
    "sft-kto-dare": Merged("SFT + KTO", "DARE", "0.5, 0.5, density 0.1", "merge_dare.yaml", SFT_KTO, "base"),
    "sft-kto-dare-half": Merged(
        "SFT + KTO", "DARE", "0.5, 0.5, density 0.5", "merge_dare.yaml", SFT_KTO, "base", ("density=0.5",)
    ),
    "sft-kto-warp": Merged("SFT + KTO", "WARP", "0.5, 0.5, eta 1", "merge_warp.yaml", SFT_KTO, "base", ("eta=1",)),
    "sft-base-linear": Merged("SFT + base", "linear", "0.5, 0.5", "merge_linear.yaml", SFT_BASE),
    "sft-base-ties": Merged("SFT + base", "TIES", "0.5, 0.5, density 0.2", "merge_ties.yaml", SFT_BASE, "base"),
    "sft-base-dare": Merged(
        "SFT + base", "DARE", "1, 1, density 0.1", "merge_dare.yaml", SFT_BASE, "base", ("weights=[1, 1]",)
    ),
    "two-kto-warp": Merged(
        "KTO + KTO, anchored", "WARP", "0.5, 0.5, eta 1", "merge_warp.yaml", TWO_KTO, "sft", ("eta=1",)
    ),
    "two-kto-warp-back": Merged("KTO + KTO, anchored", "WARP", "0.5, 0.5, eta 0.3", "merge_warp.yaml", TWO_KTO, "sft"),
}
"""In the table's order. Of SFT + base the base changed nothing of itself: TIES and DARE merge what is left of SFT's changes,
and WARP, which needs two models with changes, is the linear merge."""

SINGLE = {
    "sft": ("SFT", "none"),
    "base": ("base", "none"),
    "kto": ("KTO", "none"),
    "kto-1": ("KTO, anchored, seed 1", "none"),
    "kto-2": ("KTO, anchored, seed 2", "none"),
}
"""The models that are merged: the first rows."""


def make(merging: Merging, options: str = "") -> str:
    """Run the steps that are not done yet; return the table, which is in `table.md` too."""
    keep_settings(merging.output, "merging.json", asdict(merging))
    steps = Steps(merging.output)
    steps.do("problems", partial(pose, merging))
    steps.do("candidates for KTO", partial(sample, merging))
    for name in POLICIES:
        steps.do(f"train {name}", partial(train, merging, name))
    for name in MERGES:
        steps.do(f"merge {name}", partial(join, merging, name))
    for name in (*SINGLE, *MERGES):
        steps.do(f"solve with {name}", partial(solve, merging, name))
    written = report(merging, options)
    merging.at("table.md").write_text(f"{written}\n\n{steps.table()}\n", encoding="utf-8")
    return written


def pose(merging: Merging) -> None:
    """Write `training.json`, of problems that the embedded model was trained on, and `problems.json`, of others."""
    drafts = training_drafts(TRAINING_SEED, [*held_out(TRAINING_SEED), *validation(TRAINING_SEED)], TRACES)
    closed = {(draft.family, draft.params) for draft in drafts}
    kept: list[Problem] = []
    count: Counter[str] = Counter()
    for one in validation(merging.seed, DRAWN * merging.each):
        which = one.family, tuple(one.params.items())
        if which not in closed and count[one.family] < merging.each:
            kept.append(one.problem)
            closed.add(which)
            count[one.family] += 1
    trained = [Problem(f"training-{number}", draft.problem, draft.answer) for number, draft in enumerate(drafts)]
    for file, problems in (
        ("training.json", trained[: merging.on_policy]),
        ("problems.json", kept),
    ):
        write_json(merging.at(file), [asdict(problem) for problem in problems])


def problems_in(file: Path) -> list[Problem]:
    """What `pose` wrote."""
    return [Problem(**row) for row in json.loads(file.read_text(encoding="utf-8"))]


def sample(merging: Merging) -> None:
    """Four candidates of SFT for each training problem, all run to their end: a replay in `on-policy`."""
    folder = merging.at("on-policy")
    shutil.rmtree(folder, ignore_errors=True)
    config = SolverConfig(candidates=4, stop="none", seed=merging.seed)
    run = RunConfig(solver=config, clock=ClockConfig(budget=float("inf")))
    problems = problems_in(merging.at("training.json"))
    replay(Plan(run=run, folder=folder, problems=problems, seeds=[merging.seed]), Progress())


def train(merging: Merging, name: str) -> None:
    """KTO by tiny_kto.yaml with the seed and the anchor of `name`."""
    seed, anchor = POLICIES[name]
    changes = {
        "model": EMBEDDED_MODEL,
        "runs": f"[{merging.at('on-policy')}]",
        "output": merging.at(name),
        "learning_rate": merging.learning_rate,
        "seed": seed,
        "anchor": "null" if anchor is None else anchor,
        "steps": "null" if merging.steps is None else merging.steps,
    }
    kto(read_settings(KTO, CONFIGS / "tiny_kto.yaml", [f"{field}={value}" for field, value in changes.items()]))


def model_of(merging: Merging, name: str) -> Path:
    """The checkpoint of a row."""
    if name in MERGES:
        return merging.at("merged") / name
    return {"sft": EMBEDDED_MODEL, "base": BASE}.get(name) or merging.at(name) / "model"


def settings_of_merge(merging: Merging, name: str) -> MergeSettings:
    """A row's merge: its file with the models here, in float32, so that no small change is rounded away."""
    row = MERGES[name]
    models = ", ".join(str(model_of(merging, model)) for model in row.models)
    base = [f"base={model_of(merging, row.base)}"] if row.base else []
    ours = (f"models=[{models}]", f"output={model_of(merging, name)}", "dtype=float32", *base)
    return read_settings(MergeSettings, CONFIGS / row.file, [*ours, *row.changes])


def join(merging: Merging, name: str) -> None:
    """Merge, unless a run that was killed just then did."""
    if not (model_of(merging, name) / "config.json").exists():
        merge(settings_of_merge(merging, name))


def solve(merging: Merging, name: str) -> None:
    """Single programs for every problem: the share of right ones and whether their vote is right, into `solved/NAME.json`."""
    config = SolverConfig(**{**PRESETS["single-tir"].values, "stop": "none", "seed": merging.seed})
    config = replace(config, candidates=merging.candidates, max_tokens=TOKENS)
    problems = problems_in(merging.at("problems.json"))
    results = asyncio.run(solve_all(model_of(merging, name), problems, config, slots=SLOTS))
    write_json(merging.at(f"solved/{name}.json"), figures(results))
    print(f"{name}: {_percent(figures(results)['single'])} % of the programs are right")


Figures = dict[str, dict[str, float]]


def figures(results: list[SolveResult]) -> Figures:
    """Of each problem the share of its programs that are right (`single`), and 1 or 0 for its vote (`vote`)."""
    return {
        "single": {
            result.problem.id: statistics.fmean(trace.answer == result.problem.answer for trace in result.traces)
            for result in results
        },
        "vote": {result.problem.id: float(result.correct is True) for result in results},
    }


def report(merging: Merging, options: str) -> str:
    """The table as Markdown, and what it was measured on."""
    solved = {
        name: json.loads(merging.at(f"solved/{name}.json").read_text(encoding="utf-8")) for name in (*SINGLE, *MERGES)
    }
    return f"{table(solved, merging.candidates)}\n\n{machine('merging', 'no GPU', options=options)}"


def table(solved: Mapping[str, Figures], candidates: int) -> str:
    """A row a model: the rates in percent and their differences to SFT's in points, ± the standard error over problems."""
    problems = len(solved["sft"]["vote"])
    head = (
        f"| {problems} unseen problems, T = {SolverConfig().temperature} | method | weights | single programs right (%) | "
        f"against SFT | maj@{candidates} (%) | against SFT |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(_row(name, solved) for name in (*SINGLE, *MERGES))])


def _row(name: str, solved: Mapping[str, Figures]) -> str:
    row = MERGES.get(name)
    first = (row.pair, row.method, row.how) if row else (*SINGLE[name], "")
    rates = []
    for kind in ("single", "vote"):
        mean, error = gain(solved["sft"][kind], solved[name][kind])
        against = "" if name == "sft" else f"{100 * mean:+.1f} ± {100 * error:.1f}"
        rates += [_percent(solved[name][kind]), against]
    return f"| {' | '.join([*first, *rates])} |"


def _percent(values: Mapping[str, float]) -> str:
    return f"{100 * statistics.fmean(values.values()):.1f}"


def main() -> None:
    """Run the command."""
    default = Merging()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"a smoke test, whose figures mean nothing: {QUICK}")
    parser.add_argument("--output", type=Path, default=default.output, help="folder of everything (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="+", default=[], help="files with its markers")
    args = parser.parse_args()
    written = make(Merging(output=args.output, **(QUICK if args.quick else {})), "--quick" if args.quick else "")
    print(f"\n{written}")
    for file in args.write:
        publish(file, "merging", written)


if __name__ == "__main__":
    run_recipe(main)
