"""Similarity of a quantized checkpoint to its original: teacher-forced, on the tokens that a model learns to write.

Perplexity is exp of the mean cross-entropy in nats. Top-1 agreement is the share of positions where both models' argmax is the
same token. One model is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    from sctir_kaggle.recipes.rendering import Row


@dataclass(frozen=True, slots=True)
class Reading:
    """For each learned token of all rows in order: its loss in nats, and the model's argmax."""

    losses: tuple[float, ...]
    top: tuple[int, ...]

    @property
    def perplexity(self) -> float:
        """exp of the mean loss."""
        return math.exp(sum(self.losses) / len(self.losses))

    def agreement(self, other: Reading) -> float:
        """The share of positions with the same top token; both must have read the same rows."""
        return sum(a == b for a, b in zip(self.top, other.top, strict=True)) / len(self.top)


def read(folder: Path, rows: Sequence[Row], *, device: str | None = None) -> Reading:
    """Run the checkpoint in `folder` over the rows, one at a time: token ids [tokens] and masks [tokens]."""
    import torch

    model = load_model(folder, device=device)
    losses: list[float] = []
    top: list[int] = []
    with torch.inference_mode():
        for ids, learned in rows:
            tokens, where = torch.tensor(ids, device=model.device), torch.tensor(learned[1:], device=model.device)
            logits = model(tokens[None, :-1], use_cache=False).logits[0][where].float()
            losses += torch.nn.functional.cross_entropy(logits, tokens[1:][where], reduction="none").tolist()
            top += logits.argmax(-1).tolist()
    del model
    torch.cuda.empty_cache()  # the solver's engine comes next; does nothing without CUDA
    if not losses:
        raise UserError("the held-out data has no trace: give rows with messages of a user and an assistant")
    return Reading(tuple(losses), tuple(top))


def load_model(folder: Path, *, device: str | None = None) -> Any:
    """Load a checkpoint for inference, float32 on a CPU, its own type on a GPU; `UserError` where a library is missing."""
    import torch
    from transformers import AutoModelForCausalLM

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # On a GPU, packed weights must be loaded right onto it: only then does their library choose a GPU kernel.
    options: dict[str, Any] = {"dtype": torch.float32} if device == "cpu" else {"dtype": "auto", "device_map": device}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    except ImportError as error:
        raise UserError(
            f"{folder} cannot be loaded ({one_line(error, first=True)}): pip install -r "
            "sctir_kaggle/recipes/requirements-gptqmodel.txt"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be loaded ({one_line(error, first=True)}): pass a whole checkpoint") from None
    return model.eval()
