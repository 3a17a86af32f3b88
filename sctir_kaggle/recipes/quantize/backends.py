"""Quantization libraries: GPTQModel by default, LLM Compressor for compressed-tensors, AutoGPTQ with CUDA and old libraries.

Method: GPTQ, https://arxiv.org/abs/2210.17323, in all three. Each writes a folder in its own layout; `checkpoint.py`
normalises it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from sctir_kaggle.recipes.quantize.calibration import Calibration
from sctir_kaggle.recipes.quantize.checkpoint import LOGS
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from sctir_kaggle.types import UserError, one_line

REQUIREMENTS = Path(__file__).resolve().parents[1]

Quantize = Callable[[QuantizeSettings, Calibration], None]


def check_backend(settings: QuantizeSettings) -> None:
    """Raise `UserError` where the library cannot work here, before anything is read."""
    if settings.backend == "auto-gptq" and not _cuda():
        raise UserError(
            "backend auto-gptq quantizes on CUDA only, and torch sees no CUDA device here: set backend=gptqmodel, which "
            "writes the same format and works on a CPU"
        )
    if find_spec(MODULES[settings.backend]) is None:
        _missing(settings.backend)


def quantize_with(settings: QuantizeSettings, calibration: Calibration) -> None:
    """Write the quantized weights to `settings.output`, in the library's own layout.

    Raises `UserError` where a library is missing, the weights cannot be read or the result cannot be written.
    """
    from safetensors import SafetensorError

    try:
        BACKENDS[settings.backend](settings, calibration)
    except ImportError as error:
        _missing(f"{settings.backend} ({error})")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{settings.backend} ended with {one_line(error, named=True)}: the model must be a whole checkpoint, and the "
            "disk of the output have room"
        ) from error


def _gptqmodel(settings: QuantizeSettings, calibration: Calibration) -> None:
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # its default is one on two cores, with which it crashes
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from gptqmodel.looper import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        loop_processor,
    )

    loop_processor._PROJECT_LOG_DIR = settings.output / LOGS  # its default is a folder in the working directory
    config = QuantizeConfig(
        bits=settings.bits,
        group_size=settings.group_size,
        sym=settings.sym,
        desc_act=settings.desc_act,
        act_group_aware=settings.group_aware and not settings.desc_act,
        damp_percent=settings.damp,
    )
    config.pack_impl = "original"  # the other one compiles for longer than a small model takes to quantize
    device = settings.device or ("cuda" if _cuda() else "cpu")
    model = GPTQModel.load(str(settings.model), config, device=device, dtype=torch.float16)  # a T4 has no bfloat16
    samples = [{"input_ids": list(ids), "attention_mask": [1] * len(ids)} for ids in calibration.samples]
    model.quantize(samples, batch_size=settings.batch, calibration_data_min_length=1)
    model.save(str(settings.output))


def _auto_gptq(settings: QuantizeSettings, calibration: Calibration) -> None:
    import torch
    from auto_gptq import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        AutoGPTQForCausalLM,
        BaseQuantizeConfig,
    )

    config = BaseQuantizeConfig(
        bits=settings.bits,
        group_size=settings.group_size,
        sym=settings.sym,
        desc_act=settings.desc_act,
        damp_percent=settings.damp,
    )
    model = AutoGPTQForCausalLM.from_pretrained(str(settings.model), config, torch_dtype=torch.float16)
    samples: list[dict[str, Any]] = [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        for ids in calibration.samples
    ]
    model.quantize(samples, batch_size=settings.batch)
    model.save_quantized(str(settings.output), use_safetensors=True)


def _llm_compressor(settings: QuantizeSettings, calibration: Calibration) -> None:
    import torch
    from llmcompressor import oneshot  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from llmcompressor.modifiers.gptq import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        GPTQModifier,
    )
    from transformers import AutoModelForCausalLM

    weights = {"num_bits": settings.bits, "type": "int", "symmetric": settings.sym}
    if settings.group_size == -1:
        weights |= {"strategy": "channel"}
    else:
        weights |= {"strategy": "group", "group_size": settings.group_size}
    recipe = GPTQModifier(
        config_groups={"group_0": {"targets": ["Linear"], "weights": weights}},
        ignore=["lm_head"],
        dampening_frac=settings.damp,
        actorder="static" if settings.group_aware else None,
    )
    samples = [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        for ids in calibration.samples
    ]
    device = settings.device or ("cuda" if _cuda() else "cpu")
    computed_in = torch.float32 if device == "cpu" else torch.float16  # few CPUs have half precision arithmetic
    model: Any = AutoModelForCausalLM.from_pretrained(
        settings.model, dtype=computed_in, local_files_only=True, device_map=device
    )
    oneshot(
        model=model,
        processor=load_transformers_tokenizer(
            settings.model
        ),  # else it reads one by transformers; samples are ids already
        dataset=torch.utils.data.DataLoader(samples, batch_size=None),  # type: ignore[arg-type]
        recipe=recipe,
        num_calibration_samples=len(samples),
    )
    model.half().save_pretrained(
        settings.output, save_compressed=True
    )  # without a tokenizer, which `oneshot` would save


BACKENDS: Mapping[str, Quantize] = {
    "gptqmodel": _gptqmodel,
    "llm-compressor": _llm_compressor,
    "auto-gptq": _auto_gptq,
}

MODULES: Mapping[str, str] = {"gptqmodel": "gptqmodel", "llm-compressor": "llmcompressor", "auto-gptq": "auto_gptq"}
"""What each backend imports."""


def _cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _missing(what: str) -> NoReturn:
    name = what.split()[0]
    raise UserError(f"{what} is not installed: pip install -r sctir_kaggle/recipes/requirements-{name}.txt")
