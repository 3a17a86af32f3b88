"""Supervised fine-tuning, a stage: `python -m sctir_kaggle.recipes.train.sft --config stage1_cot.yaml [--set field=value ...]`.

On several GPUs: `accelerate launch --config_file sctir_kaggle/recipes/configs/accelerate_zero3.yaml -m
sctir_kaggle.recipes.train.sft --config ...`. Goes on from the last whole checkpoint in `output`; the model ends in
`output/model`. Needs the extra `recipes`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.train.trainer import base_tokenizer, make_trainer, trainer_config
from sctir_kaggle.recipes.train.validation import validations
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from trl import SFTTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class SFT:
    """A stage. Defaults are ours where nothing else is said; the YAML files hold the winning values."""

    model: str
    """A checkpoint's folder, or owner/name on the Hub."""
    data: tuple[str, ...]
    """Files of rows (`rows.py`), or owner/name on the Hub, whose split `train` is taken."""
    output: Path
    """The folder that gets checkpoints, logs and `model/`."""

    block: int = 2048
    """Tokens of a packed block, and the longest trace."""
    packing: Literal["whole", "wrapped"] = "whole"
    """`whole` bin-packs traces and drops longer ones; `wrapped`, the original, cuts them where a block ends."""
    isolate: bool = True
    """Whether the traces of a block see themselves only (the original: false)."""
    learn: Literal["written", "all"] = "written"
    """The loss is on what the model `written`, or, as in the original, on `all`: problem and tool outputs too."""

    learning_rate: float = 2e-5
    lowest_rate: float = 0.0
    """Where the cosine ends, as a share of `learning_rate`."""
    warmup: float = 0.0
    """The share of the steps in which the learning rate rises."""
    epochs: int = 3
    steps: int | None = None
    """Ends after this many steps instead of `epochs`."""
    batch: int = 4
    """Blocks a device and step."""
    accumulate: int = 1
    """Backward passes a step: the total batch is batch x accumulate x devices."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """The largest norm of a gradient."""
    smoothing: float = 0.0
    """Label smoothing; the logits are then computed in one piece."""
    seed: int = 42

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bfloat16 where the device has it: float32 on a CPU."""
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    """`auto` is flash attention 2 on a GPU that has it installed, else PyTorch's own."""
    checkpointing: bool = True
    """Activations are computed again in the backward pass (not re-entrant), which saves most of their memory."""

    log_every: int = 10
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept, each with its optimizer state."""
    resume: bool = True
    """Whether to go on from the last checkpoint (the original starts anew)."""
    log: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    hub: str | None = None
    """owner/name that the finished model is uploaded to; the original always does."""

    validate: Path | None = None
    """A CSV (`id,problem,answer`) that is solved by generation."""
    validate_every: int = 500
    """Steps between two validations; each saves a checkpoint, which is what is validated."""
    validate_problems: int = 50
    """The first so many of the CSV."""
    validate_candidates: int = 8
    validate_turns: int = 4
    """Executions of code a candidate may have; 0 for chain of thought."""

    def __post_init__(self) -> None:
        """Raises `UserError` on a value outside its limits."""
        for name in ("block", "epochs", "batch", "accumulate", "log_every", "save_every", "keep", "validate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.data:
            raise UserError("data is empty; name a file of rows, or a data set on the Hub")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"warmup is {self.warmup}; it is the share of the steps, from 0 to 1")


def main() -> None:
    """The command."""
    train(settings_of_command(SFT, __doc__))
    leave()


def train(settings: SFT) -> Path:
    """Train a stage to its end; -> the folder of the model."""
    config = trainer_config(settings)  # first: under ZeRO-3 it says how a model is loaded
    tokenizer = base_tokenizer(settings.model)
    trainer, summary = make_trainer(settings, config, tokenizer)
    say(trainer, summary)
    for callback in validations(settings, trainer):
        trainer.add_callback(callback)
    last = last_checkpoint(settings.output)
    if last and not settings.resume:
        raise UserError(f"{last} is of an earlier run; go on with resume: true, or take another output")
    say(trainer, f"goes on from {last}" if last else "starts")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    save(trainer, tokenizer, settings)
    say(trainer, f"{settings.output / 'model'}: {trainer.state.global_step} steps, {time.monotonic() - started:.0f} s")
    return settings.output / "model"


def last_checkpoint(output: Path) -> Path | None:
    """The last checkpoint in `output` that was written to its end: its state is what comes last."""
    found = {int(folder.name.rpartition("-")[2]): folder for folder in output.glob("checkpoint-*[0-9]")}
    whole = [step for step, folder in found.items() if _is_whole(folder)]
    return found[max(whole)] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def save_model(trainer: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> bool:
    """Model and tokenizer in `folder`. Every process calls it; True in the one that wrote."""
    from sctir_kaggle.recipes.tokenizer import save_tokenizer

    trainer.model.config.use_cache = True  # off while it is trained; what is saved is for generation
    trainer.save_model(str(folder))
    if not trainer.is_world_process_zero():
        return False
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle with this machine's paths
    save_tokenizer(tokenizer, folder)
    return True


def save(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerFast, settings: SFT) -> None:
    """The model, gathered from all devices, with its tokenizer, in `output/model`; then to the Hub if asked for."""
    folder = settings.output / "model"
    if save_model(trainer, tokenizer, folder) and settings.hub:
        from huggingface_hub import HfApi

        hub: Any = HfApi()
        hub.create_repo(settings.hub, private=True, exist_ok=True)
        hub.upload_folder(repo_id=settings.hub, folder_path=folder)


def leave() -> None:
    """End the group of processes in step: one that exits while another still talks to it takes both down.

    Where there are several, each ends here. All is written, and when the interpreter ends by itself a thread of the group
    that is not joined aborts the process now and then ("terminate called without an active exception").
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


def say(trainer: SFTTrainer, line: str) -> None:
    """A line of the log, from the first process."""
    if trainer.is_world_process_zero():
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    run_recipe(main)
