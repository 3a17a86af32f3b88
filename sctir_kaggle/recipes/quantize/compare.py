"""Run a quantized checkpoint and its original over the same traces, both in memory at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.engines.vllm_options import quantization_of
from sctir_kaggle.recipes.quantize.likeness import Likeness, Trace
from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    import torch

    from sctir_kaggle.recipes.rendering import Row

PLACES = 128
"""Tokens whose distributions are compared at a time: 100 MB in float64 for each model with a vocabulary of 100,000."""


def compare(original: Path, quantized: Path, rows: Sequence[Row], *, device: str | None = None) -> Likeness:
    """Run both over the rows, one at a time: token ids [tokens] and masks [tokens] of what is learned.

    `device` as in `load_model`. Raises `UserError` where nothing is learned, or the vocabularies differ in size.
    """
    import torch

    rows = [row for row in rows if any(row[1][1:])]
    if not rows:
        raise UserError("the held-out data has no trace: give rows with messages of a user and an assistant")
    models = [load_model(folder, device=device) for folder in (original, quantized)]
    with torch.inference_mode():
        traces = tuple(_trace(models, row) for row in rows)
    del models
    torch.cuda.empty_cache()  # the solver's engine comes next; does nothing without CUDA
    return Likeness(traces)


def _trace(models: Sequence[Any], row: Row) -> Trace:
    import torch

    ids, learned = torch.tensor(row[0]), torch.tensor(row[1][1:])
    p, q = (model(ids[None, :-1].to(model.device), use_cache=False).logits[0] for model in models)
    if p.shape != q.shape:
        raise UserError(f"the models have {p.shape[-1]} and {q.shape[-1]} tokens: is one made from the other?")
    return trace_of(p[learned.to(p.device)], q[learned.to(q.device)].to(p.device), ids[1:][learned].to(p.device))


def trace_of(p: torch.Tensor, q: torch.Tensor, tokens: torch.Tensor) -> Trace:
    """The sums of one trace: logits of the original and the quantized model [tokens, vocabulary], and what stands there."""
    losses, divergence, same = [0.0, 0.0], 0.0, 0
    for start in range(0, len(tokens), PLACES):
        part = slice(start, start + PLACES)
        logs = [logits[part].double().log_softmax(-1) for logits in (p, q)]
        found = [float(log.gather(-1, tokens[part, None]).sum()) for log in logs]
        losses = [loss - log for loss, log in zip(losses, found, strict=True)]
        divergence += float(divergences(*logs).sum())
        same += int((p[part].argmax(-1) == q[part].argmax(-1)).sum())
    return Trace(len(tokens), losses[0], losses[1], divergence, same)


def divergences(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL divergence of q from p, sum of p (ln p - ln q), nats: log probabilities [places, vocabulary] -> [places].

    A token that p rules out (-inf) adds 0.
    """
    import torch

    return torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(-1)


def load_model(folder: Path, *, device: str | None = None) -> Any:
    """Load a checkpoint for inference, float32 on a CPU, its own type on a GPU; `UserError` where a library is missing.

    `device` is `cpu`, `cuda`, or `auto`, which spreads it over all GPUs; None is CUDA where there is one.
    """
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
            f"sctir_kaggle/recipes/{_requirements(folder)}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be loaded ({one_line(error, first=True)}): pass a whole checkpoint") from None
    return model.eval()


def _requirements(folder: Path) -> str:
    """The file of requirements with which transformers loads the checkpoint."""
    compressed = quantization_of(str(folder)).get("quant_method") == "compressed-tensors"
    return f"requirements-{'llm-compressor' if compressed else 'gptqmodel'}.txt"
