"""Traces as tokens, as the solver sends them: what trains, calibrates and compares models all encode here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.corpus import Segment
from sctir_kaggle.recipes.tokenizer import encoder_of
from sctir_kaggle.types import Control, TokenIds, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Row = tuple[tuple[int, ...], tuple[bool, ...]]
"""Token ids, and for each whether the model learns to write it."""


def encode_segments(segments: Iterable[Segment], tokenizer: PreTrainedTokenizerFast) -> Row:
    """The prompt that the solver would send after this trace, and EOS at the end.

    What the model writes is encoded behind what it read, as if it were sampled there, and is `Control` text: a `<tool_call>`
    in it is the token. Neighbouring parts that it only reads are one text, and control tokens only where they are `Control`.
    """
    encoder, end = encoder_of(tokenizer), tokenizer.eos_token_id
    if end is None:
        raise UserError("the tokenizer has no eos_token, with which a trace ends: set it in its tokenizer_config.json")
    ids: TokenIds = ()
    learned: list[bool] = []
    for texts, flag in _encoded_together(segments):
        ids = encoder.encode((ids, *texts))
        learned += [flag] * (len(ids) - len(learned))
    learned[: len(encoder.bos)] = [False] * len(encoder.bos)
    return (*ids, end), (*learned, True)


def _encoded_together(segments: Iterable[Segment]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Texts, and whether they are learned."""
    for learned, group in groupby((one for one in segments if one.text), lambda segment: segment.learned):
        texts = [segment.text for segment in group]
        yield from [((Control(text),), True) for text in texts] if learned else [(tuple(texts), False)]
