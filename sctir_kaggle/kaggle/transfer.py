"""What the client's uploads do otherwise than it does by itself: whole or not at all, made once, and with one line of progress.

Left alone it would go on without a file that could not be uploaded (2.2.4), and would ask a second time for a version whose
answer was lost, which makes two. Not covered: where an interrupted upload goes on, which the client does by itself.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from types import TracebackType
from typing import Any

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle.client import patiently, said_line, status_of
from sctir_kaggle.types import UserError

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


READY_WITHIN = 3600.0
"""Seconds that Kaggle may take to unpack a new version before the command gives up."""

MISSING = (403, 404)
"""What Kaggle answers for something that is not there; it does not tell strangers' private things from none."""

HARMLESS = "start_blob_upload"
"""The one call within an upload that does no harm when it is made twice."""

Sleep = Callable[[float], None]


def or_none(call: Callable[[], Any], doing: str, *, sleep: Sleep = time.sleep) -> Any:
    """What the call gives; None where Kaggle has no such thing."""
    try:
        return patiently(call, doing, sleep=sleep)
    except UserError as error:
        if status_of(error) in MISSING:
            return None
        raise


@contextmanager
def sending(api: Any, doing: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """While it is open, the client's uploads are strict, its creations are not repeated, and the progress is ours."""
    module = sys.modules[type(api).__module__]
    bar, upload, retry = getattr(module, "tqdm", None), api._upload_file, api.with_retry
    with Progress(doing, len(sizes), sum(sizes.values())) as progress:
        api._upload_file = partial(_strictly, upload, progress, sizes)
        api.with_retry = lambda call, *rest, **options: (
            retry(call, *rest, **options) if getattr(call, "__name__", "") == HARMLESS else call
        )
        module.tqdm = partial(_Bar, progress)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            module.tqdm = bar  # type: ignore[attr-defined]
            del api._upload_file, api.with_retry


def _strictly(
    upload: Callable[..., Any], progress: Progress, sizes: Mapping[str, int], name: str, *rest: Any, **options: Any
) -> Any:
    """The upload of one file; an error where the client would go on without it. What it prints may hold signed addresses."""
    progress.begin(sizes.get(name, 0))
    said = io.StringIO()
    with redirect_stdout(said):
        uploaded = upload(name, *rest, **options)
    if uploaded is None:
        why = said_line(said.getvalue())
        raise UserError(
            f"{name} could not be uploaded{why}, so no version was made: try again, it goes on where it was"
        )
    return uploaded


class _Bar:
    """In the place of the client's own progress bar, which counts what is still to be sent of one file."""

    def __init__(self, progress: Progress, *_: Any, **__: Any) -> None:
        self._progress = progress

    def update(self, count: int) -> None:
        self._progress.add(count)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass
