"""KTO on the model's own candidates, right or wrong: `python -m sctir_kaggle.recipes.train.kto --config kto.yaml`.

First the model to be trained solves problems with tools, four candidates each, all run to their end; the run is a journal,
so a kill loses little:

    sctir replay problems.csv -n 4 --stop none --engine vllm --model DIR --output runs/on-policy

Then this recipe labels the candidates by their answers and trains with TRL's KTOTrainer. Only tokens that the model wrote
count (`unpaired`); the weights of right and wrong ones are balanced by their counts (`preferences.balanced`); their implicit
rewards go to `rewards.csv` and `rewards.png`. The reference model is fixed, or follows the policy (`kto_anchor`). Resumes from
the last whole checkpoint in `output`; the model ends in `output/model`. Not covered: new candidates during the training (one
round only). Needs the extra `recipes`; written against TRL 1.16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, load_transformers_tokenizer
from sctir_kaggle.recipes.train.disk import check_disk, full_disk_in_one_line
from sctir_kaggle.recipes.train.kto_anchor import anchor_arguments, load_anchor, save_anchor
from sctir_kaggle.recipes.train.preferences import Weights, balanced, read_preferences
from sctir_kaggle.recipes.train.rewards import points, write_csv, write_png
from sctir_kaggle.recipes.train.trainer import (
    ResumableSettings,
    checkpoint_to_resume,
    leave,
    save_model,
    say,
    training_arguments,
)
from sctir_kaggle.recipes.train.unpaired import Collator, Columns, encoded, mismatched
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast
    from trl import KTOConfig, KTOTrainer


@dataclass(frozen=True, kw_only=True, slots=True)
class KTO(ResumableSettings):
    """What to train on, and how. The defaults are TRL's where no value of the winning run is known.

    Raises `UserError` on a value outside its limits.
    """

    runs: tuple[Path, ...]
    """Recorded runs of `model`, each a folder or its journal."""

    longest: int = 1024
    """Tokens of a candidate with its problem; longer ones are left out."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    beta: float = 0.1
    """The price of moving away from the reference model."""
    quotient: float = 1.0
    """(weight x count) of right candidates / (weight x count) of wrong ones: 1 to 4/3."""
    anchor: float | None = None
    """How far the reference model moves towards the policy after each step (WARP: 0.01); null: it is fixed."""
    reference_first: bool = False
    """Compute the reference model's log-probabilities before the training: then one model is in memory."""

    schedule: str = "linear"
    """The learning rate's schedule, by transformers' names."""

    def __post_init__(self) -> None:
        self.require_at_least_one("longest", "accumulate", "log_every", "save_every", "keep")
        if self.batch < 2:
            raise UserError(f"batch is {self.batch}; it must be at least 2: the KL term needs a mismatched neighbour")
        if self.anchor is not None and not 0 < self.anchor < 1:
            raise UserError(
                f"anchor is {self.anchor}; it must be above 0 and below 1, or null for a fixed reference model"
            )
        if self.anchor is not None and self.reference_first:
            raise UserError(
                f"anchor is {self.anchor} and reference_first true; a reference that moves cannot be computed first"
            )
        if not self.runs:
            raise UserError("runs is empty; name the folder of a recorded run, or its journal")


def main() -> None:
    """Run the command."""
    kto(settings_of_command(KTO, __doc__))
    leave()


def kto(settings: KTO) -> Path:
    """Train, write model and rewards; return the folder of the model.

    Raises `UserError` where the disk is too small, or full.
    """
    with full_disk_in_one_line(settings):
        return _kto(settings)


def _kto(settings: KTO) -> Path:
    config = trainer_config(settings)  # first: under ZeRO-3 it decides how a model is loaded
    tokenizer = load_transformers_tokenizer(settings.model, chat_template=CHAT_TEMPLATE)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    last = checkpoint_to_resume(settings)
    trainer = make_trainer(settings, config, tokenizer, load_anchor(last, settings.anchor))
    check_disk(trainer, settings)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if save_model(trainer, tokenizer, settings.output / "model"):
        rewards = points(trainer.state.log_history)
        write_csv(settings.output / "rewards.csv", rewards)
        write_png(settings.output / "rewards.png", rewards)
        print(
            f"{settings.output}: model/, and {len(rewards)} points of implicit rewards in rewards.csv and rewards.png"
        )
    return settings.output / "model"


def rows_of(settings: KTO, tokenizer: PreTrainedTokenizerFast) -> tuple[list[Columns], Weights, str]:
    """Candidates in training order, paired for the KL term; the weights of right and wrong ones; a line that counts both."""
    kept, left_out = encoded(read_preferences(settings.runs), tokenizer, longest=settings.longest)
    rows = mismatched(kept, batch=settings.batch, seed=settings.seed)
    right = sum(row["label"] for row in rows)
    weights = balanced(right, len(rows) - right, quotient=settings.quotient)
    summary = (
        f"{right} right and {len(rows) - right} wrong candidates, weights {weights.desirable:.3g} and "
        f"{weights.undesirable:.3g}; {left_out} left out: more than {settings.longest} tokens, or none written"
    )
    return rows, weights, summary


def trainer_config(settings: KTO) -> KTOConfig:
    """The settings as TRL's `KTOConfig`, but for the weights of right and wrong candidates, which depend on the data."""
    from trl import KTOConfig

    config = KTOConfig(
        **training_arguments(settings),
        max_length=settings.longest,
        loss_type=settings.loss,
        beta=settings.beta,
        precompute_ref_log_probs=settings.reference_first,
        precompute_ref_batch_size=settings.batch,
        lr_scheduler_type=settings.schedule,
        **(anchor_arguments(settings.anchor) if settings.anchor else {}),
    )
    if config.bf16 and config.deepspeed_plugin:  # DeepSpeed keeps a float32 copy; else AdamW changes float32 weights
        config.model_init_kwargs = {"dtype": "bfloat16"}
    return config


def make_trainer(
    settings: KTO, config: KTOConfig, tokenizer: PreTrainedTokenizerFast, reference: PreTrainedModel | None = None
) -> KTOTrainer:
    """TRL's trainer over the candidates of the settings' runs, encoded; the reference is by default the settings' model."""
    from datasets import Dataset

    rows, weights, summary = rows_of(settings, tokenizer)
    config.desirable_weight, config.undesirable_weight = weights.desirable, weights.undesirable
    trainer: KTOTrainer = _trainer_class()(
        model=settings.model,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_list(rows),
        data_collator=Collator(tokenizer.pad_token_id, settings.longest),
        processing_class=tokenizer,
    )
    say(trainer, summary)
    return trainer


def _trainer_class() -> Any:
    from trl import KTOTrainer

    class Trainer(KTOTrainer):  # type: ignore[misc,unused-ignore]
        """KTOTrainer would tokenize texts itself and count everything after the prompt as the model's."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if self.args.sync_ref_model:
                save_anchor(self)
            super()._save_checkpoint(model, trial)

    return Trainer


if __name__ == "__main__":
    run_recipe(main)
