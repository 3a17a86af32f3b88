"""The embedded model's 8-bit GPTQ twin: `python -m sctir_kaggle.recipes.embedded_gptq --output DIR [--check]`.

Some of its training traces as rows, then the recipe `quantize`; with `--check` also `check_quantized` on traces and
problems that it has not seen. For tests that run the format in real vLLM. -> `DIR/model-gptq`, its rows and journals.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from sctir_kaggle.problems import ASSETS, HELD_OUT
from sctir_kaggle.recipes.check_quantized import CheckSettings, check
from sctir_kaggle.recipes.corpus import Draft, Example, draft
from sctir_kaggle.recipes.embedded_model import TRACES, held_out, run_drafts, training_drafts, validation
from sctir_kaggle.recipes.families import FAMILIES
from sctir_kaggle.recipes.gptq.card import publish
from sctir_kaggle.recipes.gptq.settings import QuantizeSettings
from sctir_kaggle.recipes.quantize import quantize
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.settings import run_recipe

SEED = 0
"""The embedded model's."""

ROWS = 300
"""Training traces that are run again for the calibration, a few more than it takes."""


def main() -> None:
    """The command."""
    args = _arguments()
    rows, unseen, made = (args.output / name for name in ("training.jsonl.gz", "held-out.jsonl.gz", "model-gptq"))
    write_rows(rows, rows_of(asyncio.run(run_drafts(training_sample(ROWS)))))
    write_rows(unseen, rows_of(asyncio.run(run_drafts(unseen_drafts()))))
    quantize(QuantizeSettings(model=args.model, output=made, data=(str(rows),), license="apache-2.0"))
    print(made)
    if args.check:
        table = check(_checked(args.model, made, unseen, args.output / "check"))
        publish(made, table)
        print(table)


def training_sample(count: int) -> list[Draft]:
    """So many of the drafts that the embedded model was trained on."""
    closed = [*held_out(SEED), *validation(SEED)]
    return training_drafts(SEED, closed, TRACES)[:count]


def unseen_drafts() -> list[Draft]:
    """A solution of each validation problem, whose parameters are not in training."""
    rng = Random(f"unseen/{SEED}")
    return [draft(FAMILIES[posed.family], posed.params, rng) for posed in validation(SEED)]


def rows_of(examples: Iterable[Example]) -> Iterator[Row]:
    """Traces as training rows."""
    for number, example in enumerate(examples):
        text = "".join(segment.text for segment in example.segments[1:])
        messages = [{"role": "user", "content": example.problem}, {"role": "assistant", "content": text}]
        yield {
            "id": f"{example.family}-{number}",
            "problem": example.problem,
            "answer": example.answer,
            "messages": messages,
        }


def _checked(model: Path, quantized: Path, rows: Path, runs: Path) -> CheckSettings:
    return CheckSettings(
        model=model,
        quantized=quantized,
        data=(str(rows),),
        problems=str(HELD_OUT),
        runs=runs,
        answers="aimo1",
        candidates=16,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder that gets model-gptq/ and the rest")
    parser.add_argument("--model", type=Path, default=ASSETS / "model", help="the checkpoint (default: the embedded)")
    parser.add_argument("--check", action="store_true", help="compare it with the original, in some minutes")
    return parser.parse_args()


if __name__ == "__main__":
    run_recipe(main)
