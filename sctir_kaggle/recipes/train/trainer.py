"""TRL's trainer for a stage of fine-tuning: its configuration, its data, the model and the loss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.train.packing import IGNORED, Collator, Packing, load_packed
from sctir_kaggle.types import EngineError, UserError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    from sctir_kaggle.recipes.train.kto import KTO
    from sctir_kaggle.recipes.train.rloo import RLOO
    from sctir_kaggle.recipes.train.sft import SFT


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


def trainer_config(settings: SFT) -> SFTConfig:
    """The settings in TRL's words."""
    from trl import SFTConfig

    cosine: dict[str, Any] = {"lr_scheduler_type": "cosine"}
    if settings.lowest_rate:
        lowest = {"min_lr_rate": settings.lowest_rate}
        cosine = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": lowest}
    return SFTConfig(
        **arguments_of(settings),
        warmup_steps=settings.warmup,  # below 1 it is a share of the steps
        gradient_accumulation_steps=settings.accumulate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        save_steps=settings.save_every,
        save_total_limit=settings.keep,
        include_num_input_tokens_seen="all",
        packing=False,  # the blocks are packed before
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        ddp_timeout=6 * 3600,  # the first process packs, and validates, while the others wait
        **cosine,
    )


def make_trainer(settings: SFT, config: SFTConfig, tokenizer: PreTrainedTokenizerFast) -> tuple[SFTTrainer, str]:
    """TRL's trainer over the packed blocks of the settings' data, and a line on what they are."""
    packing = Packing(settings.block, settings.packing == "whole", settings.learn)
    with config.main_process_first(desc="packing"):
        packed, summary = load_packed(settings.data, tokenizer, packing, folder=settings.output)
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
    return trainer, summary


def _trainer_class() -> Any:
    import torch
    from trl import SFTTrainer

    class Trainer(SFTTrainer):  # type: ignore[misc,unused-ignore]
        """Without TRL's count of tokens, which takes a batch for one row; transformers' `num_input_tokens_seen` is right."""

        smoothing = 0.0

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for metrics in self._metrics.values():
                metrics.pop("num_tokens", None)
            super().log(logs, start_time)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """TRL's; with smoothing our own, since TRL's would run the model twice."""
            if not self.smoothing or return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            labels = inputs["labels"][:, 1:]
            places = {name: inputs[name] for name in ("input_ids", "position_ids")}
            logits = model(**places, use_cache=False).logits[:, :-1][labels != IGNORED].float()
            loss = torch.nn.functional.cross_entropy(
                logits, labels[labels != IGNORED], label_smoothing=self.smoothing, reduction="sum"
            )
            count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            return loss / count * (1 if num_items_in_batch is None else self.accelerator.num_processes)

    return Trainer


def base_tokenizer(model: str) -> PreTrainedTokenizerFast:
    """The base model's, with the chat template of the dialect `numina`."""
    from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, load_transformers_tokenizer

    with _loading(model):
        tokenizer = load_transformers_tokenizer(model)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _model(settings: SFT, config: SFTConfig, attention: str) -> Any:
    """Float32 weights, which AdamW changes a little at a time; under DeepSpeed bfloat16, for it keeps a float32 copy."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    dtype = torch.bfloat16 if config.bf16 and config.deepspeed_plugin else torch.float32
    with _loading(settings.model):
        return auto.from_pretrained(settings.model, dtype=dtype, attn_implementation=attention)


def _attention(settings: SFT) -> str:
    import torch

    if settings.attention != "auto":
        return settings.attention
    return "flash_attention_2" if torch.cuda.is_available() and find_spec("flash_attn") else "sdpa"


@contextmanager
def _loading(model: str) -> Iterator[None]:
    try:
        yield
    except (EngineError, OSError, ValueError) as error:
        reason = one_line(error, first=True)
        raise UserError(f"cannot load {model}: {reason}; model is a checkpoint's folder, or owner/name") from None
