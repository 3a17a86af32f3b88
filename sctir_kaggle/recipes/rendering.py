"""Render a training row into the same texts and tokens as at inference, with a mask of what the model learns to write.

The header with the problem and what code printed are only read; the rest is learned, including the fence that opens an
output, since the model writes it and stops there. An output ends at the first fence that begins a line: printed text cannot
hold one (`dialects.rendering.defuse`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sctir_kaggle.dialects.rows import HEADER, OUTPUT_FENCE
from sctir_kaggle.recipes.synthetic.corpus import Segment
from sctir_kaggle.recipes.tokenizer import encoder_of
from sctir_kaggle.text import visible
from sctir_kaggle.types import Control, TokenIds, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Row = tuple[tuple[int, ...], tuple[bool, ...]]
"""Token ids, and for each whether the model learns to write it."""


def encode_segments(segments: Iterable[Segment], tokenizer: PreTrainedTokenizerFast) -> Row:
    """Encode the prompt that the solver would send after this trace, and EOS; return ids and mask, both of length [tokens].

    What the model writes is encoded after what it read, as if sampled there, and is `Control` text: a `<tool_call>` in it is
    the token. Neighbouring parts that it only reads are encoded as one text, in which only `Control` parts may become control
    tokens. Raises `UserError` where the tokenizer has no EOS.
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
    """Texts that are encoded in one piece, and whether they are learned."""
    for learned, group in groupby((one for one in segments if one.text), lambda segment: segment.learned):
        texts = [segment.text for segment in group]
        yield from [((Control(text),), True) for text in texts] if learned else [(tuple(texts), False)]


_OUTPUT = re.compile(rf"(?<={OUTPUT_FENCE})(?:.*?\n)??```", re.DOTALL)
"""From after the opening fence to the closing one, which may follow at once (no output)."""


def segments_of(row: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Split a row into its parts. No two learned ones are neighbours, so each is one turn of the model.

    Raises `UserError` where the messages are not a problem and its solution, or an output is not closed.
    """
    problem, text = _messages(row)
    segments, end = [Segment(HEADER.format(problem=visible(problem).strip()), False)], 0
    for output in _OUTPUT.finditer(text):
        segments += [Segment(text[end : output.start()], True), Segment(output[0], False)]
        end = output.end()
    if text.find(OUTPUT_FENCE, end) >= 0 or text.endswith(OUTPUT_FENCE.rstrip("\n")):
        raise UserError(f"row {row.get('id')}: an output is not closed; end it with a line of three backticks")
    return (*segments, Segment(text[end:], True)) if text[end:] else tuple(segments)


def encode_row(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> Row:
    """Token ids [tokens], and for each whether the model learns to write it [tokens]: BOS no, EOS yes."""
    return encode_segments(segments_of(row), tokenizer)


def _messages(row: Mapping[str, Any]) -> tuple[str, str]:
    """The problem and the assistant's text, stripped: the header ends with a blank, and EOS needs none before it."""
    messages = row.get("messages") or ()
    roles = [message.get("role") for message in messages]
    if roles != ["user", "assistant"]:
        raise UserError(f"row {row.get('id')}: messages of {roles}; one of user and one of assistant are needed")
    problem, text = (message.get("content") for message in messages)
    if not isinstance(problem, str) or not isinstance(text, str) or not problem.strip() or not text.strip():
        raise UserError(f"row {row.get('id')}: an empty message; problem and solution are needed")
    return problem, text.strip()
