"""Moving large files: sizes, hashes, a progress line, and uploads by the kaggle client that fail loudly.

Left alone, the client (2.2.4) goes on without a file that it could not upload, and repeats the request for a new version
if the answer was lost, which makes two versions. `strict_uploads` prevents both. Not covered: resuming an interrupted upload,
which the client does by itself.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from sctir_kaggle.display import can_redraw, clock_face
from sctir_kaggle.kaggle.client import last_line_of
from sctir_kaggle.types import UserError

CHUNK = 1 << 20
"""Bytes that are read or written at once."""

REDRAW_SECONDS = 0.2
"""Between two drawings of the progress line in a terminal."""

LOG_SECONDS = 10.0
"""Between two progress lines if the output is no terminal."""

READY_WITHIN = 3600.0
"""Seconds that Kaggle may take to process a new version before a command gives up."""

IDEMPOTENT = "start_blob_upload"
"""The only request of an upload that may be repeated."""


def size_text(size: float) -> str:
    """Format bytes in decimal units, as Kaggle does.

    >>> size_text(5_200_000_000), size_text(17_000), size_text(12)
    ('5.2 GB', '17.0 kB', '12 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def file_hash(path: Path, digest: Any = None, *, on_read: Callable[[int], None] = lambda _: None) -> str:
    """Return the hexadecimal hash of a file: SHA-256, or what `digest` (a hashlib object) has begun.

    `on_read` is called with the number of bytes of each piece.
    """
    digest = digest or hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            on_read(len(piece))
    return str(digest.hexdigest())


class Progress:
    """A progress line for `files` files of `total` bytes together.

    A context manager: call `begin` for each file, then `add` for each piece of it.
    """

    def __init__(self, doing: str, files: int, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing, self._files, self._total, self._clock = doing, files, total, clock
        self._out = sys.stdout  # the real one: during an upload stdout is redirected
        self._number = self._before = self._within = self._size = self._moved = 0
        self._started = clock()
        self._drawn = self._started

    def begin(self, size: int) -> None:
        """Begin the next file, of `size` bytes; the files before it are complete."""
        self._before += self._size
        self._number, self._size, self._within = self._number + 1, size, 0
        self._draw()

    def add(self, count: int, *, moved: bool = True) -> None:
        """Count more bytes of the current file; bytes of an earlier attempt (not `moved`) do not count for the rate."""
        self._within += count
        self._moved += count if moved else 0
        self._draw()

    def rewind(self) -> None:
        """Count the current file from its beginning again."""
        self._within = 0

    def line(self) -> str:
        """Return the text of the progress line."""
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
        if can_redraw(self._out):
            print(f"\r\x1b[K{self.line()}", file=self._out, flush=True)

    def _draw(self) -> None:
        terminal, now = can_redraw(self._out), self._clock()
        if now - self._drawn < (REDRAW_SECONDS if terminal else LOG_SECONDS):
            return
        self._drawn = now
        print(f"\r\x1b[K{self.line()}" if terminal else self.line(), end="" if terminal else "\n", file=self._out)
        self._out.flush()


@contextmanager
def strict_uploads(api: Any, doing: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """Patch the client: a file that fails ends the upload, no version is requested twice, and our progress line is shown.

    `sizes` holds the bytes of each file by name. The client offers no hook for any of the three.
    """
    module = sys.modules[type(api).__module__]
    bar, upload, retry = getattr(module, "tqdm", None), api._upload_file, api.with_retry
    with Progress(doing, len(sizes), sum(sizes.values())) as progress:
        api._upload_file = partial(_upload_or_raise, upload, progress, sizes)
        api.with_retry = lambda call, *rest, **options: (
            retry(call, *rest, **options) if getattr(call, "__name__", "") == IDEMPOTENT else call
        )
        module.tqdm = partial(_Bar, progress)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            module.tqdm = bar  # type: ignore[attr-defined]
            del api._upload_file, api.with_retry


def _upload_or_raise(
    upload: Callable[..., Any], progress: Progress, sizes: Mapping[str, int], name: str, *rest: Any, **options: Any
) -> Any:
    progress.begin(sizes.get(name, 0))
    printed = io.StringIO()
    with redirect_stdout(printed):  # it may print signed URLs
        uploaded = upload(name, *rest, **options)
    if uploaded is None:
        why = last_line_of(printed.getvalue())
        raise UserError(
            f"{name} could not be uploaded{why}, so no version was made: try again, it resumes where it stopped"
        )
    return uploaded


class _Bar:
    """Takes the place of tqdm in the client, which counts the bytes sent of one file."""

    def __init__(self, progress: Progress, *_: Any, **__: Any) -> None:
        self._progress = progress

    def update(self, count: int) -> None:
        self._progress.add(count)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass
