"""The attention back end that vLLM is told to take on GPUs older than compute capability 8.0.

FlashAttention has no kernels below 8.0, and vLLM before 0.24 then prefers FlashInfer, which comes with it (0.11.2 and 0.19.1
were read, 0.19.1 was asked). FlashInfer compiles its kernels with nvcc when the model loads: in every rerun, and not at all
on an image without nvcc. Triton brings its own compiler and ptxas; it needs a C compiler for its launcher. Which of the two is
faster on a T4 was not measured here.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

NO_NVCC = "TRITON_ATTN"
"""The back end that compiles without nvcc, by the name it has had since vLLM 0.11."""

FLASH_ATTENTION_FROM = (8, 0)
"""From this compute capability on vLLM chooses by itself: FlashAttention, whose kernels lie in its wheel."""

VARIABLE = "VLLM_ATTENTION_BACKEND"
"""Where a back end is chosen up to vLLM 0.14; the engine argument `attention_backend` came with 0.13."""

Source = Literal["engine options", "environment", "compute capability"]


@dataclass(frozen=True, slots=True)
class Attention:
    """A back end by vLLM's name for it, and who chose it."""

    backend: str
    source: Source


def choose_attention(
    options: Mapping[str, Any], capability: tuple[int, int] | None, environment: Mapping[str, str] = os.environ
) -> Attention | None:
    """The user's choice, else ours below compute capability 8.0; None where vLLM is to choose (and on a CPU).

    `options` are engine arguments by vLLM's names for them, `capability` is that of the GPU.
    """
    config = options.get("attention_config")
    within = config.get("backend") if isinstance(config, Mapping) else getattr(config, "backend", None)
    asked = options.get("attention_backend") or within
    if asked:
        return Attention(_name(asked), "engine options")
    if environment.get(VARIABLE):
        return Attention(environment[VARIABLE], "environment")
    if capability is not None and capability < FLASH_ATTENTION_FROM:
        return Attention(NO_NVCC, "compute capability")
    return None


def attention_arguments(chosen: Attention | None, known: Collection[str], variables: Collection[str]) -> dict[str, Any]:
    """What hands `chosen` to the installed vLLM: an engine argument, or `VARIABLE` in the environment where it has none.

    `known` are the engine arguments that it has, `variables` the environment variables that it reads. A choice among the
    engine options is handed over with these, and one in the environment is left there where it is read.
    """
    if chosen is None or chosen.source == "engine options":
        return {}
    if chosen.source == "environment" and VARIABLE in variables:
        return {}
    if "attention_backend" in known:
        return {"attention_backend": chosen.backend}
    os.environ[VARIABLE] = chosen.backend
    return {}


def needs_nvcc(backend: str) -> bool:
    """Whether this back end compiles with nvcc when the model loads, unless its compiled kernels are installed."""
    return backend.upper().startswith("FLASHINFER") and find_spec("flashinfer_jit_cache") is None


def needs_c_compiler(backend: str) -> bool:
    """Whether this back end is run by Triton, which compiles its launcher in C."""
    return backend.upper().startswith(("TRITON", "FLEX"))


def nvcc(environment: Mapping[str, str] = os.environ, *, usual: Path = Path("/usr/local/cuda")) -> str | None:
    """Where nvcc is, looked for as FlashInfer does: the folder that is named, else the path, else the usual folder."""
    named = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    found = None if named else shutil.which("nvcc", path=environment.get("PATH", os.defpath))
    within = Path(named or usual) / "bin" / "nvcc"
    return found or (str(within) if within.is_file() else None)


def c_compiler(environment: Mapping[str, str] = os.environ) -> str | None:
    """The C compiler that Triton would call; None too where Python's own headers are missing, which it includes."""
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return None
    path = environment.get("PATH", os.defpath)
    names = [environment["CC"]] if environment.get("CC") else ["gcc", "clang"]
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def _name(backend: Any) -> str:
    """`backend` as text; vLLM's own enumeration has it as its member's name."""
    return str(getattr(backend, "name", backend))
