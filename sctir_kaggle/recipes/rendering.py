"""A training row as the model sees it: who writes which part, by the same texts and tokens as at inference.

The header with the problem and what code printed are read only; the rest is learned, with the fence that opens an
output, for the model writes it and stops there. Outputs end at the first fence that begins a line:
`dialects.rendering.defuse` lets no printed text hold one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sctir_kaggle.dialects.rows import HEADER, OUTPUT_FENCE
from sctir_kaggle.recipes.corpus import Segment
from sctir_kaggle.recipes.encoding import Row, encode_segments
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OUTPUT = re.compile(rf"(?<={OUTPUT_FENCE})(?:.*?\n)??```", re.DOTALL)
"""From behind the opening fence to the closing one, which may follow at once."""


def segments_of(row: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The parts of a row; no two learned ones are neighbours, so that each is one turn of the model.

    Raises `UserError` where the messages are not a problem and its solution, or an output is not closed.
    """
    problem, text = _messages(row)
    segments, end = [Segment(HEADER.format(problem=problem.strip()), False)], 0
    for output in _OUTPUT.finditer(text):
        segments += [Segment(text[end : output.start()], True), Segment(output[0], False)]
        end = output.end()
    if text.find(OUTPUT_FENCE, end) >= 0 or text.endswith(OUTPUT_FENCE.rstrip("\n")):
        raise UserError(f"row {row.get('id')}: an output is not closed; end it with a line of three backticks")
    return (*segments, Segment(text[end:], True)) if text[end:] else tuple(segments)


def encode_row(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> Row:
    """Token ids, and for each whether the model learns to write it: BOS no, EOS yes."""
    return encode_segments(segments_of(row), tokenizer)


def _messages(row: Mapping[str, Any]) -> tuple[str, str]:
    """The problem and the assistant's text without the blanks around it: the header ends with one, EOS needs none."""
    messages = row.get("messages") or ()
    roles = [message.get("role") for message in messages]
    if roles != ["user", "assistant"]:
        raise UserError(f"row {row.get('id')}: messages of {roles}; one of user and one of assistant are needed")
    problem, text = (message.get("content") for message in messages)
    if not isinstance(problem, str) or not isinstance(text, str) or not problem.strip() or not text.strip():
        raise UserError(f"row {row.get('id')}: an empty message; problem and solution are needed")
    return problem, text.strip()
