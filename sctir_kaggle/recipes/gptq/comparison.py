"""The table that says what quantization cost: a row a figure, the original beside the quantized."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from sctir_kaggle.recipes.gptq.card import megabytes, version_of
from sctir_kaggle.recipes.gptq.likeness import Reading
from sctir_kaggle.replay.outcome import mean_sd

HEAD = "| | original | quantized | difference |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Checked:
    """One checkpoint's figures: bytes of weights, the reading of the traces, percent right under each seed."""

    size: int
    reading: Reading
    right: tuple[float, ...]


def table(original: Checked, quantized: Checked, *, traces: int, solved: str) -> str:
    """The comparison as Markdown. `solved` says what the accuracy is of."""
    rows = (
        _sizes(original, quantized),
        *_likeness(original, quantized, traces),
        _accuracy(original, quantized, solved),
    )
    seeds = len(original.right)
    note = (
        f"Accuracy is that of the solver's vote, {f'mean ± sd of {seeds} seeds' if seeds > 1 else 'one seed'}. Perplexity and "
        f"top tokens are on what a model is to write, in the same contexts; problems and tool outputs are only read. torch "
        f"{version_of('torch')}, transformers {version_of('transformers')}."
    )
    return HEAD + "\n".join(rows) + "\n\n" + note


def _sizes(original: Checked, quantized: Checked) -> str:
    change = 100 * (quantized.size / original.size - 1)
    return f"| weights | {megabytes(original.size)} | {megabytes(quantized.size)} | {change:+.0f} % |"


def _likeness(original: Checked, quantized: Checked, traces: int) -> tuple[str, str]:
    before, after = original.reading.perplexity, quantized.reading.perplexity
    places, agreement = len(original.reading.top), 100 * quantized.reading.agreement(original.reading)
    return (
        f"| perplexity, {traces:,} held-out traces | {before:.4f} | {after:.4f} | {100 * (after / before - 1):+.3f} % |",
        f"| same top token at {places:,} places | | {agreement:.2f} % | |",
    )


def _accuracy(original: Checked, quantized: Checked, solved: str) -> str:
    change = statistics.fmean(quantized.right) - statistics.fmean(original.right)
    return f"| right (%): {solved} | {mean_sd(original.right)} | {mean_sd(quantized.right)} | {change:+.1f} |"
