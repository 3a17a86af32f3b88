"""The GPUs: there, of a kind that has kernels, with a driver that fits, and with room for the model.

All of it is asked of the driver's tool and of files; CUDA is not initialised. Not covered: GPUs of other makers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sctir_kaggle.engines.vllm_layout import OVERHEAD, choose_layout, read_checkpoint
from sctir_kaggle.engines.vllm_options import BFLOAT16_FROM, OLDEST_GPU, quantization_of
from sctir_kaggle.kaggle.checks.finding import Finding, Machine, importable, of_error, size
from sctir_kaggle.types import EngineError, UserError

ACCELERATOR = "choose the accelerator GPU T4 x2 or better (machine_shape: NvidiaTeslaT4)"

SHARE = 0.9
"""Of a GPU's memory, which vLLM takes; it refuses to start where less than that is free."""

SLOTS = 48
"""Candidates that run at once, at most."""

_SMI = ("nvidia-smi",)
_SECONDS = 15
_FLOAT32 = 4
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def gpus(machine: Machine) -> Iterator[Finding]:
    """Which there are, and whether their compute capability has kernels."""
    if not machine.gpus:
        yield _none(machine)
        return
    for count, product, (major, minor) in _kinds(machine):
        name = f"{count} x {product or 'GPU'}, compute capability {major}.{minor}"
        if (major, minor) < OLDEST_GPU:
            needed = f"vLLM and torch have no kernels below {OLDEST_GPU[0]}.{OLDEST_GPU[1]}"
            yield Finding("gpus", "fatal", f"{name}: {needed}", ACCELERATOR)
        else:
            yield Finding("gpus", "ok", name)


def cuda(machine: Machine) -> Iterator[Finding]:
    """The CUDA that torch was built for, against the newest that the driver serves; by major version."""
    built, served = _torch_cuda(), _driver_cuda()
    detail = f"torch is built for {f'CUDA {built}' if built else 'no CUDA'}, the driver serves {served or 'none'}"
    if not machine.gpus:
        yield Finding("cuda", "ok", f"{detail}; no GPU is used")
    elif not importable("torch"):
        detail = f"torch is not installed, the driver serves {served or 'none'}"
        yield Finding("cuda", "warning", detail, "install the attached wheels first")
    elif built is None:
        yield Finding("cuda", "fatal", detail, "install a torch that is built for CUDA")
    elif served and _major(built) > _major(served):
        yield Finding("cuda", "fatal", detail, f"install a torch for CUDA {served} or older, or choose a newer image")
    else:
        yield Finding("cuda", "ok", detail)


def dtype(machine: Machine) -> Iterator[Finding]:
    """The number format that will be computed in."""
    stored = _stored(machine)
    if not machine.gpus:
        packed = machine.model is not None and quantization_of(str(machine.model))
        yield Finding("dtype", "ok", f"{stored}, as stored" if packed else f"float32 on a CPU (stored: {stored})")
    elif min(gpu.capability for gpu in machine.gpus) >= BFLOAT16_FROM:
        yield Finding("dtype", "ok", f"{stored}, as stored")
    elif stored == "bfloat16":
        detail = "float16, although stored as bfloat16: this GPU has none, and numbers beyond 65,504 overflow"
        yield Finding("dtype", "warning", detail, "look at a few texts before you submit")
    else:
        yield Finding("dtype", "ok", f"float16: no bfloat16 below compute capability 8.0 (stored: {stored})")


def room(machine: Machine) -> Iterator[Finding]:
    """Memory against weights and KV cache: the layout that would be chosen, or the host's memory on a CPU."""
    if machine.model is None:
        raise LookupError("no checkpoint to look at")
    try:
        if not machine.gpus:
            yield from _room_on_cpu(machine, machine.model)
        elif machine.engine == "vllm":
            yield from _room_on_gpus(machine, machine.model)
        else:
            yield from _room_on_first(machine, machine.model)
    except (EngineError, UserError) as error:
        yield of_error("room", error, "warning")


def _none(machine: Machine) -> Finding:
    if machine.engine == "transformers":
        return Finding("gpus", "ok", "none; transformers runs on the CPU, slowly")
    smi = "nvidia-smi finds none" if shutil.which(_SMI[0]) else "there is no nvidia-smi"
    return Finding("gpus", machine.missing, f"none ({smi}); vLLM's CPU build would do for a test", ACCELERATOR)


def _kinds(machine: Machine) -> Iterator[tuple[int, str, tuple[int, int]]]:
    kinds = [(gpu.product, gpu.capability) for gpu in machine.gpus]
    for product, capability in sorted(set(kinds)):
        yield kinds.count((product, capability)), product, capability


def _room_on_gpus(machine: Machine, model: Path) -> Iterator[Finding]:
    plan = choose_layout(
        read_checkpoint(model), machine.gpus, candidates=min(machine.config.candidates, SLOTS), memory=SHARE
    )
    if not plan.fits:
        yield Finding("room", "fatal", str(plan), "take a smaller or quantized model, or a larger GPU")
    elif plan.preempts:
        yield Finding("room", "warning", str(plan), "it works, slower: fewer candidates would all fit")
    else:
        yield Finding("room", "ok", str(plan))
    yield from _taken(machine)


def _taken(machine: Machine) -> Iterator[Finding]:
    """Memory that somebody else holds."""
    for gpu in machine.gpus:
        if gpu.free is not None and gpu.free < SHARE * gpu.memory:
            detail = f"GPU {gpu.name} has {size(gpu.free)} free of {size(gpu.memory)}, vLLM takes {SHARE:.0%}"
            yield Finding("room", "fatal", detail, "another process holds the rest: restart the session, or end it")


def _room_on_first(machine: Machine, model: Path) -> Iterator[Finding]:
    """transformers takes one GPU: the weights in half precision, and some cache."""
    gpu, need = machine.gpus[0], read_checkpoint(model).weight_bytes + OVERHEAD
    free = gpu.memory if gpu.free is None else gpu.free
    detail = f"{size(need)} and the cache wanted on GPU {gpu.name}, {size(free)} free"
    if free < need:
        yield Finding("room", "fatal", detail, "take a smaller model, a larger GPU, or --engine vllm on all of them")
    else:
        yield Finding("room", "ok", detail)


def _room_on_cpu(machine: Machine, model: Path) -> Iterator[Finding]:
    """Weights in float32, unless they stay packed, and what a GPU too needs besides weights and cache."""
    checkpoint = read_checkpoint(model)
    stored = _BYTES.get(_stored(machine), 2)
    scale = 1 if quantization_of(str(model)) else max(1, _FLOAT32 // stored)
    need, free = checkpoint.weight_bytes * scale + OVERHEAD, _available()
    detail = f"{size(need)} of memory wanted on the CPU, {'unknown' if free is None else size(free)} available"
    if free is not None and free < need:
        yield Finding("room", "fatal", detail, "take a smaller model or a GPU")
    else:
        yield Finding("room", "ok", detail)


def _stored(machine: Machine) -> str:
    if machine.model is None:
        return "unknown"
    config = json.loads((machine.model / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "unknown")


def _available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that a new process could have."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _torch_cuda() -> str | None:
    """Read from torch's version file: importing torch takes seconds."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    found = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _driver_cuda() -> str | None:
    """From the head of what nvidia-smi prints."""
    try:
        shown = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"CUDA (?:UMD )?Version: *([\d.]+)", shown)
    return f"CUDA {found[1]}" if found else None


def _major(version: str) -> int:
    return int(version.removeprefix("CUDA ").split(".")[0])
