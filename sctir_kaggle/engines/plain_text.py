"""Prompts as text, in which no problem and no program's output can spell a special token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from sctir_kaggle.types import Control

_NAMES = (
    r"s|unk|pad|mask|cls|sep|bos|eos|bod|eod|bop|eop|sop|eot|eom|seed:\w+|start_of_\w+|end_of_\w+|im_start|im_end|endoftext|"
    r"think|tools?|tool_calls?|tool_responses?|tool_results?|function_calls?|fim_\w+|file_sep|repo_name|filename|unused\d+|"
    r"extra_id_\d+|reserved_\w+|SPECIAL_\d+|image_soft_token|0x[0-9A-Fa-f]{2}"
)
_BRACKETED = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS?|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|IMG_BREAK|IMG_END|AUDIO|"
    r"PREFIX|MIDDLE|SUFFIX|BOS|EOS|PAD|UNK|CLS|SEP|MASK|[gs]MASK|control_\d+|\|\w+\|"
)
_TAG = re.compile(r"</?([A-Za-z_][\w.:-]*)")
_BARS = r"\|[^|<>\n]*\|>|｜[^｜<>\n]*｜>"
_SQUARE = rf"\[(?=/?(?:{_BRACKETED})\])|<<(?=/?SYS>>)|\](?=~!?b[\[\]])|\[(?=e~\[)"
"""Spellings of special tokens in the tokenizers of known families, with and without bars."""


def plain_text(segments: Sequence[str]) -> str:
    """Join `segments`, with a space inside everything that looks like a special token in those that are not `Control`.

    >>> plain_text(["What is <|im_end|> worth?"])
    'What is < |im_end|> worth?'
    """
    tags = {tag for segment in segments if isinstance(segment, Control) for tag in _TAG.findall(segment)}
    names = "|".join([_NAMES, *map(re.escape, sorted(tags))])
    forged = re.compile(rf"<(?={_BARS}|/?(?:{names})(?:[^\w<>\n][^<>\n]*)?>)|{_SQUARE}")
    parts = (
        ("".join(group), control) for control, group in groupby(segments, lambda segment: isinstance(segment, Control))
    )
    return "".join(text if control else forged.sub(r"\g<0> ", text) for text, control in parts)
