"""Text in, text out: what a model is shown, and which code it wrote. A prompt is a function of the problem and the turns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from sctir_kaggle.types import ExecutionResult, Problem, Prompt, Turn

OUTPUT_FENCE = "```output\n"
"""Where a model hands over: it stops after this, and the program writes what the code printed."""

CLOSE_FENCE = "\n```"

FORCED_BOX = "\nThe answer is $\\boxed{"
"""Written for a candidate that ran out of turns, so that its last tokens are its answer."""

HEADER = "### Problem: {problem}\n### Solution: "
"""NuminaMath's chat template with its generation prompt; tests compare it with the tokenizer's own template."""

CLOSE_BOX = "$"
"""Where the forced answer ends: not at the first brace, which may be a fraction's."""

_CODE = re.compile(r"```python[ \t]*\n(.*?)\n?```", re.DOTALL)


def render(problem: Problem, turns: Sequence[Turn] = (), *, prefix: str = "") -> Prompt:
    """The prompt after `turns`: text segments, and the sampled token ids as they were sampled. Adjacent text is joined."""
    segments: list[str | tuple[int, ...]] = [HEADER.format(problem=problem.text.strip())]
    for turn in turns:
        segments += [turn.prefix, turn.completion.token_ids or turn.completion.text, turn.output_block]
    return _join([*segments, prefix])


def _join(segments: Sequence[str | tuple[int, ...]]) -> Prompt:
    joined: list[str | tuple[int, ...]] = []
    for segment in segments:
        if not segment:
            continue
        last = joined[-1] if joined else None
        if isinstance(last, str) and isinstance(segment, str):
            joined[-1] = last + segment
        else:
            joined.append(segment)
    return tuple(joined)


def last_code_block(text: str) -> str | None:
    """The last complete ```` ```python ```` block of `text`, or None where there is none or the last one is still open."""
    blocks = list(_CODE.finditer(text))
    if not blocks or "```python" in text[blocks[-1].end() :]:
        return None
    return blocks[-1].group(1)


def output_block(completion_text: str, result: ExecutionResult, *, limit: int) -> str:
    """What to append after a completion whose code ran: opens the fence unless the model did, at most `limit` characters."""
    opening = "" if completion_text.endswith(OUTPUT_FENCE) else "\n" + OUTPUT_FENCE
    return opening + clip(defuse(result.output.rstrip("\n")), limit) + CLOSE_FENCE


def defuse(text: str) -> str:
    """Fences inside an output become harmless, so that no printed text can close the block and forge a trace."""
    return text.replace("```", "'''")


def clip(text: str, limit: int) -> str:
    """At most `limit` characters: head and tail, since a result is printed last and a traceback names its error last."""
    if len(text) <= limit:
        return text
    mark = "\n...\n"
    if limit <= len(mark):
        return text[:limit]
    head = (limit - len(mark)) // 2
    tail = limit - len(mark) - head
    return text[:head] + mark + text[-tail:]


def fingerprint() -> str:
    """Twelve hex digits that change with any of the texts above: journalled, so that two runs can be told apart."""
    return hashlib.blake2b(
        "\0".join((HEADER, OUTPUT_FENCE, CLOSE_FENCE, FORCED_BOX)).encode(), digest_size=6
    ).hexdigest()
