"""How many slots of the transformers engine fit into the memory that is free while a model is being trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sctir_kaggle.recipes.tokenizer import checkpoint_errors
from sctir_kaggle.sandbox.memory import machine_mb
from sctir_kaggle.types import UserError

MOST = 96
"""Slots beyond which a batch does not get faster."""

SHARE = 0.9
"""Of what is free beside the weights, the part that slots may take: a step has activations, and a cache that grows is there
twice in one layer."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Slots:
    """`number` slots of `each` bytes beside `weights` bytes of a model, where `free` bytes are; `place` is their device."""

    number: int
    each: int
    weights: int
    free: int
    positions: int
    place: str

    def __str__(self) -> str:
        return (
            f"{self.number} slots of {self.each / GIB:.3g} GiB ({self.positions} positions) beside {self.weights / GIB:.3g} "
            f"GiB of weights: {self.free / GIB:.3g} GiB are free on {self.place}"
        )


def slots_that_fit(checkpoint: str | Path, *, wanted: int, free: int | None = None) -> Slots:
    """As many slots as fit into `free` bytes (None: what is free now) beside the weights, at most `wanted` and `MOST`.

    Raises `UserError` where not one fits, or the checkpoint has no config.
    """
    import torch
    from transformers import AutoConfig

    with checkpoint_errors(str(checkpoint)):
        config: Any = AutoConfig.from_pretrained(checkpoint).get_text_config()
    cuda = torch.cuda.is_available()
    width = 2 if cuda else 4  # the engine's: float16 or bfloat16 on a GPU, float32 on a CPU
    each, positions = slot_bytes(config, width)
    weights = width * _numbers(checkpoint, config)
    place = f"cuda:{torch.cuda.current_device()}" if cuda else "the CPU"
    free = (_free_cuda() if cuda else _free_cpu()) if free is None else free
    fit = max(0, int(SHARE * (free - weights))) // each
    found = Slots(min(fit, wanted, MOST), each, weights, free, positions, place)
    if not found.number:
        raise UserError(
            f"validation has room for {found}; set validate to null, validate_url to a server elsewhere, or batch lower"
        )
    return found


def slot_bytes(config: Any, width: int) -> tuple[int, int]:
    """The bytes of one slot of keys and values at its longest, each number of `width` bytes, and its positions.

    A slot holds 2 x layers x KV heads x head dimension numbers a position; the engine's context is the model's positions, or
    its sliding window where that is less.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")]
    positions = min([value for value in limits if value] or [4096])
    return 2 * config.num_hidden_layers * heads * size * positions * width, positions


def _numbers(checkpoint: str | Path, config: Any) -> int:
    """The numbers of a checkpoint's weights: from its files, or, of one on the Hub, by building it without memory."""
    files = sorted(Path(checkpoint).glob("*.safetensors"))
    if files:
        from safetensors import safe_open

        total = 0
        for file in files:
            with safe_open(file, framework="pt") as weights:
                total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        return total
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        return int(auto.from_config(config).num_parameters())


def _free_cuda() -> int:
    """Bytes that are free on the current GPU, after the allocator has given back what it only keeps."""
    import torch

    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def _free_cpu() -> int:
    """Bytes of available memory, and no more than the cgroup's limit leaves beside this process."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    [available] = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
    return min(available, machine_mb() * 2**20 - resident)
