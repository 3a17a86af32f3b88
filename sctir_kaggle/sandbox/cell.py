"""Runs blocks as a notebook runs cells: one namespace, the last value shown, a short traceback. Lives in the child.

Valid code is compiled as it is, never rewritten. How a block ended is said here by a process that runs the model's
code, so the host believes it only within bounds: everything that matters is enforced from outside.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import io
import json
import linecache
import os
import random
import signal
import struct
import sys
import threading
import traceback
import types
from typing import Any

from sctir_kaggle.sandbox import confinement

_read, _write, _exit = os.read, os.write, os._exit  # bound now: a block may replace the originals

PRELUDE = {"math": "math", "np": "numpy", "sp": "sympy"}
"""Names that every namespace begins with, where the module is installed."""

LINE_LIMIT = 300
MESSAGE_LIMIT = 3000
LAST_FRAMES = 4


class OutOfTime(BaseException):
    """The soft limit: raised inside the block, whose traceback shows where it was. `except Exception` lets it pass."""


class Cell:
    """A candidate's namespace, and how a block runs in it."""

    def __init__(self) -> None:
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.namespace: dict[str, Any] = module.__dict__
        for name, imported in PRELUDE.items():
            if imported in sys.modules:
                self.namespace[name] = sys.modules[imported]
        self._blocks = 0
        vars(builtins).update(exit=sys.exit, quit=sys.exit)  # site's close standard input

    def run(self, code: str, *, request_id: str, seconds: float) -> tuple[str, str]:
        """Run a block: how it ended (`ok`, `error`, `timeout`, `memory`), and its traceback or nothing."""
        seed_all(request_id)
        stdout = sys.stdout = _stdout()
        try:
            try:
                _start_clock(seconds)
                self._run(code, stdout)
            finally:
                _stop_clock()
        except BaseException as error:
            return _verdict(error)
        finally:
            for stream in (sys.stdout, stdout):
                with contextlib.suppress(BaseException):
                    stream.flush()
        return "ok", ""

    def _run(self, code: str, stdout: io.TextIOWrapper) -> None:
        threads = set(threading.enumerate())
        name = self._register(code)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec", dont_inherit=True), self.namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), self.namespace)
            stdout.flush()
            if value is not None and not stdout.buffer.raw.written:  # type: ignore[attr-defined]
                print(repr(value))
        for thread in set(threading.enumerate()) - threads:
            if not thread.daemon:  # a script, too, waits for its threads
                thread.join()

    def _register(self, code: str) -> str:
        """Give the block a file name by which tracebacks and `inspect` find its lines; earlier blocks keep theirs."""
        self._blocks += 1
        name = "<cell>" if self._blocks == 1 else f"<cell {self._blocks}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        return name


class _CountingFile(io.FileIO):
    """A descriptor that knows whether anything was written to it."""

    written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        return super().write(data)


def _stdout() -> io.TextIOWrapper:
    """A new standard output for each block: whatever the last one did to its own is undone. Lines survive a kill."""
    raw = io.BufferedWriter(_CountingFile(1, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def seed_all(request_id: str) -> None:
    """Seed what a fork would otherwise share; unseeded `numpy.random.default_rng()` and `os.urandom` stay random."""
    seed = int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=4).digest(), "big")
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].seed(seed)


def _start_clock(seconds: float) -> None:
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    confinement.limit_cpu(seconds + 1)


def _stop_clock() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(signum: int, frame: object) -> None:
    raise OutOfTime


def _verdict(error: BaseException) -> tuple[str, str]:
    if isinstance(error, MemoryError):
        confinement.spend_spare_memory()
        return "memory", format_frames(error)
    if isinstance(error, OutOfTime):
        return "timeout", format_frames(error)
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "ok", ""
    return "error", format_frames(error) + _message(error)


def format_frames(error: BaseException) -> str:
    """The traceback above the exception line, from the block's first line on; the middle of a long one is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    start = next((index for index, frame in enumerate(frames) if frame.filename.startswith("<cell")), None)
    if start is None:  # the block did not compile: its exception line says all
        return ""
    shown = [_format_frame(frame) for frame in frames[start:] if frame.filename != __file__]
    if len(shown) > LAST_FRAMES + 2:
        shown[1:-LAST_FRAMES] = ["  ...\n"]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _format_frame(frame: traceback.FrameSummary) -> str:
    roots = [root for root in sys.path if root and frame.filename.startswith(root + os.sep)]
    name = frame.filename[len(max(roots, key=len)) + 1 :] if roots else frame.filename
    line = f"    {frame.line[:LINE_LIMIT]}\n" if frame.line else ""
    return f'  File "{name}", line {frame.lineno}, in {frame.name}\n{line}'


def _message(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(type(error), error))
    half = MESSAGE_LIMIT // 2
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} ... {text[-half:]}"


def serve(channel: int) -> None:
    """Answer requests until the channel closes. A frame is four bytes of length, then a payload.

    The first frame, an empty one, says "ready"; then JSON comes in, and a status, a line end and a text go out.
    """
    cell = Cell()
    _send(channel, b"")
    while True:
        (length,) = struct.unpack("!I", _receive(channel, 4))
        request = json.loads(_receive(channel, length))
        status, text = cell.run(request["code"], request_id=request["request_id"], seconds=request["seconds"])
        _send(channel, f"{status}\n{text}".encode("utf-8", "backslashreplace"))


def _receive(channel: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = _read(channel, length - len(data))
        if not chunk:
            _exit(0)
        data += chunk
    return bytes(data)


def _send(channel: int, payload: bytes) -> None:
    data = struct.pack("!I", len(payload)) + payload
    while data:
        data = data[_write(channel, data) :]
