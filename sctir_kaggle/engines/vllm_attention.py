"""The attention backend that vLLM is given on GPUs older than compute capability 8.0, and the compilers backends need.

FlashAttention has no kernels below 8.0, and vLLM before 0.24 then prefers FlashInfer, which comes with it (from the sources
of 0.11.2 and 0.19.1; 0.19.1's selector was also run). FlashInfer compiles its kernels with nvcc when the model loads: again
in every rerun, and not at all on an image without nvcc. Triton brings its own compiler and ptxas and needs a C compiler for
its launcher only. Which of the two is faster on a T4 was not measured.
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
"""The backend that needs no nvcc, by the name it has had since vLLM 0.11."""

FLASH_ATTENTION_FROM = (8, 0)
"""From this compute capability on the choice is vLLM's: FlashAttention, whose kernels are in its wheel."""

VARIABLE = "VLLM_ATTENTION_BACKEND"
"""The environment variable that chooses a backend up to vLLM 0.14; 0.13 added the engine argument `attention_backend`."""

Source = Literal["engine options", "environment", "compute capability"]


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention backend, by vLLM's name, and who chose it."""

    backend: str
    source: Source


def choose_attention(
    options: Mapping[str, Any], capability: tuple[int, int] | None, environment: Mapping[str, str] = os.environ
) -> Attention | None:
    """Return the user's choice, else ours below compute capability 8.0; None leaves the choice to vLLM.

    `options` are engine arguments by vLLM's names, `capability` is the GPU's compute capability (None on a CPU).

    >>> choose_attention({}, (7, 5), {})
    Attention(backend='TRITON_ATTN', source='compute capability')
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
    """Return the engine arguments that pass `chosen` to the installed vLLM; sets `VARIABLE` where it has no such argument.

    `known` are the engine arguments of the installed vLLM, `variables` the environment variables that it reads. Nothing
    is needed for a choice that is among the engine options already, or in an environment variable that vLLM reads.
    """
    if chosen is None or chosen.source == "engine options":
        return {}
    if chosen.source == "environment" and VARIABLE in variables:  # 0.13 and 0.14 refuse to be given both
        return {}
    if "attention_backend" in known:
        return {"attention_backend": chosen.backend}
    os.environ[VARIABLE] = chosen.backend
    return {}


def needs_nvcc(backend: str) -> bool:
    """Whether this backend compiles with nvcc when the model loads, its precompiled kernels not being installed."""
    return backend.upper().startswith("FLASHINFER") and find_spec("flashinfer_jit_cache") is None


def needs_c_compiler(backend: str) -> bool:
    """Whether this backend is written in Triton, which compiles its launcher in C."""
    return backend.upper().startswith(("TRITON", "FLEX"))


def nvcc(environment: Mapping[str, str] = os.environ, *, usual: Path = Path("/usr/local/cuda")) -> str | None:
    """Return nvcc's path, searched for as FlashInfer does: in CUDA_HOME or CUDA_PATH, else in PATH, else in `usual`."""
    named = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    found = None if named else shutil.which("nvcc", path=environment.get("PATH", os.defpath))
    within = Path(named or usual) / "bin" / "nvcc"
    return found or (str(within) if within.is_file() else None)


def c_compiler(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the C compiler that Triton would call; None too where Python.h is missing, which its launcher includes."""
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return None
    path = environment.get("PATH", os.defpath)
    names = [environment["CC"]] if environment.get("CC") else ["gcc", "clang"]
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def _name(backend: Any) -> str:
    """`backend` as text: a member of vLLM's own enumeration by its name."""
    return str(getattr(backend, "name", backend))
