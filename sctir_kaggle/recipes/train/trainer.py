"""Common to SFT, KTO and RL: settings, `TrainingArguments`, finding checkpoints, saving, leaving the process group."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.recipes.tokenizer import save_tokenizer
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The fields that every training has; each recipe adds its own and its defaults."""

    model: str
    """The checkpoint to start from: a folder, or owner/name on the Hub. KTO's and RL's reference model too."""
    output: Path
    """The folder that gets checkpoints, logs and `model/`."""

    learning_rate: float = 1e-6
    epochs: float = 3.0
    steps: int | None = None
    """Ends after this many optimizer steps instead of `epochs`."""
    batch: int = 8
    """Rows a device and forward pass: packed blocks (SFT), candidates (KTO, RL)."""
    seed: int = 42

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bfloat16 where the device has it: float32 on a CPU."""
    checkpointing: bool = True
    """Recompute activations in the backward pass (not re-entrant), which saves most of their memory."""

    log_every: int = 10
    """Steps between log lines."""
    log: tuple[Literal["tensorboard", "wandb", "none"], ...] = ("tensorboard",)
    """Where the log goes, to one or to several; `wandb` needs its library and an account."""

    def require_at_least_one(self, *names: str) -> None:
        """Raise `UserError` for the first of these fields that is below 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumableSettings(TrainSettings):
    """Those of a training that saves checkpoints and goes on from the last one: SFT, KTO and RL."""

    accumulate: int = 1
    """Backward passes a step: the total batch is batch x accumulate x devices."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept, each with its optimizer state."""
    resume: bool = True
    """Whether to go on from the last checkpoint in `output`."""


def training_arguments(settings: TrainSettings) -> dict[str, Any]:
    """The settings as keyword arguments of transformers' `TrainingArguments`.

    Raises `UserError` where several GPUs are visible to a single process: Trainer would fall back to `DataParallel`.
    """
    import torch

    cuda, launched = torch.cuda.is_available(), "LOCAL_RANK" in os.environ
    if torch.cuda.device_count() > 1 and not launched:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs, one process: start it by `accelerate launch`, or set CUDA_VISIBLE_DEVICES=0"
        )
    has_bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    arguments: dict[str, Any] = {
        "output_dir": str(settings.output),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.steps or -1,
        "per_device_train_batch_size": settings.batch,
        "seed": settings.seed,
        "bf16": settings.precision == "bf16" or (settings.precision == "auto" and has_bf16),
        "use_cpu": not cuda and "ACCELERATE_USE_DEEPSPEED" not in os.environ,  # DeepSpeed finds the CPU by itself
        "ddp_backend": "gloo" if launched and not cuda else None,  # else accelerate counts one process
        "gradient_checkpointing": settings.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": settings.log_every,
        "report_to": _loggers(settings.log),
        "dataloader_pin_memory": cuda,
        "disable_tqdm": True,
    }
    if isinstance(settings, ResumableSettings):
        arguments |= {
            "gradient_accumulation_steps": settings.accumulate,
            "save_steps": settings.save_every,
            "save_total_limit": settings.keep,
            "remove_unused_columns": False,  # the recipes' collators read columns that no model's forward takes
        }
    return arguments


def _loggers(names: tuple[str, ...]) -> list[str]:
    """The names for `report_to`. Raises `UserError` where one is not installed, or is `none` beside others."""
    if "none" in names:
        if len(names) > 1:
            raise UserError(f"log is [{', '.join(names)}]; none stands alone")
        return []
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"log is [{', '.join(names)}], and {name} is not installed: pip install {name}")
    return list(names)


def checkpoint_to_resume(settings: ResumableSettings) -> Path | None:
    """The checkpoint to go on from, None to start. Raises `UserError` where there is one and `resume` is off."""
    last = last_checkpoint(settings.output)
    if last and not settings.resume:
        raise UserError(f"{last} is of an earlier run; go on with resume: true, or take another output")
    return last


def last_checkpoint(output: Path) -> Path | None:
    """The last checkpoint in `output` that was written to its end.

    Trainer writes `trainer_state.json` after weights and optimizer, so a readable one marks a whole checkpoint.
    """
    found = {int(folder.name.rpartition("-")[2]): folder for folder in output.glob("checkpoint-*[0-9]")}
    whole = [step for step, folder in found.items() if _is_whole(folder)]
    return found[max(whole)] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def save_model(trainer: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> bool:
    """Write model and tokenizer to `folder`; True in the process that wrote.

    Every process must call it: under ZeRO-3 the weights are gathered from all of them.
    """
    trainer.model.config.use_cache = True  # off while training; what is saved is for generation
    trainer.save_model(str(folder))
    if not trainer.is_world_process_zero():
        return False
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle with this machine's paths
    save_tokenizer(tokenizer, folder)
    return True


def say(trainer: Any, line: str) -> None:
    """Print a line with the time, in the first process only."""
    if trainer.is_world_process_zero():
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def leave() -> None:
    """Leave the process group in step: a process that exits while another still talks to it takes both down.

    Where there are several processes, each exits here. Everything is written by then, and a normal interpreter exit aborts
    now and then ("terminate called without an active exception"), since a thread of the group is not joined.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return
    several = distributed.get_world_size() > 1
    distributed.barrier()
    distributed.destroy_process_group()
    if several:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
