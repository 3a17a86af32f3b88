"""A file of JSON lines that only grows: one object a line, each on the disk before `write` returns.

Covered: a kill in the middle of a line (`resume` cuts it off), two processes that write one file (the second is refused),
a header that changes (`replace_first`). Not covered: file systems without `flock`, and Windows, where nothing is locked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TextIO

from sctir_kaggle.types import UserError

Json = dict[str, Any]

_CHUNK = 1 << 16


Encode = Callable[[Json], str]


def encoded(line: Json) -> str:
    """`line` as compact JSON with its line end.

    >>> encoded({"answer": 42, "unit": "€"})
    '{"answer":42,"unit":"€"}\\n'
    """
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


class LineWriter:
    """An open, locked file. `encode` makes an object a line with its end.

    `sync` waits for the disk after each write, not only for the system: then a crash of the machine loses nothing either.
    """

    def __init__(self, path: Path, file: TextIO, *, encode: Encode = encoded, sync: bool = True) -> None:
        self.path = path
        self._file = file
        self._encode = encode
        self._sync = sync

    @classmethod
    def create(cls, path: Path, *, encode: Encode = encoded, sync: bool = True) -> LineWriter:
        """Begin a file and its folder. Raises `UserError` where the file exists: nothing is ever overwritten."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise UserError(f"{path} exists; add --resume to go on with that run, or choose another --output") from None
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        return cls._locked(path, file, encode, sync)

    @classmethod
    def resume(cls, path: Path, *, encode: Encode = encoded, sync: bool = True) -> LineWriter:
        """Open a file to append to it, empty where there is none. Raises `UserError` where another process has it open.

        It is locked before its owner reads it, so no other process adds a line from here on. `repair_end` is left to
        the owner, who may refuse the file after reading it.
        """
        try:
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        return cls._locked(path, file, encode, sync)

    @classmethod
    def _locked(cls, path: Path, file: TextIO, encode: Encode, sync: bool) -> LineWriter:
        try:
            lock(path, file)
        except UserError:
            file.close()
            raise
        return cls(path, file, encode=encode, sync=sync)

    def write(self, *lines: Json) -> None:
        """Append `lines` in one piece: all of them or, where the disk is full, nothing."""
        left = memoryview("".join(map(self._encode, lines)).encode("utf-8"))
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        try:
            while left:  # not through the file's buffer, which would keep what did not fit
                left = left[os.write(descriptor, left) :]
            if self._sync:
                os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # not a regular file, or the disk is gone: the first error says more
                os.ftruncate(descriptor, size)
            raise

    def repair_end(self) -> None:
        """Cut off a last line that a kill has torn; a whole one that lacks only its line end gets it.

        Editors and copies leave the line end out. No part of a JSON object is one, so the two cannot be confused.
        """
        with self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            # From the end backwards in chunks: a journal may be gigabytes, a torn line longer than a chunk.
            while end:
                start = max(0, end - _CHUNK)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end = start
            file.seek(end)
            last = file.read()
            if last.strip() and is_whole(last):
                file.write(b"\n")
            else:
                file.truncate(end)

    def replace_first(self, line: Json) -> None:
        """Put `line` in the place of the first one.

        A file can only grow at its end, so a copy is written and takes its place; a kill before that leaves the old file as
        it is. Both are locked while there are two.
        """
        new = self.path.with_suffix(".new")
        file = new.open("w", encoding="utf-8")
        lock(new, file)
        file.write(self._encode(line))
        with self.path.open(encoding="utf-8", newline="") as lines:
            lines.readline()
            shutil.copyfileobj(lines, file)
        self._flush(file)
        os.replace(new, self.path)
        self._file.close()
        self._file = file

    def _flush(self, file: TextIO) -> None:
        file.flush()
        if self._sync:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._file.close()


def is_whole(line: bytes) -> bool:
    """Whether a line is complete: it has its line end, or is JSON without it.

    >>> is_whole(b'{"a":1}'), is_whole(b'{"a":')
    (True, False)
    """
    if line.endswith(b"\n"):
        return True
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def lock(path: Path, file: IO[Any]) -> None:
    """Lock `file` until this process closes it or ends. Raises `UserError` where another process holds the lock."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"another run is writing to {path}; wait for it, or choose another --output") from None
