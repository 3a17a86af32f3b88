"""AIMO-1's environment with `aimo` in a child process, under another CPython: each call is a request over a socket.

Covered: None in place of a pair, exceptions with their class and text, the module's output (to the log), a child that dies,
and one that is not ready in time. Not covered: a child that hangs later; direct calls of the module have no limit either.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sctir_kaggle.competition import aimo1_child
from sctir_kaggle.competition.aimo1_child import Json, decode, encode
from sctir_kaggle.competition.aimo1_python import environment
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger("sctir_kaggle")

START_SECONDS = 300.0
"""How long the interpreter may take to start from a network drive, import `aimo` and make its environment."""

END_SECONDS = 60.0
"""How long it may take to exit by itself: the module may still be writing the submission."""

LINES = 1000
"""Lines of the module's output that are logged; the rest is counted."""


class ModuleError(RuntimeError):
    """An exception of the module whose class is not built in. Its text begins with the name of the class."""


class ChildEnvironment:
    """What `aimo.make_env()` returns, from a child process: `python` runs it, with the module from `folder`.

    `start` is the limit in seconds until it is ready. Raises `UserError` where the module cannot be imported or is not
    ready in time; its own exceptions are raised again where they occurred.
    """

    def __init__(self, python: Path, folder: Path, *, start: float = START_SECONDS) -> None:
        self._wire, theirs = socket.socketpair()
        self._unread = b""
        with theirs:
            command = [python, "-I", "-u", "-X", "utf8", aimo1_child.__file__, str(theirs.fileno()), folder]
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=environment(python),
                start_new_session=True,  # Ctrl-C in the notebook must not reach the child: the parent ends it
            )
        self._output = _Output(self._process)
        try:
            self._open(python, folder, start)
        except BaseException:
            self._kill()
            self._ended()
            raise

    def __enter__(self) -> ChildEnvironment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the socket, which the child takes as its end; kill it after `END_SECONDS`."""
        with suppress(OSError):  # close alone does not reach the child while a forked process holds a copy
            self._wire.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("the Python that runs aimo did not end within %.0f s and was killed", END_SECONDS)
            self._kill()
        self._ended()

    def iter_test(self) -> Iterator[tuple[DataFrame, DataFrame] | None]:
        """As in the module: pairs (test, sample_submission), or None where a prediction is missing."""
        self._ask("iter_test")
        return self._pairs()

    def predict(self, sample_submission: DataFrame) -> None:
        """As in the module: give the answer to the problem that was yielded last."""
        self._ask("predict", given=encode(sample_submission))

    def _pairs(self) -> Iterator[tuple[DataFrame, DataFrame] | None]:
        while (reply := self._ask("next")) != aimo1_child.END:
            yield decode(reply["pair"])

    def _open(self, python: Path, folder: Path, seconds: float) -> None:
        try:
            ready = self._ask("open", deadline=time.monotonic() + seconds)
        except TimeoutError:
            raise UserError(
                f"aimo from {folder} was not ready within {seconds:.0f} s in {python}{self._output.tail()}; "
                "look at the module's output above, and submit again"
            ) from None
        except ImportError as error:
            raise UserError(f"cannot import aimo from {folder} in {python}: {error}; pack a CPython that can") from None
        log.info("aimo runs in CPython %s (%s): %s", ready["python"], python, ready["file"])

    def _ask(self, what: str, *, deadline: float | None = None, **more: Any) -> Json:
        try:
            self._wire.sendall(json.dumps({"do": what, **more}).encode() + b"\n")
            reply: Json = json.loads(self._line(deadline))
        except (ConnectionError, EOFError):
            raise RuntimeError(self._how_it_ended(what)) from None
        if "error" in reply:
            log.warning("aimo, in %s: %s", what, reply["error"]["traceback"].rstrip())
            raise _raised(reply["error"])
        return reply

    def _line(self, deadline: float | None) -> bytes:
        """One reply, until `deadline` (monotonic). Raises `EOFError` where the child has closed the socket, `TimeoutError`."""
        while b"\n" not in self._unread:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._wire.settimeout(left)
            more = self._wire.recv(1 << 16)
            if not more:
                raise EOFError
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _how_it_ended(self, what: str) -> str:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the Python that runs aimo closed its socket in {what}() without ending{self._output.tail()}"
        how = f"with status {code}" if code >= 0 else f"by signal {-code} ({signal.strsignal(-code)})"
        return f"the Python that runs aimo ended {how} in {what}(){self._output.tail()}"

    def _kill(self) -> None:
        """Kill the child and whatever it started in its session."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _ended(self) -> None:
        self._wire.close()
        self._output.close()


class _Output:
    """The module's output: logged line by line, in a thread, so that the module never waits for a full pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._stream = process.stdout
        self._last: deque[str] = deque(maxlen=5)
        self._count = 0
        self._thread = threading.Thread(target=self._read, name="sctir-aimo-output", daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """The last lines, as the end of an error message; empty where nothing was printed."""
        self._thread.join(1.0)  # the last lines of a dead child may still be in the pipe
        return f"; its last output: {' | '.join(self._last)}" if self._last else ""

    def close(self) -> None:
        """Close the pipe and log how much was left out. After the child has ended."""
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._stream.close()
        if self._count > LINES:
            log.info("aimo: %d more lines are left out", self._count - LINES)

    def _read(self) -> None:
        while line := self._stream.readline(1 << 13):
            text = line.decode(errors="replace").rstrip()
            self._last.append(text)
            self._count += 1
            if self._count <= LINES:
                log.info("aimo: %s", text)


def _raised(error: Json) -> Exception:
    """The child's exception: of its own class where that is built in and gives the same text from the same arguments."""
    known = getattr(builtins, error["class"], None)
    if isinstance(known, type) and issubclass(known, Exception):
        with suppress(TypeError):
            made = known(*error["args"])
            if str(made) == error["text"]:
                return made
    return ModuleError(f"{error['class']}: {error['text']}")
