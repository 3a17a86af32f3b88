"""Run blocks as a notebook runs cells: one namespace, the last value shown, a short traceback. Runs in the child.

Valid code is compiled as it is, never rewritten; `source` says what becomes of other code. The status of a block is
reported by the same process that runs model-generated code, so the host trusts it only within bounds: whatever matters is
enforced from outside.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import inspect
import io
import json
import linecache
import os
import random
import struct
import sys
import threading
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sctir_kaggle.sandbox import limits
from sctir_kaggle.sandbox.clock import Clock, OutOfTime
from sctir_kaggle.sandbox.protocol import RUINED
from sctir_kaggle.sandbox.source import parsed
from sctir_kaggle.sandbox.tracebacks import NO_PROCESSES, format_frames, install_hooks, message, raised_by_python

if TYPE_CHECKING:
    from sctir_kaggle.types import LastExpression

# Bound here, since a block may replace the originals and still expect its reply to arrive.
_read, _write, _exit, _loads = os.read, os.write, os._exit, json.loads
_pack, _unpack = struct.Struct("!I").pack, struct.Struct("!I").unpack
_len, _bytes, _bytearray, _print, _repr = len, bytes, bytearray, print, repr
_os_system = os.system

_NO_SHELL = 127 << 8
"""What `os.system` returns where the shell cannot be started."""

_OF_THE_HOST = ("PATH", "LD_LIBRARY_PATH", "PYTHONUSERBASE", "PYTHONHASHSEED", "PYTHONUTF8")
"""Variables that the start of Python needs, and no block."""

PRELUDE = {"math": "math", "np": "numpy", "sp": "sympy"}
"""Names that every namespace begins with, where their module is installed: models use them without the import."""


def serve(channel: int) -> None:
    """Answer requests on the descriptor `channel` until the host closes it; never returns.

    A frame is four bytes of length (big-endian), then a payload. The first frame, an empty one, says "ready". A request
    is two frames: JSON with the arguments of `Cell.run`, then a random token. The reply is one frame: the token, a
    status, a line feed, a text. The token stays unread in the socket while the block runs, so nothing that the block
    writes to this descriptor by accident is taken for a reply.
    """
    cell = Cell()
    _send(channel, b"")
    try:
        while True:
            request = _loads(_frame(channel))
            status, text = cell.run(**request)
            _send(channel, _frame(channel) + f"{status}\n{text}".encode("utf-8", "backslashreplace"))
    except BaseException:  # a block has replaced what this needs (`builtins.len`, say): its model is told what it did
        _exit(RUINED)


def _frame(channel: int) -> bytes:
    (length,) = _unpack(_receive(channel, 4))
    return _receive(channel, length)


def _receive(channel: int, length: int) -> bytes:
    data = _bytearray()
    while _len(data) < length:
        chunk = _read(channel, length - _len(data))
        if not chunk:
            _exit(0)
        data += chunk
    return _bytes(data)


def _send(channel: int, payload: bytes) -> None:
    data = _pack(_len(payload)) + payload
    while data:
        data = data[_write(channel, data) :]


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
        self._clock = Clock(is_critical=lambda frame: frame.f_code is _WatchedFile.write.__code__)
        vars(builtins).update(exit=sys.exit, quit=sys.exit)  # those of `site` would close standard input
        vars(builtins).update(display=_display)
        vars(os).update(system=_system)
        for name in _OF_THE_HOST:
            os.environ.pop(name, None)
        sys.argv, sys.orig_argv = [""], [""]  # as in an interactive Python: those of the zygote are the host's
        install_hooks()
        sys.path.insert(0, "")  # as in a notebook: modules that the code writes can be imported

    def run(
        self, code: str, *, request_id: str, seconds: float, last_expression: LastExpression = "always"
    ) -> tuple[str, str]:
        """Run a block for at most `seconds`; returns `ok`, `error`, `timeout` or `memory`, and a traceback or "".

        `request_id` seeds the random generators, so that a turn draws the same numbers in every run.
        """
        seed_all(request_id)
        streams = Streams()
        try:
            try:
                self._clock.start(seconds)
                limits.limit_cpu(seconds + 1)  # the kernel kills a block that is still running then
                self._run(code, streams, last_expression)
            finally:
                self._clock.stop()
                # A tracer that the block installed would otherwise see, and slow down, what follows.
                sys.settrace(None)
                sys.setprofile(None)
        except BaseException as error:
            return _verdict(error)
        finally:
            streams.finish()
        return "ok", ""

    def _run(self, code: str, streams: Streams, last_expression: LastExpression) -> None:
        """Execute a block, and show the value of its last expression as `last_expression` says."""
        threads = set(threading.enumerate())
        name = self._register(code)
        tree, source, notes = parsed(code, name)
        if notes:
            _print(*notes, sep="\n")
        if source is not code:
            self._show_lines(name, source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        parts: list[ast.Module | ast.Expression] = [tree]
        if isinstance(last, ast.Expr):
            parts.append(ast.Expression(last.value))
        value = self._execute(parts, name)
        if isinstance(last, ast.Expr) and value is not None and self._is_shown(last, source, streams, last_expression):
            streams.begin_line()
            _print(_repr(value))
        for thread in set(threading.enumerate()) - threads:
            if _is_waited_for(thread):
                thread.join()

    def _execute(self, parts: Sequence[ast.Module | ast.Expression], name: str) -> object:
        """Run the parts of a block in order and return the last one's value; with `await` outside of functions, too."""
        try:
            compiled = [_compiled(part, name) for part in parts]
        except SyntaxError as error:
            if "async" not in error.msg and "await" not in error.msg:
                raise
            compiled = [_compiled(part, name, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) for part in parts]
        if not any(code.co_flags & inspect.CO_COROUTINE for code in compiled):
            return [eval(code, self.namespace) for code in compiled][-1]
        import asyncio

        return asyncio.run(self._awaited(compiled))

    async def _awaited(self, compiled: Sequence[types.CodeType]) -> object:
        value: Any = None
        for code in compiled:
            value = eval(code, self.namespace)
            if code.co_flags & inspect.CO_COROUTINE:
                value = await value
        return value

    @staticmethod
    def _is_shown(last: ast.Expr, code: str, streams: Streams, last_expression: LastExpression) -> bool:
        """Whether the value of `last` is shown. In a notebook a semicolon at the end says no."""
        if last_expression == "if-silent":
            return not streams.any_output()
        below = code.count("\n") + 1 - (last.end_lineno or 0)
        line = code.rsplit("\n", below + 1)[-below - 1].encode("utf-8", "replace") if below >= 0 else b""
        return last_expression == "always" and not line[last.end_col_offset :].lstrip().startswith(b";")

    def _register(self, code: str) -> str:
        """Register the source under a file name of its own, so that tracebacks and `inspect` find its lines."""
        self._blocks += 1
        name = "<cell>" if self._blocks == 1 else f"<cell {self._blocks}>"
        self._show_lines(name, code)
        return name

    @staticmethod
    def _show_lines(name: str, code: str) -> None:
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)


def _compiled(part: ast.Module | ast.Expression, name: str, *, flags: int = 0) -> types.CodeType:
    mode = "exec" if isinstance(part, ast.Module) else "eval"
    code: types.CodeType = compile(part, name, mode, flags=flags, dont_inherit=True)
    return code


def _display(*values: object, **options: object) -> None:
    """Show values as a notebook without graphics does."""
    for value in values:
        print(repr(value))


def _is_waited_for(thread: threading.Thread) -> bool:
    """Whether a script would wait for the thread at its end: not for daemons, nor for the idle workers of a pool."""
    pools = sys.modules.get("concurrent.futures.thread")
    return not thread.daemon and thread not in getattr(pools, "_threads_queues", ())


def _system(command: str | bytes) -> int:
    """`os.system`, which fails without an error where no process may be started: the line that others get is printed."""
    status = _os_system(command)
    if status in (-1, _NO_SHELL):
        _print(NO_PROCESSES)
    return status


def _verdict(error: BaseException) -> tuple[str, str]:
    """The status and the text for an exception that ended a block."""
    if isinstance(error, MemoryError) and not raised_by_python(error):
        limits.spend_spare_memory()
        return "memory", format_frames(error) + (message(error) if error.args else "")
    if isinstance(error, OutOfTime):
        return "timeout", format_frames(error)
    if isinstance(error, SystemExit) and error.code in (None, 0):  # sys.exit() is a usual last line
        return "ok", ""
    return "error", format_frames(error) + message(error)


class Streams:
    """Standard output and error of one block. Each line is written at once, and so survives a kill."""

    def __init__(self) -> None:
        self._out, self._error = _WatchedFile(1, "w", closefd=False), _WatchedFile(2, "w", closefd=False)
        self._own = [_text(self._out), _text(self._error)]
        sys.stdout, sys.stderr = self._own

    def any_output(self) -> bool:
        """Whether the block has written anything to standard output."""
        with contextlib.suppress(ValueError):  # closed
            self._own[0].flush()
        return self._out.last is not None

    def begin_line(self) -> None:
        """End the line that the block has begun: a value must not continue its digits."""
        if self.any_output() and self._out.last != b"\n":
            _print()

    def finish(self) -> None:
        """Flush the block's streams, and those that it may have put in their place."""
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.set_blocking(descriptor, True)  # the block may have changed it, and a flush would lose bytes
        for stream in (sys.stdout, sys.stderr, *self._own):
            with contextlib.suppress(BaseException):
                stream.flush()


class _WatchedFile(io.FileIO):
    """A file that remembers the last byte written to it."""

    last: bytes | None = None

    def write(self, data: Any) -> int:  # an exception after the write itself would have the buffer write all once more
        written = super().write(data)
        if written:
            self.last = _bytes(data[written - 1 : written])
        return written


def _text(file: _WatchedFile) -> io.TextIOWrapper:
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
