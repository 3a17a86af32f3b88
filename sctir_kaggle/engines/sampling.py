"""Draws the next token of every row of a batch, each by its own parameters: a row never depends on its neighbours.

The order is vLLM's: repetition penalty, temperature, `min_p`, `top_k`, `top_p`; then the cumulative distribution is cut
where the row's own random number says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sctir_kaggle.types import EngineError, SamplingParams

Ints = npt.NDArray[np.int64]


def sample(
    logits: Tensor, params: Sequence[SamplingParams], uniform: Sequence[float], seen: Sequence[Ints]
) -> list[int]:
    """One token per row of `logits`, [rows, vocabulary].

    `uniform` are the rows' random numbers, in [0, 1); `seen` are the tokens of their prompts and completions so far.
    """
    if bool(logits.isnan().any()):
        raise EngineError(f"the logits are not numbers in {logits.dtype}: load the model with dtype 'float32'")
    logits = _penalized(logits.float(), params, seen)
    chosen = logits.argmax(dim=-1)
    if any(row.temperature for row in params):
        heat = _column(logits, [row.temperature for row in params])
        chances = _truncated(torch.softmax(logits / torch.where(heat > 0, heat, 1), dim=-1), params)
        drawn = _invert(chances, logits.new_tensor(uniform, dtype=torch.float64)[:, None])
        chosen = torch.where(heat[:, 0] > 0, drawn, chosen)
    return [int(token) for token in chosen.tolist()]


def _penalized(logits: Tensor, params: Sequence[SamplingParams], seen: Sequence[Ints]) -> Tensor:
    """Logits of tokens that were seen: divided by the row's `repetition_penalty`, multiplied where they are negative."""
    if all(row.repetition_penalty == 1 for row in params):
        return logits
    logits = logits.clone()
    for row, (own, tokens) in enumerate(zip(params, seen, strict=True)):
        if own.repetition_penalty != 1:
            known = torch.from_numpy(np.unique(tokens)).to(logits.device)
            score = logits[row, known]
            logits[row, known] = torch.where(score > 0, score / own.repetition_penalty, score * own.repetition_penalty)
    return logits


def _truncated(chances: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """`chances` without the tokens that `min_p`, `top_k` and `top_p` of each row leave out."""
    if any(row.min_p > 0 for row in params):
        floor = _column(chances, [row.min_p for row in params]) * chances.amax(dim=-1, keepdim=True)
        chances = chances.masked_fill(chances < floor, 0.0)
    if any(row.top_k > 0 or row.top_p < 1 for row in params):
        size = chances.shape[1]
        kept = [min(row.top_k, size) if row.top_k > 0 else size for row in params]
        chances = _nucleus(chances, _column(chances, kept), _column(chances, [row.top_p for row in params]))
    return chances


def _nucleus(chances: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """The likeliest `top_k`, and of these the likeliest that hold `top_p` of their mass; never none."""
    ranked, order = chances.sort(dim=-1, descending=True, stable=True)
    outside = torch.arange(chances.shape[1], device=chances.device) >= top_k
    ranked = ranked.masked_fill(outside, 0.0)
    mass = ranked.cumsum(dim=-1)
    outside |= (mass - ranked >= top_p * mass[:, -1:]) & (top_p < 1)
    outside[:, 0] = False
    return chances.masked_fill(torch.zeros_like(outside).scatter_(1, order, outside), 0.0)


def _invert(chances: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative chance is beyond `uniform` of the whole, [rows]; never one without a chance."""
    heap = chances.double().cumsum(dim=-1)
    return torch.searchsorted(heap, uniform * heap[:, -1:], right=True).squeeze(1).clamp_(max=chances.shape[1] - 1)


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
