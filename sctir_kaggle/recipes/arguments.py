"""What every trainer of TRL is told alike, whatever it trains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from sctir_kaggle.recipes.kto import KTO
    from sctir_kaggle.recipes.rloo import RLOO
    from sctir_kaggle.recipes.sft import SFT


def arguments_of(settings: SFT | KTO | RLOO) -> dict[str, Any]:
    """Where to, how long, on which device and in which precision, in the words of transformers' `TrainingArguments`."""
    import torch

    cuda = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs, one process: start it by `accelerate launch`, or set CUDA_VISIBLE_DEVICES=0"
        )
    half = settings.precision == "bf16" or (
        settings.precision == "auto" and cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return {
        "output_dir": str(settings.output),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.steps or -1,
        "per_device_train_batch_size": settings.batch,
        "seed": settings.seed,
        "bf16": half,
        # DeepSpeed finds the CPU by itself
        "use_cpu": not cuda and "ACCELERATE_USE_DEEPSPEED" not in os.environ,
        # else accelerate counts one process
        "ddp_backend": "gloo" if "LOCAL_RANK" in os.environ and not cuda else None,
        "gradient_checkpointing": settings.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": settings.log_every,
        "report_to": settings.log,
        "dataloader_pin_memory": cuda,
        "disable_tqdm": True,
    }
