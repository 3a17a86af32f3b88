"""Standard output and error of a block: new for each, so that whatever the last one did to its own is undone."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


class _CountingFile(io.FileIO):
    """A descriptor that knows whether anything was written to it."""

    written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        return super().write(data)


class Streams:
    """The pair of a block. Lines survive a kill: each is written at once."""

    def __init__(self) -> None:
        self._out, self._error = _CountingFile(1, "w", closefd=False), _CountingFile(2, "w", closefd=False)
        self._own = [_text(self._out), _text(self._error)]
        sys.stdout, sys.stderr = self._own

    def any_output(self) -> bool:
        """Whether the block has printed anything; its standard error does not count."""
        with contextlib.suppress(ValueError):  # closed
            self._own[0].flush()
        return self._out.written > 0

    def finish(self) -> None:
        """Write out what is left, in the block's own streams or in those that it put in their place."""
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.set_blocking(descriptor, True)
        for stream in (sys.stdout, sys.stderr, *self._own):
            with contextlib.suppress(BaseException):
                stream.flush()


def _text(file: _CountingFile) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace", line_buffering=True)
