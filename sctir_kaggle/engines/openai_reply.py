"""One completion as an OpenAI-compatible server streams it: server-sent events in; text, token ids and counts out.

Covered: pieces that end anywhere, comments, a server that gives no usage, no token ids or no `[DONE]`, one that ignores
`stream` (its whole answer is one event), vLLM's `stop_reason`, SGLang's `matched_stop`, llama.cpp's `timings`, and the words
that servers have for why they ended, none at all included. Not covered: events of several data lines, which no server sends,
and more than one choice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FINISHES = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"), "stop"),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
}
"""Finish reasons of various servers, in lower case, as `stop` or `length`. Any other means that the reply is incomplete."""


class BrokenReply(Exception):
    """The reply is not a completion, or only the beginning of one: the request may be sent again."""


class ErrorReply(Exception):
    """The server reported an error inside a stream of status 200. `status` is its code, as of an HTTP status."""

    def __init__(self, error: Any) -> None:
        super().__init__(json.dumps(error))
        code = error.get("code") if isinstance(error, dict) else None
        self.status = code if isinstance(code, int) else 500


class Lines:
    """Splits pieces of bytes into whole lines.

    Only a line feed ends a line: `str.splitlines` also splits at U+2028 and others, which completions may contain.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that `piece` completes, without their line ends."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [line.removesuffix(b"\r") for line in lines]


@dataclass(slots=True)
class Reply:
    """The reply of a server so far.

    `stop` are stop strings to search for here, where the server does not say which one it hit; `cut` is True once one was
    found. `stop_reason` is a stop string or a token id. `chunks` counts the events with text, about one per token;
    `tokens`, `prompt_tokens` and `cached_tokens` are None until the server gives them. `done`: the end marker has come.
    `assumed`: the reply ended without a finish reason.
    """

    stop: Sequence[str] = ()
    text: str = ""
    ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    chunks: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    done: bool = False
    cut: bool = False
    assumed: bool = False

    def add_line(self, line: bytes) -> None:
        """Add one line of the event stream. Raises `BrokenReply` if it is garbage, `ErrorReply` if it is an error."""
        if not line.startswith(b"data:"):  # an event's end or name, or a comment that keeps the connection alive
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
        else:
            self.add_json(data)

    def add_json(self, data: bytes) -> None:
        """Add one event, or a whole reply that was not streamed."""
        try:
            event = json.loads(data)
            if error := event.get("error"):
                raise ErrorReply(error)
            self._count(event)
            for choice in event.get("choices") or ():
                self._add(choice)
        except (ValueError, TypeError, AttributeError) as error:
            raise BrokenReply(f"an event that is no completion: {data[:100]!r}") from error

    def check_whole(self) -> None:
        """Raise `BrokenReply` if the stream ended before the completion did, `ErrorReply` if a content filter ended it."""
        if self.finish_reason is None and self.done and self.chunks:
            self.finish_reason, self.assumed = "stop", True  # some servers give no reason, but mark the end
        if self.finish_reason is None:
            raise BrokenReply(f"the stream ended after {self.chunks} pieces of text, without a finish_reason")
        if self.finish_reason == "content_filter":
            raise ErrorReply({"code": 400, "message": "the server's content filter ended the reply"})
        if self.finish_reason not in FINISHES:
            raise BrokenReply(f"the server ended the request with {self.finish_reason!r}")

    def finish(self, tokens: int, limit: int) -> str:
        """Return `stop` or `length` for a whole reply of `tokens` tokens, of at most `limit`."""
        if self.assumed and tokens >= limit:
            return "length"
        return FINISHES[self.finish_reason or "stop"]

    def _add(self, choice: dict[str, Any]) -> None:
        if delta := choice.get("text"):
            self.chunks += 1
            self._append(delta)
        if not self.cut:
            self.ids += choice.get("token_ids") or ()
            self.finish_reason = str(choice.get("finish_reason") or self.finish_reason or "").lower() or None
            said = choice.get("stop_reason", choice.get("matched_stop"))
            self.stop_reason = said if isinstance(said, (str, int)) else self.stop_reason

    def _append(self, delta: str) -> None:
        """Append `delta` up to the first stop string, which may have begun in the text before."""
        searched = max(0, len(self.text) - max(map(len, self.stop), default=0) + 1)
        self.text += delta
        ends = [(at + len(string), string) for string in self.stop if (at := self.text.find(string, searched)) >= 0]
        if ends:
            end, self.stop_reason = min(ends)
            self.text, self.finish_reason, self.cut = self.text[:end], "stop", True

    def _count(self, event: dict[str, Any]) -> None:
        if usage := event.get("usage"):
            self.tokens, self.prompt_tokens = usage.get("completion_tokens"), usage.get("prompt_tokens")
            self.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        elif timings := event.get("timings"):
            self.tokens, self.cached_tokens = timings.get("predicted_n"), timings.get("cache_n", 0)
            self.prompt_tokens = timings.get("prompt_n", 0) + self.cached_tokens
