"""Compare a quantized checkpoint with its original: `python -m sctir_kaggle.recipes.quantize.check --config FILE --set ...`.

KL divergence, top-1 agreement and perplexity on held-out traces (`likeness.py`), accuracy by the real solver on a validation
set; the table goes into the model card. The rows must not be those of the calibration; this is not checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sctir_kaggle.display import live
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.lab.replay.progress import Progress
from sctir_kaggle.lab.replay.results import accuracies
from sctir_kaggle.lab.replay.run import Plan, replay
from sctir_kaggle.lab.replay.sets import read_set
from sctir_kaggle.recipes.quantize.calibration import context_of, shuffled_traces
from sctir_kaggle.recipes.quantize.card import Checked, parts_of, publish, table
from sctir_kaggle.recipes.quantize.checkpoint import size_of
from sctir_kaggle.recipes.quantize.compare import compare
from sctir_kaggle.recipes.rendering import Row
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from sctir_kaggle.recipes.train.packing import read_data
from sctir_kaggle.settings import ANSWERS, ClockConfig, RunConfig
from sctir_kaggle.types import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """Two checkpoints, and the data to compare them on. Raises `UserError` on a value outside its limits."""

    model: Path
    """The original."""

    quantized: Path
    """The quantized one; its card gets the table."""

    data: tuple[str, ...]
    """Held-out traces: files of training rows (`rows.py`), or owner/name on the Hub."""

    problems: str | None = None
    """A validation set: `amc`, `aime`, `math4`, `math5`, or a CSV; None: nothing is solved, and the table has no accuracy."""

    runs: Path = Path("runs/check-quantized")
    """The folder of the solver's journals; `sctir score` and `sctir view` read them."""

    samples: int = 256
    """Traces at most, after a shuffle with `seed`."""

    max_tokens: int = 1024
    """Tokens of a trace; a longer one is cut."""

    seed: int = 42
    """Seed of the traces' order."""

    sets: Path | None = None
    """The folder of the named validation sets; None: $SCTIR_DATA, else the Hub."""

    answers: Literal["aimo1", "aimo3", "any", "rational"] = "any"
    """0..999 mod 1000, 0..99999, or any integer."""

    limit: int | None = None
    """The first so many problems only."""

    candidates: int = 48
    turns: int = 4
    temperature: float = 0.8
    stop: Literal["exact", "none"] = "exact"
    """`none` lets every candidate end, so that single ones can be counted; the vote is the same."""
    seeds: int = 5
    """Runs of the solver; the table has their mean and sample standard deviation."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """The solver's engine."""

    device: str | None = None
    """Where both run over the traces, in memory at once: `cuda`, `cpu`, or `auto`, which spreads them over all GPUs; None is
    CUDA where there is one."""

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("max_tokens", 16), ("seeds", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")


def main() -> None:
    """Run the command."""
    settings = settings_of_command(CheckSettings, __doc__)
    compared = check(settings)
    print(compared)
    publish(settings.quantized, compared)


def check(settings: CheckSettings) -> str:
    """Measure both checkpoints; return the table as Markdown. Raises `UserError` where the card has no place for it."""
    parts_of(settings.quantized)
    rows = held_out_rows(settings)
    likeness = compare(settings.model, settings.quantized, rows, device=settings.device)
    original, quantized = (
        Checked(size_of(folder), percent_right(settings, folder, name))
        for name, folder in (("original", settings.model), ("quantized", settings.quantized))
    )
    return table(original, quantized, likeness, solved=described(settings))


def held_out_rows(settings: CheckSettings) -> list[Row]:
    """Token ids and masks of the traces. Raises `UserError` where the two tokenizers differ."""
    rows = list(read_data(settings.data))
    encoded, twin = (
        shuffled_traces(rows, load_transformers_tokenizer(folder), settings.seed, settings.samples)
        for folder in (settings.model, settings.quantized)
    )
    if encoded != twin:
        raise UserError(
            f"{settings.quantized} has another tokenizer than {settings.model}: is it made from that model?"
        )
    length = min(settings.max_tokens, context_of(settings.model))
    return [(ids[:length], learned[:length]) for ids, learned in encoded]


def percent_right(settings: CheckSettings, folder: Path, name: str) -> tuple[float, ...]:
    """Accuracy of the vote in percent, under each seed; empty without problems.

    Tasks that an earlier run solved are not solved again.
    """
    if settings.problems is None:
        return ()
    plan = plan_of(settings, folder, name)
    with live(Progress()) as progress:
        outcomes = replay(plan, progress)
    shares = accuracies(outcomes)
    if not shares:
        raise UserError(f"{settings.problems} has no reference answers: give a set with the column `answer`")
    return tuple(shares.values())


def plan_of(settings: CheckSettings, folder: Path, name: str) -> Plan:
    """A replay of the validation set under all seeds with the checkpoint in `folder`, journalled under `name`."""
    config = replace(
        ANSWERS[settings.answers],
        candidates=settings.candidates,
        turns=settings.turns,
        temperature=settings.temperature,
        stop=settings.stop,
    )
    kept = settings.runs / name
    run = RunConfig(
        solver=config,
        engine=EngineConfig(engine=settings.engine, model=folder),
        clock=ClockConfig(budget=math.inf),
    )
    problems = read_set(settings.problems or "", data=settings.sets, limit=settings.limit)
    return Plan(
        run=run,
        folder=kept,
        resume=_goes_on(kept / JOURNAL, folder),
        problems=problems,
        seeds=range(config.seed, config.seed + settings.seeds),
    )


def _goes_on(journal: Path, folder: Path) -> bool:
    """Whether there is a run to resume. Raises `UserError` where it is older than the weights."""
    if not journal.exists():
        return False
    if journal.stat().st_mtime < max((file.stat().st_mtime for file in folder.glob("*.safetensors")), default=0):
        raise UserError(f"{journal} is older than the weights in {folder}: give other runs, or remove it")
    return True


def described(settings: CheckSettings) -> str:
    """The accuracy's problems and settings, as the table names them."""
    name = Path(settings.problems or "").stem
    return f"{name}, {settings.candidates} candidates, {settings.turns} turns, {settings.engine}"


if __name__ == "__main__":
    run_recipe(main)
