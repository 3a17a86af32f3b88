"""The model card of a quantized checkpoint, README.md beside its weights: how it was made, the comparison, the terms.

It names no folder of this machine. The comparison stands between two markers, and `quantize.check` puts it there.
"""

from __future__ import annotations

import math
import platform
import statistics
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sctir_kaggle._version import __version__
from sctir_kaggle.lab.statistics import format_mean_sd
from sctir_kaggle.recipes.quantize.calibration import Calibration
from sctir_kaggle.recipes.quantize.checkpoint import size_of
from sctir_kaggle.recipes.quantize.likeness import Estimate, Likeness
from sctir_kaggle.recipes.quantize.settings import LAST_WITH_DESC_ACT, QuantizeSettings
from sctir_kaggle.types import UserError

CARD = "README.md"

START, END = "<!-- check_quantized -->\n", "\n<!-- end -->"

UNCHECKED = "Not compared yet: `python -m sctir_kaggle.recipes.quantize.check`."

TEMPLATE = """\
---
license: {license}
{base}pipeline_tag: text-generation
library_name: transformers
tags:
- {tag}
- {bits}-bit
- tool-integrated-reasoning
---

# {name}

{original} in {label}: {size} of weights, for vLLM and transformers.

## Against the original

{start}{unchecked}{end}

## How it was made

| | |
|---|---|
| method | GPTQ (<https://arxiv.org/abs/2210.17323>) by {library} |
| bits, group size | {bits}, {group_size} |
| symmetric | yes |
| activation order (`desc_act`) | {desc_act} |
| damping | {damp} |
| calibration | {samples} of {rows} training rows, shuffled with seed {seed}; {tokens} tokens |
| a sample | a problem and its whole solution as in training, at most {max_tokens} tokens; {cut} were cut |
| the samples' fingerprint | {fingerprint} |
| file format | `quantization_config` in config.json, safetensors; tokenizer and chat template are the original's |

Made with sctir_kaggle {version}, {libraries}, Python {python}:
`python -m sctir_kaggle.recipes.quantize`.

## How to load it

vLLM reads the format by itself (`dtype="half"` on a T4). transformers needs {beside} beside it.
{order_note}
## Terms

Quantizing changes no terms: those of {original} and of the data that it was trained on hold for this checkpoint too.
"""

NO_ORDER = f"""\
`desc_act` is off because current vLLM refuses activation order with a group size; {LAST_WITH_DESC_ACT} is the last that
takes it.
"""

WITH_ORDER = f"""\
`desc_act` is on: vLLM {LAST_WITH_DESC_ACT} is the last that takes it with a group size.
"""


def write_card(folder: Path, settings: QuantizeSettings, calibration: Calibration) -> None:
    """Write README.md to `folder`, the output or what is renamed to it later, still without the comparison."""
    original = settings.base_model or settings.model.resolve().name
    compressed = settings.backend == "llm-compressor"
    text = TEMPLATE.format(
        license=settings.license,
        base=f"base_model: {original}\nbase_model_relation: quantized\n" if settings.base_model else "",
        name=settings.output.resolve().name,
        original=original,
        bits=settings.bits,
        label=settings.label,
        tag="compressed-tensors" if compressed else "gptq",
        beside="compressed-tensors" if compressed else "gptqmodel and optimum",
        size=megabytes(size_of(folder)),
        start=START,
        unchecked=UNCHECKED,
        end=END,
        library=f"{settings.backend} {version_of('llmcompressor' if compressed else settings.backend)}",
        group_size=settings.group_size if settings.group_size != -1 else "one group (-1)",
        desc_act="on" if settings.desc_act else "off",
        damp=settings.damp,
        samples=len(calibration.samples),
        rows=f"{calibration.rows:,}",
        seed=settings.seed,
        tokens=f"{calibration.tokens:,}",
        max_tokens=f"{settings.max_tokens:,}",
        cut=calibration.cut,
        fingerprint=calibration.fingerprint,
        version=__version__,
        libraries=f"torch {version_of('torch')}, transformers {version_of('transformers')}",
        python=platform.python_version(),
        order_note=(WITH_ORDER if settings.desc_act else NO_ORDER)
        if not compressed and settings.group_size != -1
        else "",
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def publish(folder: Path, table: str) -> None:
    """Replace the text between the card's markers by the comparison. Raises `UserError` where it has no markers."""
    before, after = parts_of(folder)
    (folder / CARD).write_text(f"{before}{START}{table}{END}{after}", encoding="utf-8")


def parts_of(folder: Path) -> tuple[str, str]:
    """The card's text before and after the comparison. Raises `UserError` where it has no place for one."""
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    before, found, rest = text.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        marks = f"{START.strip()} and {END.strip()}"
        raise UserError(f"{card} has no place for the comparison: write {marks}, each on a line, where it belongs")
    return before, after


def megabytes(size: int) -> str:
    """Format bytes in MB (10^6)."""
    return f"{size / 1e6:,.1f} MB"


def version_of(library: str) -> str:
    """The installed version of a library for the card."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "(version unknown)"


HEAD = "| | original | quantized | difference |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Checked:
    """A checkpoint's figures: bytes of weights, and percent right under each seed (none: no problems were solved)."""

    size: int
    right: tuple[float, ...] = ()


def table(original: Checked, quantized: Checked, likeness: Likeness, *, solved: str = "") -> str:
    """The comparison as Markdown. `solved` names what the accuracy refers to."""
    rows = [_sizes(original, quantized), *_likeness(likeness)]
    note = (
        f"On {len(likeness.traces):,} held-out traces, at the {likeness.tokens:,} tokens that a model is to write, in the same "
        "contexts; ± is one standard error, over the traces. KL divergence is that of the quantized model's distribution of "
        "the next token from the original's: 0 where they are the same."
    )
    if original.right and quantized.right:
        rows.append(_accuracy(original, quantized, solved))
        seeds = len(original.right)
        note += f" Accuracy is that of the solver's vote, {f'mean ± sd of {seeds} seeds' if seeds > 1 else 'one seed'}."
    libraries = f"torch {version_of('torch')}, transformers {version_of('transformers')}."
    return HEAD + "\n".join(rows) + f"\n\n{note} {libraries}"


def _sizes(original: Checked, quantized: Checked) -> str:
    change = 100 * (quantized.size / original.size - 1)
    return f"| weights | {megabytes(original.size)} | {megabytes(quantized.size)} | {change:+.0f} % |"


def _likeness(likeness: Likeness) -> tuple[str, str, str]:
    before, after = likeness.perplexities
    agreement = likeness.agreement
    percent = Estimate(100 * agreement.value, None if agreement.error is None else 100 * agreement.error)
    return (
        f"| KL divergence, nats a token | | | {with_error(likeness.divergence)} |",
        f"| same top token, % | | | {with_error(percent)} |",
        f"| perplexity, and its ratio | {before:.4f} | {after:.4f} | {with_error(likeness.ratio)} |",
    )


def with_error(estimate: Estimate) -> str:
    """`1.234 ± 0.056`: the error with two digits and the value to the same place, in powers of ten below 0.001.

    >>> with_error(Estimate(0.0123456, 0.000789)), with_error(Estimate(1.2e-6, 3.4e-8)), with_error(Estimate(100.0, 0.0))
    ('0.01235 ± 0.00079', '(1.200 ± 0.034)e-06', '100 ± 0')
    """
    value, error = estimate.value, estimate.error
    if error is None:
        return f"{value:.4g} (one trace: no error)"
    if not error or not math.isfinite(value + error):
        return f"{value:g} ± {error:g}"
    largest = math.floor(math.log10(max(abs(value), error)))
    places = 1 - math.floor(math.log10(error))
    if largest < -3:
        shown = max(0, places + largest)
        return f"({value / 10**largest:.{shown}f} ± {error / 10**largest:.{shown}f})e{largest:03d}"
    shown = max(0, places)
    return f"{value:.{shown}f} ± {error:.{shown}f}"


def _accuracy(original: Checked, quantized: Checked, solved: str) -> str:
    change = statistics.fmean(quantized.right) - statistics.fmean(original.right)
    return f"| right (%): {solved} | {format_mean_sd(original.right)} | {format_mean_sd(quantized.right)} | {change:+.1f} |"
