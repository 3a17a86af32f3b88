"""Supervised fine-tuning, one stage: `python -m sctir_kaggle.recipes.train.sft --config stage1_cot.yaml`.

On several GPUs: `accelerate launch --config_file sctir_kaggle/recipes/configs/accelerate_zero3.yaml -m
sctir_kaggle.recipes.train.sft --config ...`. Resumes from the last whole checkpoint in `output`; the model ends in
`output/model`. Needs the extra `recipes`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, checkpoint_errors, load_transformers_tokenizer
from sctir_kaggle.recipes.train.disk import check_disk, full_disk_in_one_line
from sctir_kaggle.recipes.train.held_out import HeldOut, check_held_out, held_out_callback, split_rows
from sctir_kaggle.recipes.train.packing import IGNORED, Collator, Packing, load_packed
from sctir_kaggle.recipes.train.trainer import (
    ResumableSettings,
    checkpoint_to_resume,
    leave,
    save_model,
    say,
    training_arguments,
)
from sctir_kaggle.recipes.train.validation import validations
from sctir_kaggle.recipes.train.validation_server import check_server
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class SFT(ResumableSettings):
    """A stage. Defaults are ours where nothing else is said; the YAML files hold the winning values.

    The learning rate follows a cosine after the warm-up. Raises `UserError` on a value outside its limits.
    """

    data: tuple[str, ...]
    """Files of rows (`rows.py`), or owner/name on the Hub, whose split `train` is taken."""
    held_out: HeldOut = None
    """What the loss is taken on after each epoch: `test`, that split of `data`'s data sets; a share of the rows, such as
    0.01; or files and data sets, of which the split `test`. Rows with a held-out problem are not trained on."""

    block: int = 2048
    """Tokens of a packed block."""
    packing: Literal["split", "whole", "wrapped"] = "split"
    """`split` bin-packs traces, and splits longer ones at a turn's end with their context kept; `whole` drops these;
    `wrapped`, the original, cuts traces where a block ends."""
    isolate: bool = True
    """Whether a trace attends to itself only, not to others in its block (the original: false)."""
    learn: Literal["written", "all"] = "written"
    """The loss is on what the model has `written`, or, as in the original, on `all`: problem and tool outputs too."""

    learning_rate: float = 2e-5
    lowest_rate: float = 0.0
    """Where the cosine ends, as a share of `learning_rate`."""
    warmup: float = 0.0
    """The share of the steps in which the learning rate rises."""
    epochs: int = 3
    batch: int = 4
    weight_decay: float = 0.0
    clip: float = 1.0
    """The largest norm of a gradient."""
    smoothing: float = 0.0
    """Label smoothing; the logits are then computed in one piece, which takes more memory."""
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    """`auto` is flash attention 2 on a GPU that has it installed, else PyTorch's own."""

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
    validate_url: str | None = None
    """An OpenAI-compatible server that solves the problems instead of this process, http://HOST:PORT."""
    validate_command: str | None = None
    """The command that starts that server on a checkpoint, such as: vllm serve {checkpoint} --port 8000. It is ended when the
    problems are solved."""
    validate_wait: float = 600.0
    """Seconds after which a server that does not serve the checkpoint has failed."""

    def __post_init__(self) -> None:
        self.require_at_least_one("block", "epochs", "batch", "accumulate", "log_every", "save_every", "keep")
        self.require_at_least_one("validate_every")
        if not self.data:
            raise UserError("data is empty; name a file of rows, or a data set on the Hub")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"warmup is {self.warmup}; it is the share of the steps, from 0 to 1")
        check_held_out(self.held_out)
        check_server(self.validate_url, self.validate_command)
        if self.validate_url and not self.validate:
            raise UserError("validate_url has nothing to solve; set validate to a CSV of id, problem, answer")


def main() -> None:
    """Run the command."""
    train(settings_of_command(SFT, __doc__))
    leave()


def train(settings: SFT) -> Path:
    """Train a stage to its end; return the folder of the model.

    Raises `UserError` where the disk is too small, or full.
    """
    with full_disk_in_one_line(settings):
        return _train(settings)


def _train(settings: SFT) -> Path:
    config = trainer_config(settings)  # first: under ZeRO-3 it decides how a model is loaded
    tokenizer = load_transformers_tokenizer(settings.model, chat_template=CHAT_TEMPLATE)
    trainer, summary = make_trainer(settings, config, tokenizer)
    say(trainer, summary)
    check_disk(trainer, settings)
    for callback in validations(settings, trainer):
        trainer.add_callback(callback)
    last = checkpoint_to_resume(settings)
    say(trainer, f"goes on from {last}" if last else "starts")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    save(trainer, tokenizer, settings)
    say(trainer, f"{settings.output / 'model'}: {trainer.state.global_step} steps, {time.monotonic() - started:.0f} s")
    return settings.output / "model"


def trainer_config(settings: SFT) -> SFTConfig:
    """The settings as TRL's `SFTConfig`."""
    from trl import SFTConfig

    cosine: dict[str, Any] = {"lr_scheduler_type": "cosine"}
    if settings.lowest_rate:
        lowest = {"min_lr_rate": settings.lowest_rate}
        cosine = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": lowest}
    return SFTConfig(
        **training_arguments(settings),
        warmup_steps=settings.warmup,  # below 1 it is a share of the steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        include_num_input_tokens_seen="all",
        packing=False,  # the blocks are packed already
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        ddp_timeout=6 * 3600,  # the first process packs, and validates, while the others wait
        **cosine,
    )


def make_trainer(settings: SFT, config: SFTConfig, tokenizer: PreTrainedTokenizerFast) -> tuple[SFTTrainer, str]:
    """TRL's trainer over the packed blocks of the settings' data, and a line that counts these.

    The first process packs, the others read its blocks from disk. With `held_out` the trainer has a callback for the loss.
    """
    packing, held_out = Packing(settings.block, settings.packing, settings.learn), None
    with config.main_process_first(desc="packing"):
        split = split_rows(settings.data, settings.held_out, settings.output)
        data = (split[0],) if split else settings.data
        packed, summary = load_packed(data, tokenizer, packing, folder=settings.output)
        if split:
            held_out, held_summary = load_packed((split[1],), tokenizer, packing, folder=settings.output)
            summary += f"; held out: {held_summary}"
        elif settings.held_out:
            summary += "; held out: nothing, since files have no split test"
    attention = _attention(settings)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    collator = Collator(pad, isolate=settings.isolate, flat=attention.startswith("flash"))
    trainer: SFTTrainer = _trainer_class()(
        model=_model(settings, config, attention),
        args=config,
        train_dataset=packed.blocks,
        data_collator=collator,
        processing_class=tokenizer,
    )
    trainer.smoothing = settings.smoothing
    if held_out:
        trainer.add_callback(held_out_callback(trainer, held_out.blocks, settings.batch, settings.output))
    return trainer, summary


def _trainer_class() -> Any:
    import torch
    from trl import SFTTrainer

    class Trainer(SFTTrainer):  # type: ignore[misc,unused-ignore]
        """Without TRL's token count, which takes a batch for one row; transformers' `num_input_tokens_seen` is right."""

        smoothing = 0.0
        _metrics: dict[str, Any]

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for metrics in self._metrics.values():
                metrics.pop("num_tokens", None)
            super().log(logs, start_time)

        def log_apart(self, logs: dict[str, float]) -> None:
            """Log `logs` alone, without TRL's running means of the training, which go on."""
            kept, self._metrics = self._metrics, {mode: {} for mode in self._metrics}
            try:
                super().log(logs)
            finally:
                self._metrics = kept

        def cross_entropy(self, inputs: Any) -> tuple[Any, Any]:
            """The sum of the cross-entropy, never smoothed, over the labels of a batch, and their number; no gradient."""
            inputs = self._prepare_inputs(inputs)
            count = (inputs["labels"][:, 1:] != IGNORED).sum()
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = super().compute_loss(self.model_wrapped, inputs)  # without a count, TRL takes the batch's mean
            self._metrics["eval"].clear()
            return loss * count, count

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """TRL's loss; with label smoothing our own, since TRL's would run the model twice.

            `inputs`: int64 tensors of shape [blocks, tokens] as `packing.Collator` makes them. The mean is over the labels of
            the whole step (`num_items_in_batch`), all processes and accumulated passes together.
            """
            if not self.smoothing or return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels = inputs["labels"][:, 1:]
            # No attention mask: positions that restart at 0 keep a trace from seeing its neighbours.
            places = {name: inputs[name] for name in ("input_ids", "position_ids")}
            logits = model(**places, use_cache=False).logits[:, :-1][labels != IGNORED].float()
            loss = torch.nn.functional.cross_entropy(
                logits, labels[labels != IGNORED], label_smoothing=self.smoothing, reduction="sum"
            )
            count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            return loss / count * (1 if num_items_in_batch is None else self.accelerator.num_processes)

    return Trainer


def _model(settings: SFT, config: SFTConfig, attention: str) -> Any:
    """The model in float32, since AdamW's small updates vanish in bfloat16; DeepSpeed keeps a float32 copy itself."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    dtype = torch.bfloat16 if config.bf16 and config.deepspeed_plugin else torch.float32
    with checkpoint_errors(settings.model):
        return auto.from_pretrained(settings.model, dtype=dtype, attn_implementation=attention)


def _attention(settings: SFT) -> str:
    import torch

    if settings.attention != "auto":
        return settings.attention
    return "flash_attention_2" if torch.cuda.is_available() and find_spec("flash_attn") else "sdpa"


def save(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerFast, settings: SFT) -> None:
    """Write model and tokenizer to `output/model`; upload them to the Hub if `hub` names a repository."""
    folder = settings.output / "model"
    if save_model(trainer, tokenizer, folder) and settings.hub:
        from huggingface_hub import HfApi

        hub: Any = HfApi()
        hub.create_repo(settings.hub, private=True, exist_ok=True)
        hub.upload_folder(repo_id=settings.hub, folder_path=folder)


if __name__ == "__main__":
    run_recipe(main)
