"""Quantize a checkpoint to 8-bit GPTQ for vLLM: `python -m sctir_kaggle.recipes.quantize --config quantize.yaml --set ...`.

Calibrated on rows of the stage-2 training data, rendered as in training and inference. Writes weights, tokenizer and model
card. Needs `requirements-gptqmodel.txt`; a GPU is used where there is one.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

from sctir_kaggle.recipes.quantize.backends import check_backend, quantize_with
from sctir_kaggle.recipes.quantize.calibration import Calibration, calibration
from sctir_kaggle.recipes.quantize.card import megabytes, write_card
from sctir_kaggle.recipes.quantize.checkpoint import even_out, size_of
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings, check_folders
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer


def main() -> None:
    """Run the command."""
    settings = settings_of_command(QuantizeSettings, __doc__)
    started = time.monotonic()
    made = quantize(settings)
    print(
        f"{settings.output}: {megabytes(size_of(settings.output))}, {settings.label}, group {settings.group_size}, "
        f"{len(made.samples)} samples of {made.tokens:,} tokens, {time.monotonic() - started:.0f} s"
    )
    print(
        "now: python -m sctir_kaggle.recipes.quantize.check --config check_quantized.yaml compares it with the original"
    )


def quantize(settings: QuantizeSettings) -> Calibration:
    """Write the quantized checkpoint and its card to `settings.output`, atomically; return the calibration data.

    Raises `UserError` before anything is computed where it cannot work.
    """
    check_folders(settings)
    check_backend(settings)
    made = calibration(settings, load_transformers_tokenizer(settings.model))
    part = settings.output.with_name(f".{settings.output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        quantize_with(replace(settings, output=part), made)
        even_out(settings.model, part)
        write_card(part, settings, made)
        part.rename(settings.output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


if __name__ == "__main__":
    run_recipe(main)
