"""How far a transfer is, in one line: which file of how many, bytes of all bytes, the rate, the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from sctir_kaggle.display import clock_face

DRAWN_EVERY = 0.2
"""Seconds between two drawings of the line in a terminal."""

WRITTEN_EVERY = 10.0
"""Seconds between two lines where the output is no terminal."""


def size_text(size: float) -> str:
    """`5.2 GB`, `17.0 kB`, `12 B`: decimal units, as shops and Kaggle count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


class Progress:
    """Of `files` files with `total` bytes. Call `begin` for each file, then `add` for each piece; a context manager."""

    def __init__(self, doing: str, files: int, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing, self._files, self._total, self._clock = doing, files, total, clock
        self._out = sys.stdout  # what prints while a transfer runs is caught elsewhere
        self._number = self._before = self._within = self._size = self._moved = 0
        self._started = clock()
        self._shown = self._started

    def begin(self, size: int) -> None:
        """The next file, of `size` bytes: those before it are whole."""
        self._before += self._size
        self._number, self._size, self._within = self._number + 1, size, 0
        self._draw()

    def add(self, count: int, *, moved: bool = True) -> None:
        """`count` more bytes of the file are there; not `moved` are those of an earlier try, which say nothing of the rate."""
        self._within += count
        self._moved += count if moved else 0
        self._draw()

    def rewind(self) -> None:
        """The file is counted from its beginning once more."""
        self._within = 0

    def line(self) -> str:
        """What is drawn."""
        done = min(self._total, self._before + self._within)
        parts = [self._doing, f"file {self._number} of {self._files}", f"{size_text(done)} of {size_text(self._total)}"]
        seconds = self._clock() - self._started
        if self._moved and seconds > 0:
            rate = self._moved / seconds
            parts += [f"{size_text(rate)}/s", f"left {clock_face((self._total - done) / rate)}"]
        return " | ".join(parts)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._out.isatty():
            print(f"\r\x1b[K{self.line()}", file=self._out, flush=True)

    def _draw(self) -> None:
        terminal, now = self._out.isatty(), self._clock()
        if now - self._shown < (DRAWN_EVERY if terminal else WRITTEN_EVERY):
            return
        self._shown = now
        print(f"\r\x1b[K{self.line()}" if terminal else self.line(), end="" if terminal else "\n", file=self._out)
        self._out.flush()
