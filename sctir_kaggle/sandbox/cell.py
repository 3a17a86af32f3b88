"""Run blocks as a notebook runs cells: one namespace, the last value shown, a short traceback. Runs in the child.

Valid code is compiled as it is, never rewritten. The status of a block is reported by the same process that runs
model-generated code, so the host trusts it only within bounds: whatever matters is enforced from outside.
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
import types
from typing import Any

from sctir_kaggle.sandbox import limits
from sctir_kaggle.sandbox.tracebacks import format_frames, install_hooks, message

# Bound here, since a block may replace the originals and still expect its reply to arrive.
_read, _write, _exit, _loads = os.read, os.write, os._exit, json.loads
_pack, _unpack = struct.Struct("!I").pack, struct.Struct("!I").unpack

PRELUDE = {"math": "math", "np": "numpy", "sp": "sympy"}
"""Names that every namespace begins with, where their module is installed: models use them without the import."""


def serve(channel: int) -> None:
    """Answer requests on the descriptor `channel` until the host closes it; never returns.

    A frame is four bytes of length (big-endian), then a payload. The first frame, an empty one, says "ready". A request
    is two frames: JSON with `code`, `request_id` and `seconds`, then a random token. The reply is one frame: the token, a
    status, a line feed, a text. The token stays unread in the socket while the block runs, so nothing that the block
    writes to this descriptor by accident is taken for a reply.
    """
    cell = Cell()
    _send(channel, b"")
    while True:
        request = _loads(_frame(channel))
        status, text = cell.run(request["code"], request_id=request["request_id"], seconds=request["seconds"])
        _send(channel, _frame(channel) + f"{status}\n{text}".encode("utf-8", "backslashreplace"))


def _frame(channel: int) -> bytes:
    (length,) = _unpack(_receive(channel, 4))
    return _receive(channel, length)


def _receive(channel: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = _read(channel, length - len(data))
        if not chunk:
            _exit(0)
        data += chunk
    return bytes(data)


def _send(channel: int, payload: bytes) -> None:
    data = _pack(len(payload)) + payload
    while data:
        data = data[_write(channel, data) :]


class OutOfTime(BaseException):
    """Raised inside a block at its time limit, so that the traceback shows where it was. No `Exception`, or code would
    catch it."""


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
        vars(builtins).update(exit=sys.exit, quit=sys.exit)  # those of `site` would close standard input
        install_hooks()
        sys.path.insert(0, "")  # as in a notebook: modules that the code writes can be imported

    def run(self, code: str, *, request_id: str, seconds: float) -> tuple[str, str]:
        """Run a block for at most `seconds`; returns `ok`, `error`, `timeout` or `memory`, and a traceback or "".

        `request_id` seeds the random generators, so that a turn draws the same numbers in every run.
        """
        seed_all(request_id)
        streams = Streams()
        try:
            try:
                _start_clock(seconds)
                self._run(code, streams)
            finally:
                _stop_clock()
                # A tracer that the block installed would otherwise see, and slow down, what follows.
                sys.settrace(None)
                sys.setprofile(None)
        except BaseException as error:
            return _verdict(error)
        finally:
            streams.finish()
        return "ok", ""

    def _run(self, code: str, streams: Streams) -> None:
        """Execute a block and show the value of its last expression, as a notebook does, unless it printed something."""
        threads = set(threading.enumerate())
        name = self._register(code)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec", dont_inherit=True), self.namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), self.namespace)
            if value is not None and not streams.any_output():
                print(repr(value))
        for thread in set(threading.enumerate()) - threads:
            if _is_waited_for(thread):
                thread.join()

    def _register(self, code: str) -> str:
        """Register the source under a file name of its own, so that tracebacks and `inspect` find its lines."""
        self._blocks += 1
        name = "<cell>" if self._blocks == 1 else f"<cell {self._blocks}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        return name


def _is_waited_for(thread: threading.Thread) -> bool:
    """Whether a script would wait for the thread at its end: not for daemons, nor for the idle workers of a pool."""
    pools = sys.modules.get("concurrent.futures.thread")
    return not thread.daemon and thread not in getattr(pools, "_threads_queues", ())


def _start_clock(seconds: float) -> None:
    """Have OutOfTime raised after `seconds` of wall clock, and the process killed after a second more of CPU time."""
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    limits.limit_cpu(seconds + 1)


def _stop_clock() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(signum: int, frame: object) -> None:
    raise OutOfTime


def _verdict(error: BaseException) -> tuple[str, str]:
    """The status and the text for an exception that ended a block."""
    if isinstance(error, MemoryError):
        limits.spend_spare_memory()
        return "memory", format_frames(error)
    if isinstance(error, OutOfTime):
        return "timeout", format_frames(error)
    if isinstance(error, SystemExit) and error.code in (None, 0):  # sys.exit() is a usual last line
        return "ok", ""
    return "error", format_frames(error) + message(error)


class Streams:
    """Standard output and error of one block. Each line is written at once, and so survives a kill."""

    def __init__(self) -> None:
        self._out, self._error = _CountingFile(1, "w", closefd=False), _CountingFile(2, "w", closefd=False)
        self._own = [_text(self._out), _text(self._error)]
        sys.stdout, sys.stderr = self._own

    def any_output(self) -> bool:
        """Whether the block has written anything to standard output."""
        with contextlib.suppress(ValueError):  # closed
            self._own[0].flush()
        return self._out.written > 0

    def finish(self) -> None:
        """Flush the block's streams, and those that it may have put in their place."""
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.set_blocking(descriptor, True)  # the block may have changed it, and a flush would lose bytes
        for stream in (sys.stdout, sys.stderr, *self._own):
            with contextlib.suppress(BaseException):
                stream.flush()


class _CountingFile(io.FileIO):
    """A file that counts the bytes written to it."""

    written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        return super().write(data)


def _text(file: _CountingFile) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def seed_all(request_id: str) -> None:
    """Seed the generators of random, numpy and sympy; `os.urandom` and `secrets` stay random.

    Forks of one zygote would otherwise all draw the same numbers.
    """
    seed = int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=4).digest(), "big")
    random.seed(seed)
    if "numpy.random.bit_generator" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
        # default_rng() takes its entropy from this name in numpy's module, which is `secrets.randbits` by default.
        vars(sys.modules["numpy.random.bit_generator"])["randbits"] = random.Random(seed).getrandbits
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].seed(seed)
