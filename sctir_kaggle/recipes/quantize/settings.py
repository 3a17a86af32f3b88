"""Settings of the quantization; defaults are the winning run's, except for the activation order.

What vLLM would not load is refused here. Limits of its GPTQ: https://docs.vllm.ai, and its `gptq_marlin` kernels.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sctir_kaggle.engines.vllm_options import NO_DESC_ACT_FROM, quantization_of
from sctir_kaggle.types import EngineError, UserError, one_line

BITS = (4, 8)
"""Bits that vLLM has kernels for."""

GROUPS = (-1, 32, 64, 128)
"""Group sizes of vLLM's kernels: input columns that share a scale; -1 is one scale for all."""

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Names of a checkpoint's weights."""

LAST_WITH_DESC_ACT = f"{NO_DESC_ACT_FROM[0]}.{NO_DESC_ACT_FROM[1] - 1}"
"""The last vLLM that serves activation order with a group size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeSettings:
    """How to quantize. Raises `UserError` on a value that no current vLLM would load."""

    model: Path
    """The checkpoint's folder, in half precision or better."""

    output: Path
    """A new or empty folder for the quantized one."""

    data: tuple[str, ...]
    """Stage 2's training data, for the calibration: files of rows (`rows.py`), or owner/name on the Hub."""

    backend: Literal["gptqmodel", "llm-compressor", "auto-gptq"] = "gptqmodel"
    """The library: `llm-compressor` writes compressed-tensors, the others GPTQ; `auto-gptq` is archived and needs CUDA."""

    bits: int = 8
    """Bits of a weight."""

    group_size: int = 128
    """Input columns that share a scale; -1: all of them."""

    sym: bool = True
    """Whether weights are quantized around 0."""

    desc_act: bool = False
    """Activation order: columns with large activations first. The winning run: true."""

    allow_desc_act: bool = False
    """Allow activation order with groups, for vLLM 0.29 or older."""

    group_aware: bool = True
    """Its substitute in gptqmodel and llm-compressor: quantize in activation order, store in the original one."""

    damp: float = 0.01
    """The share of the mean diagonal that is added to GPTQ's Hessian."""

    samples: int = 256
    """Traces in the calibration."""

    max_tokens: int = 1024
    """Tokens of a sample; a longer one is cut. Stage 2's block size."""

    batch: int = 1
    """Samples a forward pass. With 1 nothing is padded, so no padding enters the statistics."""

    seed: int = 42
    """Seed of the rows' order, of which the first `samples` are taken."""

    device: str | None = None
    """`cuda` or `cpu`; None is CUDA where there is one."""

    base_model: str = ""
    """The original's name in the card, owner/name on the Hub; empty: its folder's name."""

    license: str = "other"
    """The card's licence, by the Hub's name for it: the original's."""

    def __post_init__(self) -> None:
        _require(self.bits in BITS, "bits", self.bits, "8 or 4, which vLLM has kernels for")
        _require(self.group_size in GROUPS, "group_size", self.group_size, "128, 64, 32, or -1 for a single group")
        _require(self.sym, "sym", self.sym, "true: vLLM's fast kernels take symmetric weights")
        _require(0 < self.damp < 1, "damp", self.damp, "above 0 and below 1; the winning run: 0.01")
        _require(self.samples >= 1, "samples", self.samples, "at least 1; the winning run: 256")
        _require(self.max_tokens >= 16, "max_tokens", self.max_tokens, "at least 16 tokens")
        _require(self.batch >= 1, "batch", self.batch, "at least 1")
        if self.desc_act and self.group_size != -1 and not self.allow_desc_act:
            raise UserError(
                f"desc_act is true with group_size {self.group_size}: vLLM {LAST_WITH_DESC_ACT} is the last that serves "
                "that; set desc_act=false, or allow_desc_act=true if you stay with that vLLM"
            )

        if self.backend == "llm-compressor":
            _require(
                not self.desc_act, "desc_act", "true", "false with llm-compressor: group_aware is its activation order"
            )
            _require(self.batch == 1, "batch", self.batch, "1 with llm-compressor, which gets samples without padding")

    @property
    def label(self) -> str:
        """`8-bit GPTQ`, or `W8A16 compressed-tensors` of llm-compressor."""
        if self.backend == "llm-compressor":
            return f"W{self.bits}A16 compressed-tensors"
        return f"{self.bits}-bit GPTQ"


def check_folders(settings: QuantizeSettings) -> None:
    """Raise `UserError` where `model` is no whole checkpoint, is quantized already or does not fit the groups, or where
    `output` is not empty or its disk too full."""
    model, output = settings.model, settings.output
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        stored = quantization_of(str(model))
    except (OSError, ValueError, EngineError) as error:
        raise UserError(f"{model} holds no readable config.json ({error}): pass a checkpoint's folder") from None
    if stored:
        method = stored.get("quant_method", "some method")
        raise UserError(f"{model} is quantized already ({method}): pass the checkpoint that it was made from")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already and not empty: choose another output")
    widths = {name: config.get(name, 0) for name in ("hidden_size", "intermediate_size")}
    for name, width in widths.items():
        if settings.group_size != -1 and width % settings.group_size:
            fits = max(group for group in GROUPS if group == -1 or not any(one % group for one in widths.values()))
            raise UserError(f"{name} {width} is no multiple of group_size {settings.group_size}: set it to {fits}")
    check_weights(model)
    check_disk(model, output)


def check_weights(model: Path) -> None:
    """Raise `UserError` where there are no weights, or a safetensors file is not whole."""
    from safetensors import SafetensorError, safe_open

    if not _weights(model):
        raise UserError(f"{model} holds no weights ({' or '.join(WEIGHTS)}): pass a whole checkpoint")
    for file in model.glob("*.safetensors"):
        try:
            with safe_open(file, framework="np"):  # reads the header, and compares it with the file's length
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file} is not whole ({one_line(error)}): copy or download it again") from None


def check_disk(model: Path, output: Path) -> None:
    """Raise `UserError` where the output's disk has less room than the model takes, which no quantized one exceeds."""
    size = sum(file.stat().st_size for file in _weights(model))
    disk = next(folder for folder in output.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(disk).free
    if free < size:
        raise UserError(
            f"{disk} has {free / 1e9:.3g} GB free, and {output.name} takes up to the model's {size / 1e9:.3g} GB: make room, "
            "or choose another output"
        )


def _weights(model: Path) -> list[Path]:
    return [file for pattern in WEIGHTS for file in model.glob(pattern)]


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}; it must be {limit}")
