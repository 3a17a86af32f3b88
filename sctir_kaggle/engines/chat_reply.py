"""A chat server's reply: its content, what it keeps apart as reasoning, and the calls of tools that it parsed.

Covered: pieces of all three in any order, several calls by index, `function_call` of the older API, arguments as JSON text,
as an object or as bare code, and both names of the reasoning's field (`reasoning_content`, `reasoning`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sctir_kaggle.engines.openai_reply import Reply

THINK, END_THINK = "<think>", "</think>"


@dataclass(slots=True)
class Call:
    """One call of a tool, as far as it has arrived. `arguments` is JSON, or whatever the model wrote in its place."""

    name: str = ""
    arguments: str = ""

    def add(self, function: dict[str, Any]) -> None:
        """The next piece: a name comes whole, arguments in parts, unless they are an object."""
        self.name = function.get("name") or self.name
        arguments = function.get("arguments")
        self.arguments += (
            arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        )

    @property
    def code(self) -> str | None:
        """The Python in its arguments: the one named `code`, or the only one that is a text; None where there is none."""
        try:
            arguments = json.loads(self.arguments, strict=False)
        except ValueError:
            return self.arguments if self.arguments.strip() and not self.arguments.lstrip().startswith("{") else None
        if isinstance(arguments, dict):
            texts = [value for value in arguments.values() if isinstance(value, str)]
            arguments = arguments.get("code", texts[0] if len(arguments) == len(texts) == 1 else None)
        return arguments if isinstance(arguments, str) else None

    def __str__(self) -> str:
        """As text, for a call that holds no code."""
        return f"<tool_call>\n{self.name} {self.arguments}\n</tool_call>"


@dataclass(slots=True)
class ChatReply(Reply):
    """A `Reply` whose choices hold messages, or pieces of one; `text` is the content alone."""

    reasoning: str = ""
    calls: dict[int, Call] = field(default_factory=dict)

    def _add(self, choice: dict[str, Any]) -> None:
        said = choice.get("delta") or choice.get("message") or {}
        if not self.cut:
            reasoning = said.get("reasoning_content") or said.get("reasoning")
            self.reasoning += reasoning if isinstance(reasoning, str) else ""
            added = self._add_calls(said) or bool(reasoning)
            self.chunks += added and not said.get("content")
        Reply._add(self, {**choice, "text": said.get("content")})

    def _add_calls(self, said: dict[str, Any]) -> bool:
        """True where `said` holds pieces of calls. One without an index continues the last, unless it has an id."""
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
        """Whether it calls a tool with code."""
        return any(call.code is not None for call in self.calls.values())

    def call_blocks(self) -> list[str]:
        """Each call as a fenced block of its code, in order; one without code as text."""
        calls = [call for _, call in sorted(self.calls.items())]
        return [str(call) if call.code is None else "```python\n" + call.code.strip("\n") + "\n```" for call in calls]

    def thinking(self, content: str) -> str:
        """What to put in front of `content`: the reasoning, which stays open where nothing follows it."""
        reasoning = self.reasoning.strip("\n")
        if not reasoning.strip():
            return ""
        return f"{THINK}\n{reasoning}\n" + (f"{END_THINK}\n\n" if content.strip() else "")
