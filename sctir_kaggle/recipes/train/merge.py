"""Merge checkpoints of one shape with mergekit: `python -m sctir_kaggle.recipes.train.merge --config merge_ties.yaml`.

The winners tried DARE, TIES and WARP and submitted none of them; no value of theirs is published. Covered: DARE
(https://arxiv.org/abs/2311.03099), TIES (https://arxiv.org/abs/2306.01708), and the weighted mean of weights. Not covered:
WARP, which trains while it merges; models of different shapes. Needs `requirements-mergekit.txt`; no GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.types import UserError

NEEDS_BASE = {"ties", "dare_ties", "dare_linear"}
"""Methods that merge what each model changed of a common base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeSettings:
    """What to merge, and how; names and meanings are mergekit's. Raises `UserError` on a value outside its limits."""

    method: Literal["linear", "ties", "dare_ties", "dare_linear"]

    models: tuple[str, ...]
    """Checkpoints: folders, or names at the Hub."""

    output: Path
    """The folder that gets the merged checkpoint; the tokenizer is that of the base, or of the first model."""

    base: str | None = None
    """The checkpoint that the models were fine-tuned from; `linear` has none."""

    weights: tuple[float, ...] = ()
    """One a model; empty: equal ones with sum 1."""

    density: float = 1.0
    """The share of a model's changes that is kept: the largest (TIES), or random ones (DARE)."""

    normalize: bool = True
    """Whether weights are divided by their sum."""

    dtype: str = "bfloat16"

    seed: int = 42
    """Seed of the random changes that DARE drops."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise UserError(f"models are {', '.join(self.models) or 'none'}; a merge needs at least two")
        if self.weights and len(self.weights) != len(self.models):
            raise UserError(f"weights are {len(self.weights)}, models {len(self.models)}; give one each, or none")
        if (self.method in NEEDS_BASE) != bool(self.base):
            verb = "needs" if self.method in NEEDS_BASE else "has no"
            raise UserError(f"base is {self.base}; the method {self.method} {verb} base")
        if not 0 < self.density <= 1:
            raise UserError(f"density is {self.density}; it must be above 0 and at most 1")
        if (self.output / "config.json").exists():
            raise UserError(f"{self.output} holds a model; choose another output")


def main() -> None:
    """Run the command."""
    settings = settings_of_command(MergeSettings, __doc__)
    merge(settings)
    print(f"{settings.output}: {settings.method} of {', '.join(settings.models)}")


def plan(settings: MergeSettings) -> dict[str, Any]:
    """The merge as mergekit's configuration."""
    weights = settings.weights or (1 / len(settings.models),) * len(settings.models)
    changes = {"density": settings.density} if settings.method in NEEDS_BASE else {}
    made: dict[str, Any] = {
        "merge_method": settings.method,
        "models": [
            {"model": model, "parameters": {"weight": weight, **changes}}
            for model, weight in zip(settings.models, weights, strict=True)
        ],
        "parameters": {"normalize": settings.normalize},
        "dtype": settings.dtype,
    }
    return {**made, "base_model": settings.base} if settings.base else made


def merge(settings: MergeSettings) -> None:
    """Write the merged checkpoint, with a copy of the tokenizer, to `settings.output`."""
    try:
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions
    except ImportError:
        raise UserError(
            "merging needs mergekit: pip install -r the package's recipes/requirements-mergekit.txt"
        ) from None

    options = MergeOptions(random_seed=settings.seed, write_model_card=False, copy_tokenizer=True, quiet=True)
    run_merge(MergeConfiguration.model_validate(plan(settings)), str(settings.output), options)


if __name__ == "__main__":
    run_recipe(main)
