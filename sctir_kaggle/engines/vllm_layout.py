"""vLLM on all the GPUs of a machine: the plan, logged, and one engine or several behind one.

One GPU is served from this process; else each engine has a process of its own, which needs an importable `__main__`, as
any spawn does: in a script, call this below `if __name__ == "__main__":`. A notebook and `sctir` are fine as they are.

Covered: NVIDIA's GPUs of one machine, alike. On a CPU the layouts work, to be tested there, with the cores shared out:
nothing gets faster by it, and without `gpus` there is one engine. A CPU build beside GPUs: pass `gpus=1`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sctir_kaggle.engines.gpus import GPU, VISIBLE, visible_gpus
from sctir_kaggle.engines.plan import LAYOUTS, TOKENS, Layout, choose, read_checkpoint
from sctir_kaggle.engines.replicas import ReplicatedEngine, start_all
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_options import argument_name, checkpoint_name
from sctir_kaggle.types import UserError

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
    tokens: int = TOKENS,
) -> VLLMEngine | ReplicatedEngine:
    """Load `model` on the first `gpus` GPUs, all unless said, for `slots` concurrent requests.

    `layout` is "replicas" (one engine a GPU), "tensor" (one engine on as many GPUs as the model can be cut for) or "auto":
    what is estimated to be faster for `slots` candidates that hold `tokens` tokens each. Each replica takes `slots`
    requests, so that one can do another's work. `dtype`, `context_length`, `memory` and `options`, vLLM's own engine
    arguments, are those of `VLLMEngine.load`, for every engine. Raises `EngineError` where anything is amiss, `UserError`
    for a layout or a number of GPUs that there is not.
    """
    found = _asked_for(visible_gpus(), layout, gpus)
    chosen = {argument_name(name): value for name, value in (options or {}).items()}
    sizes = Sizes.of(chosen, dtype=dtype, context_length=context_length, memory=memory)
    replicas, parts = _fixed(found, layout, chosen) or _shape(
        checkpoint_name(model), found, layout, slots=slots, tokens=tokens, sizes=sizes
    )
    load = partial(VLLMEngine.load, model, slots=slots, dtype=dtype, context_length=context_length, memory=memory)
    if replicas == parts == 1:
        return load(options=options)
    starts: list[Callable[[], VLLMEngine]] = [
        partial(load, child=environment, options={"tensor_parallel_size": parts, **chosen} if parts > 1 else chosen)
        for environment in environments(found, replicas, parts)
    ]
    return start_all(starts) if replicas > 1 else starts[0]()


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the estimate of a layout needs besides the checkpoint; vLLM's own arguments go before this package's."""

    context_length: int | None
    memory: float
    number_bytes: int
    """Of a number in the KV cache."""

    @classmethod
    def of(cls, chosen: Mapping[str, Any], *, dtype: str | None, context_length: int | None, memory: float) -> Sizes:
        cache = str(chosen.get("kv_cache_dtype") or "auto")
        stored = cache if cache != "auto" else str(chosen.get("dtype") or dtype)
        number_bytes = 4 if stored in ("float32", "float") else 1 if stored.startswith(("fp8", "int8")) else 2
        length = chosen.get("max_model_len", context_length)
        share = chosen.get("gpu_memory_utilization", memory)
        return cls(
            length if isinstance(length, int) and length > 0 else None,
            float(share) if isinstance(share, (int, float)) else memory,
            number_bytes,
        )


def _fixed(found: Sequence[GPU | None], layout: Layout, chosen: Mapping[str, Any]) -> tuple[int, int] | None:
    """(replicas, GPUs of each) where `tensor_parallel_size` is among the options: as many replicas as that leaves GPUs for."""
    if "tensor_parallel_size" not in chosen:
        return None
    parts, there = chosen["tensor_parallel_size"], len(found)
    if not isinstance(parts, int):
        raise UserError(f"tensor_parallel_size is {parts!r}: pass a number of GPUs")
    if found[0] is None:  # a CPU's shares are made as they are needed
        there = max(there, parts)
    if layout == "tensor" and parts != there:
        raise UserError(f"layout 'tensor' takes {there} GPUs, tensor_parallel_size is {parts}: give one of the two")
    if not 1 <= parts <= there:
        raise UserError(f"tensor_parallel_size is {parts}: this machine has {there} GPUs to use")
    return (there // parts if layout == "replicas" else 1), parts


def environments(found: Sequence[GPU | None], replicas: int, parts: int) -> list[dict[str, str]]:
    """What each replica's process sees: `parts` GPUs of its own or, on a CPU (None), its share of the cores."""
    shares = [found[first : first + parts] for first in range(0, replicas * parts, parts)]
    return [_environment([gpu for gpu in share if gpu is not None], replicas * parts) for share in shares]


def _environment(gpus: Sequence[GPU], workers: int) -> dict[str, str]:
    if gpus:
        return {VISIBLE: ",".join(gpu.name for gpu in gpus)}
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    # vLLM would bind each worker of tensor parallel to a memory node of its own, and refuses where there is one.
    return {"OMP_NUM_THREADS": str(max(1, cores // workers)), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def _asked_for(visible: Sequence[GPU], layout: str, gpus: int | None) -> list[GPU | None]:
    """The GPUs to use; on a CPU, None for each share of it."""
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}: choose one of {', '.join(LAYOUTS)}")
    if gpus is not None and not 1 <= gpus <= (len(visible) or gpus):
        raise UserError(
            f"gpus is {gpus}: this machine has {len(visible) or 'none, and takes 1 or more as shares of it'}"
        )
    return list(visible[:gpus]) or [None] * (gpus or 1)


def _shape(
    model: str, found: Sequence[GPU | None], layout: Layout, *, slots: int, tokens: int, sizes: Sizes
) -> tuple[int, int]:
    """(replicas, GPUs of each). The estimate needs GPUs and a folder; the rest is as asked for, replicas on a CPU."""
    gpus = [gpu for gpu in found if gpu is not None]
    if gpus and Path(model).is_dir():
        plan = choose(
            read_checkpoint(Path(model)),
            gpus,
            candidates=slots,
            tokens=tokens,
            context_length=sizes.context_length,
            memory=sizes.memory,
            number_bytes=sizes.number_bytes,
            layout=layout,
        )
        log.info("%s", plan)
        return plan.replicas, plan.tensor_parallel
    if layout == "auto" and len(gpus) > 1:
        raise UserError(f"{model} is no folder to read sizes from: download it first, or choose a layout")
    return (1, len(found)) if layout == "tensor" else (len(found), 1)
