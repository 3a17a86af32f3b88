"""Any OpenAI-compatible chat server as an `Engine`: an instruction asks its model for NuminaMath's format.

A prompt becomes messages: the instruction, the problem, then alternately the model's text and its code's output. A reply
becomes the continuation of the prompt: if it ends with a block of code, whether at the stop string or by the model's own
end, or calls any tool with code in its arguments, it ends with the fence of an output, so that the code is run. Reasoning
that the server returns separately is kept in the text between `<think>` and `</think>`, and is not sent again. Retries,
pauses and limits are those of `OpenAIEngine`.

Covered: prompts of the dialect `chat-server`, in segments, and their plain text. Not covered: the forced box with servers
other than vLLM's, since few continue an assistant's message; the token counts of a server that ignores the stop string,
whose stream is closed before they come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sctir_kaggle.dialects.fences import python_code
from sctir_kaggle.dialects.rows import CHAT, CHAT_SERVER, CLOSE_FENCE, HEADER, OUTPUT_FENCE
from sctir_kaggle.engines.openai import OpenAIEngine, Request
from sctir_kaggle.engines.openai_reply import Reply, text_of
from sctir_kaggle.engines.openai_server import Server, extra_fields, seed_for, stop_strings, without_unknown
from sctir_kaggle.engines.plain_text import plain_text
from sctir_kaggle.types import Completion, Control, Prompt

__all__ = ["INSTRUCTION", "ChatEngine", "ChatReply", "Message", "messages_of"]

INSTRUCTION = CHAT.system or ""
"""The system message, which asks for reasoning, code in Python blocks and a final box."""

Message = dict[str, str]

_BEFORE, _BETWEEN = HEADER.split("{problem}")
_OUTPUT = re.compile(re.escape(OUTPUT_FENCE) + "(?:.*?)" + re.escape(CLOSE_FENCE), re.DOTALL)
_THINKING = re.compile(r"\s*<think>(?:.*?</think>|.*)", re.DOTALL)


class ChatEngine(OpenAIEngine):
    """See `OpenAIEngine`; `open` it without a tokenizer. An option with the value None removes its field from requests."""

    path = "/chat/completions"
    other = "openai"
    instruction = INSTRUCTION
    dialect = CHAT_SERVER

    def describe(self) -> dict[str, str | int]:
        """Return the facts for a journal's header, with the instruction."""
        return {**super().describe(), "engine": "chat", "instruction": self.instruction}

    def _reply(self, stop: Sequence[str]) -> Reply:
        return ChatReply(stop)

    def _body(self, server: Server, request: Request) -> dict[str, Any]:
        params, messages = request.params, messages_of(request.segments, self.instruction)
        goes_on = server.asked.continuing if messages[-1]["role"] == "assistant" else {}
        body = {
            "model": self._model,
            "messages": messages,
            server.limit_field: request.limit,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop": stop_strings(server, params) or None,
            "seed": None if params.seed is None else seed_for(server, params.seed),
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra_fields(server, params),
            **goes_on,
            **self._options,
        }
        return without_unknown(server, body)

    def _completion(self, request: Request, reply: Reply) -> Completion:
        """Convert the reply to a continuation of the prompt: on a new line after an output, up to the next output's fence."""
        assert isinstance(reply, ChatReply)
        completion = super()._completion(request, reply)
        content, calls = completion.text.lstrip(), reply.call_blocks()
        whole = completion.finish_reason == "stop" and OUTPUT_FENCE in request.params.stop
        hands_over = whole and (reply.calls_code or _ends_in_code(content))
        if calls or hands_over:
            blocks = [content.rstrip(), *calls] if calls else [_up_to_code(content)]
            content = "\n\n".join(filter(None, blocks)) + ("\n" + OUTPUT_FENCE if hands_over else "")
        follows = "".join(map(str, request.segments)).endswith(CLOSE_FENCE)
        text = ("\n" if follows else "") + reply.thinking(content) + content
        return replace(completion, text=text, stop_reason=OUTPUT_FENCE if hands_over else completion.stop_reason)


def _ends_in_code(text: str) -> bool:
    return _up_to_code(text).endswith("```") and python_code(_up_to_code(text)) is not None


def _up_to_code(text: str) -> str:
    """`text` without a fence of an output at its end, or the part of one that the server left."""
    return text.rstrip().removesuffix(OUTPUT_FENCE.rstrip()).rstrip()


def messages_of(prompt: Prompt | str, instruction: str = INSTRUCTION) -> list[Message]:
    """Convert `prompt` to messages. A prompt without `Control` is the problem, or a whole prompt in NuminaMath's format."""
    segments = [prompt] if isinstance(prompt, str) else [part for part in prompt if isinstance(part, str)]
    marked = any(isinstance(segment, Control) for segment in segments)
    said = _of_segments(segments) if marked else _of_text("".join(segments))
    return [message for message in (_message("system", instruction), *said) if message["content"]]


def _of_segments(segments: Sequence[str]) -> list[Message]:
    """Messages of a prompt in segments.

    The first segment that is not `Control` is the problem; a later one is an output if the text before it ends with an
    output's opening fence. `opening` is the fixed text that the next segment begins with, which is not the model's.
    """
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
    """The messages so far, and the model's text since the last of them."""

    messages: list[Message] = field(default_factory=list)
    written: str = ""

    def add_user(self, content: str) -> None:
        """Add a problem or an output, which ends the model's message. Text before the problem is not the model's."""
        if self.messages:
            self.messages.append(_said(self.written.removesuffix(OUTPUT_FENCE)))
        self.messages.append(_message("user", content))
        self.written = ""

    def close(self, segment: str) -> None:
        """Add the fixed text after an output to the output's message."""
        self.messages[-1]["content"] += segment


def _merged(segments: Sequence[str]) -> list[str]:
    """Join neighbouring segments that are not `Control`, and drop empty ones."""
    merged: list[str] = []
    for segment in filter(None, segments):
        if merged and not isinstance(segment, Control) and not isinstance(merged[-1], Control):
            merged[-1] += segment
        else:
            merged.append(segment)
    return merged


def _of_text(prompt: str) -> list[Message]:
    """Messages of a prompt in one plain text: the problem up to the end of NuminaMath's header, or all of it without one."""
    if not prompt.startswith(_BEFORE) or _BETWEEN not in prompt:
        return [_message("user", prompt.strip())]
    problem, _, written = prompt.removeprefix(_BEFORE).partition(_BETWEEN)
    messages, place = [_message("user", problem.strip())], 0
    for output in _OUTPUT.finditer(written):
        messages += [_said(written[place : output.start()]), _message("user", output[0])]
        place = output.end()
    return [*messages, _said(written[place:])]


def _said(text: str) -> Message:
    """An assistant's message, without its reasoning: chat templates remove that from earlier turns, too."""
    return _message("assistant", _THINKING.sub("", text, count=1) if _THINKING.match(text) else text)


def _message(role: str, content: str) -> Message:
    """A message. A user's holds a problem or an output, in which the server's tokenizer must find no special token."""
    return {"role": role, "content": plain_text([content]) if role == "user" else content.strip()}


THINK, END_THINK = "<think>", "</think>"


@dataclass(slots=True)
class Call:
    """One tool call, as far as it has arrived. `arguments` is JSON, or whatever the model wrote in its place."""

    name: str = ""
    arguments: str = ""

    def add(self, function: dict[str, Any]) -> None:
        """Add a piece of a stream: the name comes whole, the arguments in parts or as one object."""
        self.name = function.get("name") or self.name
        arguments = function.get("arguments")
        self.arguments += (
            arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        )

    @property
    def code(self) -> str | None:
        """The Python in the arguments: the one named `code`, or the only one if it is a string; None if there is none."""
        try:
            arguments = json.loads(self.arguments, strict=False)
        except ValueError:
            return self.arguments if self.arguments.strip() and not self.arguments.lstrip().startswith("{") else None
        if isinstance(arguments, dict):
            texts = [value for value in arguments.values() if isinstance(value, str)]
            arguments = arguments.get("code", texts[0] if len(arguments) == len(texts) == 1 else None)
        return arguments if isinstance(arguments, str) else None

    def __str__(self) -> str:
        """The call as text, for one without code."""
        return f"<tool_call>\n{self.name} {self.arguments}\n</tool_call>"


@dataclass(slots=True)
class ChatReply(Reply):
    """A `Reply` whose choices hold messages or deltas; `text` is the content alone."""

    reasoning: str = ""
    calls: dict[int, Call] = field(default_factory=dict)

    def _add(self, choice: dict[str, Any]) -> None:
        said = choice.get("delta") or choice.get("message") or {}
        if not self.cut:
            reasoning = text_of(said.get("reasoning_content") or said.get("reasoning") or said.get("thinking"))
            self.reasoning += reasoning
            added = self._add_calls(said) or bool(reasoning)
            self.chunks += added and not said.get("content")
        Reply._add(self, {**choice, "text": text_of(said.get("content")) or choice.get("text") or ""})

    def _add_calls(self, said: dict[str, Any]) -> bool:
        """Add pieces of tool calls; True if there were any. A piece without an index continues the last call, unless it
        has an id of its own."""
        for piece in said.get("tool_calls") or ():
            last = max(self.calls, default=-1)
            place = piece.get("index")
            if place is None:
                place = last + 1 if piece.get("id") or last < 0 else last
            self.calls.setdefault(place, Call()).add(piece.get("function") or {})
        if function := said.get("function_call"):
            self.calls.setdefault(0, Call()).add(function)
        return bool(said.get("tool_calls") or function)

    @property
    def calls_code(self) -> bool:
        """Whether any tool call holds code."""
        return any(call.code is not None for call in self.calls.values())

    def call_blocks(self) -> list[str]:
        """Return each call as a fenced block of its code, in order; one without code as text."""
        calls = [call for _, call in sorted(self.calls.items())]
        return [str(call) if call.code is None else "```python\n" + call.code.strip("\n") + "\n```" for call in calls]

    def thinking(self, content: str) -> str:
        """Return the reasoning as a prefix of `content`; its tag stays open where no content follows."""
        reasoning = self.reasoning.strip("\n")
        if not reasoning.strip():
            return ""
        return f"{THINK}\n{reasoning}\n" + (f"{END_THINK}\n\n" if content.strip() else "")
