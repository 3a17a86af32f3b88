"""A prompt as one text, for a server whose tokenizer reads special tokens wherever they are spelled.

Only the dialect may write those. In a segment that is not `Control` a blank is put behind the `<` of what looks like one:
`<|...|>` and `<｜...｜>` of any name, the names below, and every tag that the prompt's own `Control` text uses. So a program
that prints `</s>` or `<|im_end|>` ends no turn; the model sees `< /s>` and `< |im_end|>`. Not covered: special tokens that
look like none, `[INST]` say. With the checkpoint's tokenizer the engine sends ids, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from sctir_kaggle.types import Control

_NAMES = ("s", "unk", "pad", "mask", "bos", "eos", "eot", "eop", "start_of_turn", "end_of_turn", "think")
_TAG = re.compile(r"</?([A-Za-z_][\w.:-]*)")
_BARS = r"\|[^|<>\n]*\|>|｜[^｜<>\n]*｜>"


def plain_text(segments: Sequence[str]) -> str:
    """`segments` joined, in which only those that are `Control` hold anything that looks like a special token."""
    tags = {tag for segment in segments if isinstance(segment, Control) for tag in _TAG.findall(segment)}
    names = "|".join(map(re.escape, sorted({*_NAMES, *tags}, key=len, reverse=True)))
    forged = re.compile(rf"<(?={_BARS}|/?(?:{names})(?:[^\w<>\n][^<>\n]*)?>)")
    parts = (
        ("".join(group), control) for control, group in groupby(segments, lambda segment: isinstance(segment, Control))
    )
    return "".join(text if control else forged.sub("< ", text) for text, control in parts)
