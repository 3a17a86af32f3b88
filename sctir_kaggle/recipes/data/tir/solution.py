"""The text of a trace as a training row has it, and what makes two of them duplicates."""

from __future__ import annotations

import ast
import re
import warnings
from hashlib import blake2b

from sctir_kaggle.dialects.fences import is_valid
from sctir_kaggle.dialects.rows import CHAT_SERVER, OUTPUT_FENCE
from sctir_kaggle.types import Trace

_THINKING = re.compile(f"{CHAT_SERVER.think_begin}.*?{CHAT_SERVER.think_end}\\s*", re.DOTALL)


def solution_of(trace: Trace) -> str:
    """Everything the model wrote and its code printed, without thinking and without a trailing output fence."""
    text = "".join(turn.prefix + turn.completion.text + turn.output_block for turn in trace.turns)
    text = _THINKING.sub("", text)
    return text.removesuffix(OUTPUT_FENCE).strip()


def text_key(trace: Trace) -> bytes:
    """A hash of the solution's text; white space makes no difference."""
    return _hash(" ".join(solution_of(trace).split()))


def code_key(trace: Trace) -> bytes:
    """A hash of the code that ran, block by block; of the whole text where none did."""
    code = [turn.code for turn in trace.turns if turn.execution is not None and (turn.code or "").strip()]
    return _hash("\0".join(normalized(each or "") for each in code)) if code else text_key(trace)


def normalized(code: str) -> str:
    """`code` without comments and in one spacing; its own text, but for the spacing, where it is no valid Python.

    >>> normalized("x=1 # one") == normalized("x  =  1")
    True
    """
    if not is_valid(code):
        return " ".join(code.split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of "\\d" in a string, for example
        try:
            return ast.unparse(ast.parse(code))
        except RecursionError:
            return " ".join(code.split())


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
