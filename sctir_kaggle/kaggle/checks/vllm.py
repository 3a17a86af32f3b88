"""vLLM: there, and what it says that it will do here. It is asked in a process of its own.

Not covered: whether its kernels run. The first problem of an editor run shows that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sctir_kaggle.engines.plan import choose, read_checkpoint
from sctir_kaggle.engines.vllm_asked import Answers, ask
from sctir_kaggle.engines.vllm_options import INSTALL
from sctir_kaggle.kaggle.checks.finding import Finding, Machine, importable, of_error
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
        raise LookupError("no checkpoint to ask vLLM about")
    try:
        yield from said(ask(machine.model, _parts(machine, machine.model), seconds=SECONDS))
    except EngineError as error:
        yield of_error("vllm", error, "warning")


def said(answers: Answers) -> Iterator[Finding]:
    """vLLM's answers as findings."""
    if answers.version is None:
        yield Finding("vllm", "fatal", f"cannot be imported ({_cut(answers.refused['import'])})", INSTALL)
        return
    if "configuration" in answers.refused:
        reason = f"{answers.version} refuses this checkpoint here ({_cut(answers.refused['configuration'])})"
        yield Finding("vllm", "fatal", reason, "see the other lines, or take another checkpoint")
        return
    yield Finding("vllm", "ok", f"{answers.version} on {answers.device or 'a device without a name'}, {answers.dtype}")
    yield _attention(answers)
    yield _kernel(answers)


def _attention(answers: Answers) -> Finding:
    if answers.attention:
        return Finding("attention", "ok", answers.attention)
    reason = _cut(answers.refused.get("attention", "no answer"))
    return Finding("attention", "warning", f"vLLM cannot be asked here ({reason})", LOG)


def _kernel(answers: Answers) -> Finding:
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
        return choose(read_checkpoint(model), machine.gpus, candidates=slots, memory=SHARE).tensor_parallel
    except (EngineError, UserError):
        return 1  # the check of the room says why


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else reason[:_LONGEST] + "..."
