"""Makes the embedded model and its held-out problems: `python -m sctir_kaggle.recipes.embedded_model --output DIR`.

Problems -> solutions whose code really runs -> tokenizer -> training -> `DIR/model`, `DIR/problems.csv`. Needs torch
and transformers; less than an hour of CPU time on two cores. The same seed gives the same problems, traces and
tokenizer, and weights as equal as the machine's arithmetic is.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.recipes.corpus import Draft, Example, draft, run
from sctir_kaggle.recipes.evaluation import by_family, score, solve_all
from sctir_kaggle.recipes.families import FAMILIES, Family, Params
from sctir_kaggle.recipes.tokenizer import save_tokenizer, train_tokenizer
from sctir_kaggle.recipes.training import Schedule, Shape, encode, new_model, train
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Problem

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PROBLEMS = 50
"""Held-out problems: one of each family, the rest of families drawn at random."""

TRACES = 370
"""Drafts of a family."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A problem, and the family and parameters that it was made of."""

    family: str
    params: Params
    problem: Problem


def main() -> None:
    """The command."""
    args = _arguments()
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    problems, checks = held_out(args.seed), validation(args.seed)
    write_problems(args.output / "problems.csv", problems)
    drafts = training_drafts(args.seed, [*problems, *checks], args.traces)
    examples = asyncio.run(run_drafts(drafts))
    say(f"{len(examples)} of {len(drafts)} drafts became traces, {len(FAMILIES)} families")
    build(examples, Shape(), Schedule(epochs=args.epochs), output=args.output / "model", seed=args.seed)
    say("trained")
    evaluate(args.output / "model", problems, checks, seed=args.seed)
    say("done")


def held_out(seed: int, count: int = PROBLEMS) -> list[Posed]:
    """The held-out problems. No answer is 0, which is what a solver says without a vote."""
    rng = Random(f"held out/{seed}")
    names = [*FAMILIES, *rng.choices(list(FAMILIES), k=max(0, count - len(FAMILIES)))]
    rng.shuffle(names)
    return [_pose(name, number, rng) for number, name in enumerate(names[:count])]


def validation(seed: int, each: int = 4) -> list[Posed]:
    """A few more problems of each family, for the model card; neither trained on nor published."""
    rng = Random(f"validation/{seed}")
    return [_pose(name, number, rng) for name in FAMILIES for number in range(each)]


def _pose(name: str, number: int, rng: Random) -> Posed:
    family = FAMILIES[name]
    params = _sample_nonzero(family, rng)
    return Posed(name, params, Problem(f"{name}-{number}", family.text(params, rng), family.answer(params)))


def _sample_nonzero(family: Family, rng: Random) -> Params:
    params = family.sample(rng)
    return params if family.answer(params) else _sample_nonzero(family, rng)


def training_drafts(seed: int, held: Sequence[Posed], count: int) -> list[Draft]:
    """`count` drafts a family, none with the parameters of a held problem and no two the same, shuffled."""
    rng = Random(f"training/{seed}")
    drafts: dict[Draft, None] = {}
    for name, family in FAMILIES.items():
        closed = [posed.params for posed in held if posed.family == name]
        for _ in range(count):
            params = family.sample(rng)
            if params not in closed:
                drafts[draft(family, params, rng)] = None
    made = list(drafts)
    rng.shuffle(made)
    return made


async def run_drafts(drafts: Sequence[Draft]) -> list[Example]:
    """The drafts whose code ran as drafted, in the project's own sandbox."""
    async with Sandbox(workers=2) as sandbox:
        return await run(drafts, sandbox, at_once=4)


def build(examples: Sequence[Example], shape: Shape, schedule: Schedule, *, output: Path, seed: int) -> None:
    """Tokenizer and model of the traces, saved after every epoch."""
    texts = ["".join(segment.text for segment in example.segments) for example in examples]
    fit(examples, train_tokenizer(texts, size=shape.vocabulary, context=shape.context), shape, schedule, output, seed)


def fit(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
    shape: Shape,
    schedule: Schedule,
    output: Path,
    seed: int,
) -> None:
    """A model of the examples in the tokens of `tokenizer`, saved with it after every epoch."""
    rows = [encode(example, tokenizer) for example in examples]
    model = new_model(shape, tokenizer)
    say(f"{sum(len(ids) for ids, _ in rows)} tokens an epoch, {model.num_parameters()} parameters")
    train(model, rows, schedule, seed=seed, say=say, save=lambda: save(model, tokenizer, output))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """A float16 copy of the model, and its tokenizer."""
    import copy

    half: Any = copy.deepcopy(model)
    half.half().save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, output)


def evaluate(model: Path, problems: Sequence[Posed], checks: Sequence[Posed], *, seed: int, turns: int = 4) -> None:
    """Print what the held-out problems and each family score, with `turns` executions of code a candidate."""
    config = SolverConfig(candidates=16, turns=turns, stop="none", seed=seed)
    found = score(asyncio.run(solve_all(model, [posed.problem for posed in problems], config)))
    say(f"held out: single {found.single:.3f}, majority of {config.candidates} {found.majority:.3f}")
    config = replace(config, candidates=8)
    results = asyncio.run(solve_all(model, [posed.problem for posed in checks], config))
    for name, part in {**by_family(results), "all": score(results)}.items():
        say(f"| {name} | {part.single:.2f} | {part.majority:.2f} |")


def write_problems(path: Path, problems: Sequence[Posed]) -> None:
    """A CSV with columns id, problem, answer."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "problem", "answer"))
        writer.writerows((posed.problem.id, posed.problem.text, posed.problem.answer) for posed in problems)


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def say(line: str) -> None:
    """A line of the log, with the CPU time so far."""
    print(f"{time.strftime('%H:%M:%S')} {cpu_seconds() / 60:5.1f} CPU min  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder that gets model/ and problems.csv")
    parser.add_argument("--seed", type=int, default=0, help="of problems, traces and weights (default: 0)")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of the training (default: 1, the fewest CPU minutes)"
    )
    parser.add_argument("--traces", type=int, default=TRACES, help=f"solutions a family (default: {TRACES})")
    parser.add_argument("--epochs", type=int, default=Schedule().epochs, help="passes over the traces")
    return parser.parse_args()


if __name__ == "__main__":
    main()
