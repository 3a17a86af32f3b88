"""One replica per GPU, or tensor parallel: what either needs of memory and traffic, estimated from a checkpoint's folder.

Decoding is taken to be bound by memory traffic: each step reads a GPU's weights and the KV cache of what runs there, and
tensor parallel adds two all-reduces a layer over the link between the GPUs. Where the cache holds only some candidates,
the others wait for them. Assumed, until a GPU says otherwise: a T4's 320 GB/s, PCIe 3 through the host's memory at 6 GB/s
(reports say 6-10) and 50 us a call. Nobody has measured either layout on T4s yet: trust the order, not the milliseconds.

Not covered: prefill, compute, kernel launches (alike in both layouts), a cache in 8 bits, sliding windows and latent
attention (their cache is smaller than estimated), pipeline parallel, GPUs of different kinds (the smallest counts).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.engines.gpus import GPU
from sctir_kaggle.engines.vllm_options import quantization_of
from sctir_kaggle.types import EngineError, UserError

Layout = Literal["auto", "replicas", "tensor"]

LAYOUTS: tuple[Layout, ...] = ("auto", "replicas", "tensor")

TOKENS = 1024
"""What a candidate holds in the cache on average while it runs, prompt and all turns so far, where nobody says better."""

OVERHEAD = 1_500_000_000
"""Bytes of a GPU that are neither weights nor cache: driver and context, activations, graphs, communication buffers."""

MARGIN = 1.1
"""How much faster tensor parallel must look: the estimate of its traffic is the least certain, and one GPU's failure
ends all of it."""

_CALL_SECONDS = 50e-6
_HALF = 2  # bytes of float16 and bfloat16, in which activations are exchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a model's config.json and the sizes of its weight files say. `group_size` is 0 where it is not quantized so."""

    weight_bytes: int
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    group_size: int = 0

    def kv_bytes(self, tensor_parallel: int = 1, *, number_bytes: int = _HALF) -> int:
        """Bytes of cache a token on one GPU: 2 x layers x kv_heads x head_dim x bytes of a number, a share of the heads."""
        heads = max(1, self.kv_heads // tensor_parallel)  # fewer heads than GPUs: each GPU keeps one, some twice
        return 2 * self.layers * heads * self.head_dim * number_bytes

    def splits_into(self, tensor_parallel: int) -> bool:
        """Whether vLLM can cut the model into that many parts: whole heads, and whole groups of a quantized matrix."""
        cut, rest = self.heads % tensor_parallel, max(self.kv_heads, tensor_parallel)
        rows = (self.intermediate_size, self.heads * self.head_dim)
        whole = self.group_size < 1 or not any(row % (tensor_parallel * self.group_size) for row in rows)
        return tensor_parallel == 1 or (not cut and not rest % min(self.kv_heads, tensor_parallel) and whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A layout and its estimate. `others` are the layouts that were not chosen, `reason` says why in words."""

    replicas: int
    tensor_parallel: int
    weight_bytes: int
    """On one GPU."""
    kv_bytes: int
    """Of one token, on all GPUs of a replica together."""
    kv_tokens: int
    """That the cache of one replica holds."""
    tokens_wanted: int
    """By the candidates of one replica."""
    seconds: float
    """For one more token of every candidate."""
    context_length: int
    """The longest request. vLLM does not start where the cache cannot hold one."""
    reason: str = ""
    others: tuple[Plan, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the weights and one whole context have room."""
        return self.kv_tokens >= self.context_length

    @property
    def preempted(self) -> bool:
        """Whether candidates will be put back for want of cache, and computed again later."""
        return self.kv_tokens < self.tokens_wanted

    @property
    def name(self) -> str:
        """The layout in words."""
        parts = f"{self.tensor_parallel} GPUs in tensor parallel" if self.tensor_parallel > 1 else "1 GPU"
        return f"{self.replicas} replica{'s' * (self.replicas > 1)} of {parts}"

    def __str__(self) -> str:
        """A line a layout, the chosen one first, then the reason."""
        return "\n".join([*map(Plan.line, (self, *self.others)), f"chosen: {self.name}, {self.reason}"])

    def line(self) -> str:
        """This layout's estimate."""
        room = "preemption expected" if self.preempted else "no preemption"
        return (
            f"{self.name}: {self.weight_bytes / 1e9:.1f} GB of weights a GPU, {self.kv_bytes:,} bytes of KV cache a token, "
            f"{self.kv_tokens:,} tokens a replica, {self.tokens_wanted:,} wanted ({room if self.fits else 'too little'}), "
            f"about {1000 * self.seconds:.0f} ms for a token of every candidate"
        )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Raises `EngineError` where config.json lacks a number that the estimate needs."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Checkpoint(
            weight_bytes=_weight_bytes(folder),
            layers=int(config["num_hidden_layers"]),
            hidden_size=hidden,
            intermediate_size=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            context_length=int(config["max_position_embeddings"]),
            group_size=int(quantization_of(str(folder)).get("group_size") or 0),
        )
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(
            f"{folder}: config.json does not say enough to plan with ({error!r}): choose layout='replicas' or 'tensor'"
        ) from error


def choose(
    checkpoint: Checkpoint,
    gpus: Sequence[GPU],
    *,
    candidates: int,
    tokens: int = TOKENS,
    context_length: int | None = None,
    memory: float = 0.9,
    number_bytes: int = _HALF,
    layout: Layout = "auto",
) -> Plan:
    """The plan for `candidates` that hold `tokens` each on average. `memory` is the share of a GPU that vLLM may take.

    A layout without room for the weights and one context is out. Of the others, the one that is estimated to decode
    fastest, waiting for cache included; tensor parallel only where it is faster by `MARGIN`. `layout` overrides that.
    """
    _check(gpus, candidates, tokens, layout)
    length = min(context_length or checkpoint.context_length, checkpoint.context_length)
    plans = [
        _estimate(
            checkpoint, min(gpus, key=lambda gpu: gpu.memory), shape, candidates, tokens, length, memory, number_bytes
        )
        for shape in shapes(checkpoint, len(gpus))
    ]
    chosen, reason = _pick(plans, layout)
    return replace(chosen, reason=reason, others=tuple(plan for plan in plans if plan is not chosen))


def shapes(checkpoint: Checkpoint, gpus: int) -> list[tuple[int, int]]:
    """(replicas, GPUs of each) that are possible, the most replicas first; with 3 GPUs one may stay idle."""
    return [(gpus // parts, parts) for parts in range(1, gpus + 1) if checkpoint.splits_into(parts)]


def _pick(plans: Sequence[Plan], layout: Layout) -> tuple[Plan, str]:
    if len(plans) == 1:
        return plans[0], "the only layout that is possible"
    if layout != "auto":
        return plans[0 if layout == "replicas" else -1], "as asked for"
    fitting = [plan for plan in plans if plan.fits]
    if not fitting:
        return plans[-1], "although even there the weights and one context hardly fit: expect vLLM to refuse"
    best = min(fitting, key=lambda plan: plan.seconds * (MARGIN if plan.tensor_parallel > 1 else 1))
    if len(fitting) == 1:
        return best, "the only one with room for the weights and one whole context"
    rival = min((plan for plan in fitting if plan is not best), key=lambda plan: plan.seconds)
    if rival.seconds < best.seconds:
        return best, f"because {rival.name} would not be {MARGIN} times as fast (estimated, not measured)"
    return best, f"{rival.seconds / best.seconds:.1f} times as fast as {rival.name} (estimated, not measured)"


def _estimate(
    checkpoint: Checkpoint,
    gpu: GPU,
    shape: tuple[int, int],
    candidates: int,
    tokens: int,
    context_length: int,
    memory: float,
    number_bytes: int,
) -> Plan:
    replicas, parts = shape
    weights = checkpoint.weight_bytes // parts
    kv = checkpoint.kv_bytes(parts, number_bytes=number_bytes)
    room = max(0, int((memory * gpu.memory - OVERHEAD - weights) // kv))
    share = -(-candidates // replicas)
    running = max(1, min(share, room // tokens))
    step = (weights + running * tokens * kv) / gpu.bandwidth + _all_reduces(checkpoint, gpu, parts, running)
    return Plan(
        replicas=replicas,
        tensor_parallel=parts,
        weight_bytes=weights,
        kv_bytes=kv * parts,
        kv_tokens=room,
        tokens_wanted=share * tokens,
        seconds=step * share / running,
        context_length=context_length,
    )


def _all_reduces(checkpoint: Checkpoint, gpu: GPU, parts: int, running: int) -> float:
    """Seconds of a step: after attention and after the MLP of every layer, a ring over `parts` GPUs."""
    if parts == 1:
        return 0.0
    moved = 2 * (parts - 1) / parts * running * checkpoint.hidden_size * _HALF
    return 2 * checkpoint.layers * (_CALL_SECONDS + moved / gpu.link)


def _weight_bytes(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise ValueError("no *.safetensors")
    return sum(file.stat().st_size for file in files)


def _check(gpus: Sequence[GPU], candidates: int, tokens: int, layout: str) -> None:
    if not gpus or candidates < 1 or tokens < 1:
        raise UserError(f"{len(gpus)} GPUs, {candidates} candidates, {tokens} tokens: each must be at least 1")
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}: choose one of {', '.join(LAYOUTS)}")
