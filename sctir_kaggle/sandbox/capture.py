"""What a block prints: bounded, valid, harmless. It is never parsed."""

from __future__ import annotations

import re

_ANSI = r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
_DIRECTIONS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNPRINTABLE = re.compile(_ANSI + rf"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_DIRECTIONS}]")


def clean(data: bytes) -> str:
    """Text that is valid and harmless: no NUL, no ANSI escapes, no other control characters, no lone surrogates."""
    return _UNPRINTABLE.sub("", data.decode("utf-8", "replace"))


class Capture:
    """The head and the tail of what is printed, `limit` bytes each, and the count of all of it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.total = limit, 0
        self._head, self._tail = bytearray(), bytearray()

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self.limit]

    def text(self) -> str:
        left_out = self.total - len(self._head) - len(self._tail)
        mark = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
        return clean(bytes(self._head + mark + self._tail))
