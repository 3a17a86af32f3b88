"""A prompt as the messages of a chat: what to do, the problem, then by turns what the model wrote and what was printed.

A prompt's segments tell these apart: what is `Control` was written by the dialect or the model, what is not is the problem
or an output. So no fence or header that a program prints can become a message of the model's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sctir_kaggle.dialects.rows import CHAT, CLOSE_FENCE, HEADER, OUTPUT_FENCE
from sctir_kaggle.engines.openai_text import plain_text
from sctir_kaggle.types import Control, Prompt

INSTRUCTION = CHAT.system or ""
"""What the model is told to do; the message of the role `system`."""

Message = dict[str, str]

_BEFORE, _BETWEEN = HEADER.split("{problem}")
_OUTPUT = re.compile(re.escape(OUTPUT_FENCE) + "(?:.*?)" + re.escape(CLOSE_FENCE), re.DOTALL)
_THINKING = re.compile(r"\s*<think>(?:.*?</think>|.*)", re.DOTALL)


def messages_of(prompt: Prompt | str, instruction: str = INSTRUCTION) -> list[Message]:
    """`prompt` as messages. A single text that is not `Control` is the problem, or a whole prompt in NuminaMath's format."""
    segments = [prompt] if isinstance(prompt, str) else [part for part in prompt if isinstance(part, str)]
    marked = any(isinstance(segment, Control) for segment in segments)
    said = _of_segments(segments) if marked else _of_text("".join(segments))
    return [message for message in (_message("system", instruction), *said) if message["content"]]


def _of_segments(segments: Sequence[str]) -> list[Message]:
    """The first segment that is not `Control` is the problem; another is an output if a fence for it was just opened."""
    turns, opening = _Turns(), _BEFORE
    for segment in _merged(segments):
        opened = turns.written.endswith(OUTPUT_FENCE)
        if not isinstance(segment, Control):
            turns.add_user(f"{OUTPUT_FENCE}{segment}" if opened else segment.strip())
            opening = CLOSE_FENCE if opened else _BETWEEN
        elif opened and segment.startswith(CLOSE_FENCE):  # the output was empty
            turns.add_user(OUTPUT_FENCE)
            turns.close(segment)
            opening = ""
        elif opening == CLOSE_FENCE:
            turns.close(segment)
            opening = ""
        else:
            turns.written += segment.removeprefix(opening)
            opening = ""
    return [*turns.messages, _said(turns.written)]


@dataclass(slots=True)
class _Turns:
    """The messages so far, and what the model has written since the last of them."""

    messages: list[Message] = field(default_factory=list)
    written: str = ""

    def add_user(self, content: str) -> None:
        """A problem or an output, which ends the model's message. What stands before the problem is not the model's."""
        if self.messages:
            self.messages.append(_said(self.written.removesuffix(OUTPUT_FENCE)))
        self.messages.append(_message("user", content))
        self.written = ""

    def close(self, segment: str) -> None:
        """What the dialect writes behind an output belongs to its message."""
        self.messages[-1]["content"] += segment


def _merged(segments: Sequence[str]) -> list[str]:
    """Neighbours that are not `Control` as one; nothing that is empty."""
    merged: list[str] = []
    for segment in filter(None, segments):
        if merged and not isinstance(segment, Control) and not isinstance(merged[-1], Control):
            merged[-1] += segment
        else:
            merged.append(segment)
    return merged


def _of_text(prompt: str) -> list[Message]:
    """Of one plain text. What stands before its header's end is the problem; all of it, where it has no header."""
    if not prompt.startswith(_BEFORE) or _BETWEEN not in prompt:
        return [_message("user", prompt.strip())]
    problem, _, written = prompt.removeprefix(_BEFORE).partition(_BETWEEN)
    messages, place = [_message("user", problem.strip())], 0
    for output in _OUTPUT.finditer(written):
        messages += [_said(written[place : output.start()]), _message("user", output[0])]
        place = output.end()
    return [*messages, _said(written[place:])]


def _said(text: str) -> Message:
    """The model's own message: its thinking stays here, as servers' templates leave it out, too."""
    return _message("assistant", _THINKING.sub("", text, count=1) if _THINKING.match(text) else text)


def _message(role: str, content: str) -> Message:
    """A user's holds a problem or an output, in which the server's tokenizer must find no special token."""
    return {"role": role, "content": plain_text([content]) if role == "user" else content.strip()}
