"""One completion as an OpenAI-compatible server streams it: server-sent events in; text, token ids and counts out.

Covered: pieces that end anywhere, comments, a server that gives no usage, no token ids or no `[DONE]`, one that ignores
`stream` (its whole answer is one event), vLLM's `stop_reason`, SGLang's `matched_stop`, llama.cpp's `timings`, and the words
that servers have for why they ended, none at all included. Not covered: events of several data lines, which no server sends,
and more than one choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_LENGTH = {
    *("length", "maxtokens", "maxlength", "modellength", "contextlength", "limit", "toolong", "outputlimit"),
    *("maxpredictedtokensreached", "contextlengthreached", "maxnewtokens", "maxtokensreached", "tokenlimit"),
}
_FILTERED = {"contentfilter", "safety", "recitation", "blocklist", "prohibitedcontent", "refusal", "sensitive", "spii"}
_INCOMPLETE = {
    *("abort", "aborted", "cancel", "cancelled", "canceled", "error", "failed", "failure", "timeout", "disconnect"),
    *("load", "unload", "modelunloaded", "userstopped", "overloaded", "insufficientsystemresource", "networkerror"),
}

Finish = Literal["stop", "length", "filtered", "incomplete"]


def finish_of(word: str) -> Finish:
    """Sort a server's word for why it ended, in any spelling. A word that is not known is an end: servers invent them.

    >>> [finish_of(word) for word in ("eos_token", "stop_str", "MAX_TOKENS", "abort")]
    ['stop', 'stop', 'length', 'incomplete']
    """
    letters = re.sub(r"[^a-z]", "", word.lower())
    if letters in _LENGTH:
        return "length"
    if letters in _FILTERED:
        return "filtered"
    return "incomplete" if letters in _INCOMPLETE else "stop"


class BrokenReply(Exception):
    """The reply is not a completion, or only the beginning of one: the request may be sent again."""


class ErrorReply(Exception):
    """The server reported an error inside a stream of status 200. `status` is its code, as of an HTTP status."""

    def __init__(self, error: Any) -> None:
        super().__init__(json.dumps(error))
        codes = [str(error.get(name)) for name in ("code", "status", "status_code")] if isinstance(error, dict) else []
        found = [int(code) for code in codes if code.isdecimal() and 400 <= int(code) < 600]
        self.status = found[0] if found else 500


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
    `tokens`, `prompt_tokens` and `cached_tokens` are None until the server gives them. `events` counts all events. `done`:
    the end has been marked, by `[DONE]` or by the counts that follow the last choice. `assumed`: the reply ended without a
    finish reason. `unmarked`: the end of the stream is the reply's, since this server never marks it.
    """

    stop: Sequence[str] = ()
    text: str = ""
    ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    chunks: int = 0
    events: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    done: bool = False
    cut: bool = False
    assumed: bool = False
    unmarked: bool = False

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
        self.events += 1
        try:
            event = json.loads(data)
            if error := event.get("error"):
                raise ErrorReply(error)
            choices = event.get("choices") or ()
            if not choices and (event.get("object") == "error" or "detail" in event):
                raise ErrorReply(event)
            self._count(event)
            for choice in choices:
                self._add(choice)
            self.done |= not choices and bool(event.get("usage") and (self.chunks or self.finish_reason))
        except (ValueError, TypeError, AttributeError) as error:
            raise BrokenReply(f"an event that is no completion: {data[:100]!r}") from error

    def add_body(self, body: bytes) -> None:
        """Add a body that is not declared as a stream: one JSON object, or the events of a stream all the same."""
        if body.lstrip().startswith((b"data:", b"event:", b":")):
            for line in Lines().feed(body + b"\n"):
                self.add_line(line)
            return
        self.add_json(body)
        self.done |= bool(self.chunks)

    def check_whole(self) -> None:
        """Raise `BrokenReply` if the stream ended before the completion did, `ErrorReply` if a content filter ended it."""
        if self.finish_reason is None and (self.done or self.unmarked) and self.chunks:
            self.finish_reason, self.assumed = "stop", True  # some servers give no reason, but mark the end
        if self.finish_reason is None:
            raise BrokenReply(f"the stream ended after {self.chunks} pieces of text, without a finish_reason")
        kind = finish_of(self.finish_reason)
        if kind == "filtered":
            raise ErrorReply({"code": 400, "message": "the server's content filter ended the reply"})
        if kind == "incomplete":
            raise BrokenReply(f"the server ended the request with {self.finish_reason!r}")

    @property
    def is_whole(self) -> bool:
        """Whether a finish reason has come that ends a completion: what may follow are counts."""
        return self.finish_reason is not None and finish_of(self.finish_reason) in ("stop", "length")

    def finish(self, tokens: int, limit: int) -> str:
        """Return `stop` or `length` for a whole reply of `tokens` tokens, of at most `limit`."""
        if self.assumed and tokens >= limit:
            return "length"
        return finish_of(self.finish_reason or "stop")

    def _add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("text")
        if delta is None:  # some servers stream a chat's pieces for a text completion, too
            delta = text_of((choice.get("delta") or choice.get("message") or {}).get("content"))
        if delta:
            self.chunks += 1
            self._append(delta)
        if not self.cut:
            self.ids += choice.get("token_ids") or ()
            self.finish_reason = str(choice.get("finish_reason") or self.finish_reason or "") or None
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
        usage, timings = event.get("usage"), event.get("timings")
        if isinstance(usage, dict):
            self.tokens, self.prompt_tokens = _count_of(usage, "completion_tokens"), _count_of(usage, "prompt_tokens")
            self.cached_tokens = _count_of(usage.get("prompt_tokens_details"), "cached_tokens")
        elif isinstance(timings, dict):
            self.tokens, self.cached_tokens = _count_of(timings, "predicted_n"), _count_of(timings, "cache_n") or 0
            self.prompt_tokens = (_count_of(timings, "prompt_n") or 0) + self.cached_tokens


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts; parts of other kinds are left out."""
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _count_of(counts: Any, name: str) -> int | None:
    count = counts.get(name) if isinstance(counts, dict) else None
    return int(count) if isinstance(count, (int, float)) and count >= 0 else None
