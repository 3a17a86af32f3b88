"""Render prompts: a prompt is a function of the dialect, the problem and the turns, and it only grows.

Sampled token ids are sent as they were sampled, with the token that ended the turn. The dialect's text is `Control`; a
problem and a program's output are plain text, in which nothing becomes a control token, and what no screen shows is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.text import on_terminal, visible
from sctir_kaggle.types import Completion, Control, ExecutionResult, Problem, Prompt, Turn


def render(dialect: Dialect, problem: Problem, turns: Sequence[Turn] = (), *, prefix: str = "") -> Prompt:
    """Render the prompt after `turns`, followed by `prefix`, in segments. The dialect must be bound.

    Turns up to one that was `restarted` are left out: the candidate began again after it.
    """
    before, _, after = dialect.prompt.partition("{problem}")
    segments: list[str | tuple[int, ...]] = [Control(before), visible(problem.text).strip(), Control(after)]
    for place, turn in enumerate(turns):
        if turn.restarted:
            del segments[3:]
            continue
        goes_on = turns[place + 1].prefix if place + 1 < len(turns) else prefix
        segments += [Control(turn.prefix), *_written(dialect, turn, goes_on=bool(goes_on)), *turn.bridge]
    return tuple(segment for segment in (*segments, Control(prefix)) if segment)


def _written(dialect: Dialect, turn: Turn, *, goes_on: bool) -> Iterator[str | tuple[int, ...]]:
    """The model's own tokens or text. The token that ended them is kept only if a new message follows."""
    completion = turn.completion
    ended = completion.ended_by_token and bool(dialect.turn_end) and bool(turn.bridge or not goes_on)
    if completion.token_ids:
        yield completion.token_ids[:-1] if completion.ended_by_token and not ended else completion.token_ids
    else:
        yield Control(completion.text + dialect.turn_end * ended)


def bridge(
    dialect: Dialect,
    completion: Completion,
    result: ExecutionResult,
    *,
    left: int,
    limit: int,
    clip: Literal["middle", "head"] = "middle",
) -> tuple[str, ...]:
    """Return the segments after a completion whose code ran: (control, output of at most `limit` characters, control).

    `left` is the number of times that code may still run, for the dialect's remark; `clip` is as in `clipped`.
    """
    output = visible(on_terminal(result.output))
    if not dialect.output_verbatim:
        output = output.rstrip("\n")
    if "```" in dialect.output_begin:
        output = defuse(output)
    shown = clipped(output, limit, clip) or dialect.empty_output
    closing = "" if completion.ended_by_token else dialect.turn_end
    remark = (dialect.remark if left or not dialect.last_remark else dialect.last_remark).replace("{left}", str(left))
    begin = closing + _missing(dialect.output_begin, completion.text if not closing else "")
    return tuple(part for part in (Control(begin), shown, Control(dialect.output_end + remark)) if part)


def _missing(begin: str, text: str) -> str:
    """`begin` without the part that `text` ends with already: the fence of an output, with or without line breaks."""
    fence = begin.strip("\n")
    if not fence.startswith("```"):
        return begin
    for written in (begin, begin.lstrip("\n"), begin.rstrip("\n"), fence):
        if text.endswith(written):
            return begin[begin.index(written) + len(written) :]
    return begin


def opened_box(dialect: Dialect, turns: Sequence[Turn], *, thinking: bool) -> str:
    """Return the text that forces a candidate's answer after `turns`; `thinking`: its text ends inside open thinking."""
    if not dialect.force:
        return ""
    if dialect.code == "harmony":
        return _opened_final(dialect, turns)
    return (dialect.think_end + "\n" if thinking else "") + dialect.force


def _opened_final(dialect: Dialect, turns: Sequence[Turn]) -> str:
    """The same for harmony: end the message and begin one in the channel `final`, unless that is open already."""
    last = turns[-1]
    if not last.bridge and "<|channel|>final" in last.completion.text.rpartition("<|start|>")[2]:
        return dialect.force
    header = "" if last.bridge else "<|end|><|start|>assistant"
    return header + "<|channel|>final<|message|>" + dialect.force.lstrip("\n")


def defuse(text: str) -> str:
    """Replace fences in an output, so that no printed text can close the block and forge a turn."""
    return text.replace("```", "'''")


def clipped(text: str, limit: int, keep: Literal["middle", "head"] = "middle") -> str:
    """Shorten `text` to at most `limit` characters.

    `middle` cuts out the middle, because results are printed last and a traceback names its error last. `head` is what
    NuminaMath's notebook does: the first `limit` characters, with a note after them.

    >>> clipped("0123456789abcdefghij", 11)
    '012\\n...\\nhij'
    """
    if len(text) <= limit:
        return text
    if keep == "head":
        return text[:limit] + " ... (output truncated)"
    mark = "\n...\n"
    if limit <= len(mark):
        return text[:limit]
    head = (limit - len(mark)) // 2
    tail = limit - len(mark) - head
    return text[:head] + mark + text[-tail:]
