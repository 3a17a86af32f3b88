"""vLLM on all the GPUs of a machine: one replica per GPU or tensor parallel, chosen by what fits, then started.

The choice of `layout="auto"` is a rule about memory, not a prediction of speed. Every GPU gets a replica of its own where
it holds the weights and the KV cache of its share of the candidates; else the model is split over the fewest GPUs that
hold them; else over all. Replicas come first because they exchange nothing between GPUs (a T4's link is PCIe 3, and tensor
parallel needs two all-reduces per layer and token) and because the others go on when one fails.

With p GPUs per replica, a replica's cache holds

    kv_tokens   = (memory * GPU memory - OVERHEAD - weights / p) / kv_bytes(p)
    kv_bytes(p) = 2 (keys, values) * layers * max(1, kv_heads / p) * head_dim * bytes of a number

tokens, and it should hold max(context_length, candidates of the replica * TOKENS).

One replica on one GPU runs in this process; else each engine has a process of its own, which needs an importable
`__main__`, as any spawn does: in a script, call `load_vllm` below `if __name__ == "__main__":`. A notebook and `sctir` are
fine as they are.

Covered: NVIDIA's GPUs of one machine, alike (else the smallest counts). On a CPU the layouts work so that they can be
tested there, with the cores shared out: nothing gets faster by it, and without `gpus` there is one engine. A CPU build of
vLLM beside GPUs: pass `gpus=1`. Not covered by the formula: sliding windows and latent attention, whose cache is smaller,
and pipeline parallel.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.engines.gpus import GPU, VISIBLE, visible_gpus
from sctir_kaggle.engines.replicas import ReplicatedEngine, start_all
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_options import argument_name, checkpoint_name, quantization_of
from sctir_kaggle.types import EngineError, UserError

Layout = Literal["auto", "replicas", "tensor"]

LAYOUTS: tuple[Layout, ...] = ("auto", "replicas", "tensor")

TOKENS = 1024
"""Tokens that a running candidate holds in the cache on average, prompt and all turns so far. Most end far below the
context length, so counting a whole context for each would rule out layouts that work."""

OVERHEAD = 1_500_000_000
"""Bytes of a GPU that are neither weights nor cache: driver and context, activations, graphs, communication buffers."""

log = logging.getLogger("sctir_kaggle")


def load_vllm(
    model: str | Path,
    *,
    slots: int = 48,
    layout: Layout = "auto",
    gpus: int | None = None,
    dtype: str | None = None,
    context_length: int | None = None,
    memory: float = 0.9,
    options: Mapping[str, Any] | None = None,
) -> VLLMEngine | ReplicatedEngine:
    """Load `model` on the first `gpus` GPUs (default: all) for `slots` concurrent requests.

    `layout` is "replicas" (one engine per GPU), "tensor" (one engine on as many GPUs as the model can be split over) or
    "auto" (see the module). Each replica takes `slots` requests, so that it can do another's work. `dtype`,
    `context_length` (tokens), `memory` (the share of a GPU) and `options` (vLLM's own engine arguments) are those of
    `VLLMEngine.load`, for every engine; `tensor_parallel_size` among the options fixes the layout. Raises `EngineError`
    where vLLM or the checkpoint is at fault, `UserError` for a layout or a number of GPUs that this machine cannot have.
    """
    devices = _devices(visible_gpus(), layout, gpus)
    chosen = {argument_name(name): value for name, value in (options or {}).items()}
    if "tensor_parallel_size" in chosen:
        replicas, parts = _fixed(devices, layout, chosen["tensor_parallel_size"])
    else:
        # vLLM's own names for a setting win over this package's, here as in `engine_arguments`. A value that is no number
        # is left to vLLM, which refuses it with its own words.
        length, share = chosen.get("max_model_len", context_length), chosen.get("gpu_memory_utilization", memory)
        replicas, parts = _planned(
            checkpoint_name(model),
            devices,
            layout,
            candidates=slots,
            context_length=length if isinstance(length, int) and length > 0 else None,
            memory=share if isinstance(share, (int, float)) else memory,
            number_bytes=_cache_number_bytes(chosen, dtype),
        )
    load = partial(VLLMEngine.load, model, slots=slots, dtype=dtype, context_length=context_length, memory=memory)
    if replicas == parts == 1:
        return load(options=options)
    starts: list[Callable[[], VLLMEngine]] = [
        partial(load, child=environment, options={"tensor_parallel_size": parts, **chosen} if parts > 1 else chosen)
        for environment in environments(devices, replicas, parts)
    ]
    return start_all(starts) if replicas > 1 else starts[0]()


def environments(devices: Sequence[GPU | None], replicas: int, parts: int) -> list[dict[str, str]]:
    """Environment variables for each replica's process: `parts` GPUs of its own or, on a CPU (None), its share of cores."""
    shares = [devices[first : first + parts] for first in range(0, replicas * parts, parts)]
    return [_environment([gpu for gpu in share if gpu is not None], replicas * parts) for share in shares]


def _environment(gpus: Sequence[GPU], workers: int) -> dict[str, str]:
    if gpus:
        return {VISIBLE: ",".join(gpu.name for gpu in gpus)}
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    # By default vLLM binds each worker of tensor parallel to a NUMA node of its own, and refuses where there is only one.
    return {"OMP_NUM_THREADS": str(max(1, cores // workers)), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model's shape, from its config.json, and the size of its weight files. `group_size` is 0 unless quantized in groups."""

    weight_bytes: int
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    group_size: int = 0

    def kv_bytes(self, tensor_parallel: int = 1, *, number_bytes: int = 2) -> int:
        """Bytes of KV cache per token on one GPU: 2 x layers x its share of the kv_heads x head_dim x bytes of a number."""
        heads = max(1, self.kv_heads // tensor_parallel)  # with fewer heads than GPUs, vLLM stores some of them twice
        return 2 * self.layers * heads * self.head_dim * number_bytes

    def splits_into(self, tensor_parallel: int) -> bool:
        """Whether vLLM can split the model over so many GPUs: whole heads, and whole groups of a quantized matrix."""
        if tensor_parallel == 1:
            return True
        whole_heads = self.heads % tensor_parallel == 0
        fewer, more = sorted((self.kv_heads, tensor_parallel))  # split evenly, or replicated evenly
        # Row-parallel matrices (output and down projection) are cut along the dimension that is quantized in groups.
        rows = (self.intermediate_size, self.heads * self.head_dim)
        whole_groups = self.group_size < 1 or all(row % (tensor_parallel * self.group_size) == 0 for row in rows)
        return whole_heads and more % fewer == 0 and whole_groups


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the shape of the checkpoint in `folder`. Raises `EngineError` where config.json lacks a number of it."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        if not files:
            raise ValueError("no *.safetensors")
        return Checkpoint(
            weight_bytes=sum(file.stat().st_size for file in files),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A layout and the room that it leaves: `replicas` engines on `tensor_parallel` GPUs each."""

    replicas: int
    tensor_parallel: int
    weight_bytes: int
    """Per GPU."""
    kv_bytes: int
    """Per token, over all GPUs of a replica."""
    kv_tokens: int
    """Tokens that the cache of one replica holds."""
    tokens_wanted: int
    """Tokens of the candidates of one replica, at `TOKENS` each."""
    context_length: int
    """Tokens of the longest request: vLLM does not start where its cache is smaller."""
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is room for the weights and one whole context."""
        return self.kv_tokens >= self.context_length

    @property
    def preempts(self) -> bool:
        """Whether the cache is too small for all candidates at once: some are evicted and computed again later."""
        return self.kv_tokens < self.tokens_wanted

    @property
    def name(self) -> str:
        """The layout in words."""
        parts = f"{self.tensor_parallel} GPUs in tensor parallel" if self.tensor_parallel > 1 else "1 GPU"
        return f"{self.replicas} replica{'s' * (self.replicas > 1)} of {parts}"

    def __str__(self) -> str:
        room = "preemption expected" if self.preempts else "no preemption"
        return (
            f"{self.name}: {self.weight_bytes / 1e9:.1f} GB of weights a GPU, {self.kv_bytes:,} bytes of KV cache a token, "
            f"{self.kv_tokens:,} tokens a replica, {self.tokens_wanted:,} wanted ({room if self.fits else 'too little'}); "
            f"chosen: {self.reason}"
        )


def choose_layout(
    checkpoint: Checkpoint,
    gpus: Sequence[GPU],
    *,
    candidates: int,
    context_length: int | None = None,
    memory: float = 0.9,
    number_bytes: int = 2,
    layout: Layout = "auto",
) -> Plan:
    """Choose the layout for `candidates` concurrent candidates by the module's rule, or take the one named by `layout`.

    `memory` is the share of a GPU that vLLM may take, `number_bytes` the size of a number in the cache. GPUs that no
    split uses stay idle: 3 GPUs and 32 heads make 3 replicas, or one on 2 GPUs.
    """
    smallest = min(gpu.memory for gpu in gpus)
    plans: list[Plan] = []
    for parts in filter(checkpoint.splits_into, range(1, len(gpus) + 1)):
        replicas, kv_bytes = len(gpus) // parts, checkpoint.kv_bytes(parts, number_bytes=number_bytes)
        weights = checkpoint.weight_bytes // parts
        plan = Plan(
            replicas=replicas,
            tensor_parallel=parts,
            weight_bytes=weights,
            kv_bytes=kv_bytes * parts,
            kv_tokens=max(0, int((memory * smallest - OVERHEAD - weights) // kv_bytes)),
            tokens_wanted=-(-candidates // replicas) * TOKENS,
            context_length=min(context_length or checkpoint.context_length, checkpoint.context_length),
        )
        plans.append(plan)
    roomy = [plan for plan in plans if plan.fits and not plan.preempts]
    if len(plans) == 1:
        chosen, reason = plans[0], "the only layout that is possible"
    elif layout != "auto":
        chosen, reason = plans[0 if layout == "replicas" else -1], "as asked for"
    elif roomy:
        chosen, reason = roomy[0], "the fewest GPUs that hold the weights and the KV cache of all candidates"
    elif plans[-1].fits:
        chosen, reason = plans[-1], "no layout holds the KV cache of all candidates, this one holds most of it"
    else:
        chosen = plans[-1]
        reason = "although even there the weights and one context hardly fit: expect vLLM to refuse"
    return replace(chosen, reason=reason)


def _devices(visible: Sequence[GPU], layout: str, gpus: int | None) -> list[GPU | None]:
    """The GPUs to use; on a CPU, None for each share of it."""
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}: choose one of {', '.join(LAYOUTS)}")
    if gpus is not None and not 1 <= gpus <= (len(visible) or gpus):
        raise UserError(
            f"gpus is {gpus}: this machine has {len(visible) or 'none, and takes 1 or more as shares of it'}"
        )
    return list(visible[:gpus]) or [None] * (gpus or 1)


def _fixed(devices: Sequence[GPU | None], layout: Layout, parts: Any) -> tuple[int, int]:
    """(replicas, GPUs of each) where the user gives `tensor_parallel_size`; `replicas` makes as many as there are GPUs for."""
    if not isinstance(parts, int):
        raise UserError(f"tensor_parallel_size is {parts!r}: pass a number of GPUs")
    there = len(devices) if devices[0] is not None else max(len(devices), parts)  # a CPU is divided as needed
    if layout == "tensor" and parts != there:
        raise UserError(f"layout 'tensor' takes {there} GPUs, tensor_parallel_size is {parts}: give one of the two")
    if not 1 <= parts <= there:
        raise UserError(f"tensor_parallel_size is {parts}: this machine has {there} GPUs to use")
    return (there // parts if layout == "replicas" else 1), parts


def _planned(model: str, devices: Sequence[GPU | None], layout: Layout, **sizes: Any) -> tuple[int, int]:
    """(replicas, GPUs of each), by `choose_layout` where there are GPUs and a folder to read; else as asked, or replicas."""
    gpus = [gpu for gpu in devices if gpu is not None]
    if gpus and Path(model).is_dir():
        plan = choose_layout(read_checkpoint(Path(model)), gpus, layout=layout, **sizes)
        log.info("%s", plan)
        return plan.replicas, plan.tensor_parallel
    if layout == "auto" and len(gpus) > 1:
        raise UserError(f"{model} is no folder to read sizes from: download it first, or choose a layout")
    return (1, len(devices)) if layout == "tensor" else (len(devices), 1)


def _cache_number_bytes(chosen: Mapping[str, Any], dtype: str | None) -> int:
    cache = str(chosen.get("kv_cache_dtype") or "auto")
    stored = cache if cache != "auto" else str(chosen.get("dtype") or dtype)
    return 4 if stored in ("float32", "float") else 1 if stored.startswith(("fp8", "int8")) else 2
