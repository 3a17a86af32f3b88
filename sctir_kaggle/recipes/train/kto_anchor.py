"""The moving anchor of KTO: a reference model that follows the policy, as the first stage of WARP has it.

After every optimizer step reference = (1 - rate) x reference + rate x policy (https://arxiv.org/abs/2406.16768, the
exponential moving average as the anchor of the KL). TRL computes it, by `sync_ref_model`; here are what it lacks: the anchor
goes into each checkpoint, as a model of its own in `anchor/`, and a resumed training goes on from it.

It is float32: policy and reference are loaded so, and bfloat16 on a GPU is autocast. In bfloat16 weights a step of 1 % of the
way is mostly rounded away: where policy and anchor are 1 % apart, one weight of ten moves at all. Not covered therefore:
DeepSpeed, whose weights are bfloat16, and FSDP.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.tokenizer import checkpoint_errors
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "anchor"
"""The anchor's folder in a checkpoint."""

SHARDED = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")
"""Variables that `accelerate launch` sets where no process has the whole model."""


def anchor_arguments(rate: float) -> dict[str, Any]:
    """The keyword arguments of `KTOConfig` for an anchor that moves by `rate`. Raises `UserError` where weights are sharded."""
    if any(os.environ.get(name, "").lower() == "true" for name in SHARDED):
        raise UserError(
            f"anchor is {rate:g}, which needs the whole model in float32 in each process: not under DeepSpeed or FSDP; "
            "start it without, or set anchor=null"
        )
    return {"sync_ref_model": True, "ref_model_mixup_alpha": rate, "ref_model_sync_steps": 1}


def load_anchor(checkpoint: Path | None, rate: float | None) -> PreTrainedModel | None:
    """The anchor of the checkpoint to resume from; None where the training starts, or has a fixed reference.

    Raises `UserError` where the checkpoint is of a training with the other kind of reference.
    """
    if checkpoint is None:
        return None
    folder = checkpoint / FOLDER
    if folder.is_dir() != (rate is not None):
        kind = "with" if folder.is_dir() else "without"
        raise UserError(f"{checkpoint} is of a run {kind} an anchor, and anchor is {rate}; choose another output")
    if rate is None:
        return None
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    with checkpoint_errors(folder):
        anchor: PreTrainedModel = auto.from_pretrained(folder, dtype=torch.float32)
    return anchor


def save_anchor(trainer: Any) -> None:
    """Write the anchor into the folder of the checkpoint that the trainer is about to write.

    Before it: the checkpoint's last file, which marks it as whole, is then written after the anchor.
    """
    if trainer.args.should_save:
        folder = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}" / FOLDER
        trainer.accelerator.unwrap_model(trainer.ref_model).save_pretrained(folder)
