"""Traces as tokens, as the solver sends them: what trains, calibrates and compares models all encode here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.corpus import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Row = tuple[tuple[int, ...], tuple[bool, ...]]
"""Token ids, and for each whether the model learns to write it."""


def encode_segments(segments: Iterable[Segment], tokenizer: PreTrainedTokenizerFast) -> Row:
    """BOS (where the tokenizer has one), then each segment encoded by itself, as the solver sends it; EOS at the end."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    learned = [False] * len(ids)
    for segment in segments:
        tokens = tokenizer.encode(segment.text, add_special_tokens=False)
        ids += tokens
        learned += [segment.learned] * len(tokens)
    return (*ids, tokenizer.eos_token_id), (*learned, True)
