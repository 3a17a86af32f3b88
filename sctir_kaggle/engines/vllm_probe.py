"""Probe the installed vLLM, in a subprocess: the attention backend and the kernels that it would pick for a checkpoint.

`python -m sctir_kaggle.engines.vllm_probe FOLDER [PARTS [OPTIONS]]` prints one line of JSON, the fields of a `VLLMProbe`.
The process builds the configuration that the engine would be built from and calls vLLM's own selectors with it; it loads
no weights. Tried with vLLM 0.32 and 0.19.1 on a CPU, and with 0.19.1 on a platform that reports compute capability 7.5;
the module names of older versions are tried as well. A selector that this vLLM lacks gives None, and `refused` says why.
Not covered: whether the kernels run on the GPU.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sctir_kaggle.engines.vllm_attention import Attention, Source
from sctir_kaggle.engines.vllm_layout import Checkpoint, read_checkpoint
from sctir_kaggle.types import EngineError, one_line

_SELECTORS = ("vllm.v1.attention.selector", "vllm.attention.selector")
_KERNELS = (
    "vllm.model_executor.kernels.linear",
    "vllm.model_executor.layers.quantization.kernels.mixed_precision",
)
_MARK = "sctir: "  # marks our line of JSON: vLLM and torch print to the same stream


@dataclass(frozen=True, slots=True)
class VLLMProbe:
    """The result of a probe. `refused` maps a failed step (import, configuration, device, attention, kernel) to its error."""

    version: str | None = None
    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    """The attention backend, by vLLM's name."""

    attention_from: Source | None = None
    """Who chose the backend; None where vLLM did."""

    attention_else: str | None = None
    """The backend that vLLM would have taken by itself; None where it was its choice, or where that cannot be found out."""

    kernel: str | None = None
    """The kernels for the quantized layers, by class name; None too where nothing is quantized."""

    refused: dict[str, str] = field(default_factory=dict)


def probe(
    model: Path,
    parts: int = 1,
    *,
    options: Mapping[str, Any] | None = None,
    seconds: float = 60,
    python: str = sys.executable,
) -> VLLMProbe:
    """Probe vLLM for the checkpoint in the folder `model`, split over `parts` GPUs, in a new process of `python`.

    `options` are the engine arguments that the engine would be given; values that JSON cannot carry are passed as text.
    Raises `EngineError` where the process gives no answer within `seconds`.
    """
    given = json.dumps(dict(options or {}), default=str)
    command = [python, "-m", "sctir_kaggle.engines.vllm_probe", str(model), str(parts), given]
    # The package may be imported from a checkout or an unpacked wheel: the subprocess must find the same one.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"vLLM did not say within {seconds:g} s what it would do: try again, its files are in the page cache now"
        ) from None
    for line in reversed(ran.stdout.splitlines()):
        if line.startswith(_MARK):
            return VLLMProbe(**json.loads(line.removeprefix(_MARK)))
    last = next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), f"exit code {ran.returncode}")
    raise EngineError(f"vLLM ended without an answer ({last.strip()}): `import vllm` in a fresh Python shows all of it")


def main(model: Path, parts: int, options: Mapping[str, Any]) -> None:
    """Print the result of `probe_here` as one marked line of JSON."""
    print(f"\n{_MARK}{json.dumps(dataclasses.asdict(probe_here(model, parts, options)))}", flush=True)


def probe_here(model: Path, parts: int, options: Mapping[str, Any] | None = None) -> VLLMProbe:
    """Probe vLLM in this process, step by step: a step that fails does not spoil the others."""
    refused: dict[str, str] = {}

    def tried(step: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # whatever vLLM raises here, it would raise when the engine starts
            refused[step] = one_line(error, named=True)
            return None

    version = tried("import", lambda: str(importlib.import_module("vllm").__version__))
    chosen = tried("attention", lambda: _choice(model, options or {})) if version else None
    config = tried("configuration", lambda: _configured(model, options or {})) if version else None
    if config is None:
        return VLLMProbe(version, refused=refused)
    return VLLMProbe(
        version,
        tried("device", _device),
        str(config.model_config.dtype).removeprefix("torch."),
        tried("attention", lambda: _attention(config)),
        chosen.source if chosen else None,
        _otherwise(config) if chosen else None,
        tried("kernel", lambda: _kernel(config, read_checkpoint(model), parts)),
        refused,
    )


def _configured(model: Path, options: Mapping[str, Any]) -> Any:
    """The configuration that this package's engine would be built from, on one GPU."""
    from sctir_kaggle.engines.vllm_options import engine_arguments

    choices: dict[str, Any] = {"slots": 1, "dtype": None, "context_length": None, "memory": 0.9}
    return engine_arguments(str(model), **choices, options=options).create_engine_config()


def _choice(model: Path, options: Mapping[str, Any]) -> Attention | None:
    """The attention backend if it is not vLLM's choice. Call it before `engine_arguments` sets the environment variable,
    or our choice looks like the user's."""
    from sctir_kaggle.engines.vllm_options import argument_name, attention_for

    platform = importlib.import_module("vllm.platforms").current_platform
    return attention_for(str(model), {argument_name(name): value for name, value in options.items()}, platform)


def _device() -> str:
    platform = importlib.import_module("vllm.platforms").current_platform
    return str(platform.get_device_name())


def _attention(config: Any) -> str:
    """The name of the backend that the first attention layer would get."""
    selector = _first_module(_SELECTORS)
    current = importlib.import_module("vllm.config").set_current_vllm_config
    size, dtype, cache = config.model_config.get_head_size(), config.model_config.dtype, config.cache_config
    choices: dict[str, Any] = {"head_size": size, "dtype": dtype, "kv_cache_dtype": cache.cache_dtype}
    if "block_size" in selector.get_attn_backend.__code__.co_varnames[: selector.get_attn_backend.__code__.co_argcount]:
        choices["block_size"] = cache.block_size or 16
    with current(config):
        return str(selector.get_attn_backend(**choices).get_name())


def _otherwise(config: Any) -> str | None:
    """The backend that vLLM would pick if none were chosen for it; None where it has no such field or raises."""
    try:
        free = copy.deepcopy(config)
        free.attention_config.backend = None
        return _attention(free)
    except Exception:  # only the report shows it
        return None


def _kernel(config: Any, checkpoint: Checkpoint, parts: int) -> str | None:
    """The kernels for the layers of a quantized model, whose matrices are split over `parts` GPUs."""
    quantization = config.quant_config
    if quantization is None:
        return None
    if not hasattr(quantization, "quant_type"):
        raise LookupError(f"{quantization.get_name()} is not chosen by this registry")
    kernels = _first_module(_KERNELS)
    current = importlib.import_module("vllm.config").set_current_vllm_config
    with current(config):
        chosen = {
            kernels.choose_mp_linear_kernel(_layer(kernels, quantization, config.model_config.dtype, whole, part))
            for whole, part in _shapes(checkpoint, parts)
        }
    return ", ".join(sorted(kernel.__name__ for kernel in chosen))


def _shapes(checkpoint: Checkpoint, parts: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(in, out) of query, output, up and down projection: whole, and the part on one GPU.

    Query and up projection are column-parallel, output and down projection row-parallel.
    """
    hidden, inner = checkpoint.hidden_size, checkpoint.intermediate_size
    heads = checkpoint.heads * checkpoint.head_dim
    for columns in (heads, inner):
        yield (hidden, columns), (hidden, columns // parts)
        yield (columns, hidden), (columns // parts, hidden)


def _layer(kernels: Any, quantization: Any, dtype: Any, whole: tuple[int, int], part: tuple[int, int]) -> Any:
    known = {
        "full_weight_shape": whole,
        "partition_weight_shape": part,
        "weight_type": quantization.quant_type,
        "act_type": dtype,
        "group_size": quantization.group_size,
        "zero_points": bool(getattr(quantization, "zero_point", False)),
        "has_g_idx": bool(getattr(quantization, "desc_act", False)),
    }
    names = {each.name for each in dataclasses.fields(kernels.MPLinearLayerConfig)}
    return kernels.MPLinearLayerConfig(**{name: value for name, value in known.items() if name in names})


def _first_module(names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise LookupError(f"this vLLM has none of {', '.join(names)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]), json.loads((sys.argv[3:] or ["{}"])[0]))
