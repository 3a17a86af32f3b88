"""The host's handles on the zygote and on its children: start, feed, read, end. Blocking; used from worker threads.

What a child prints is never parsed. How a block ended comes as a bounded frame on a channel of its own, how a process
ended comes from the zygote. Whatever a child does to its descriptors, the host waits no longer than it was told to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import site
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sctir_kaggle.types import ExecutorError

START_SECONDS = 120.0
KILL_SECONDS = 2.0
REPLY_LIMIT = 1 << 16
CHUNK = 1 << 16  # a pipe holds as much
_FLAGS = ("-B", "-W", "ignore", "-X", "int_max_str_digits=0")  # huge integers print: output has a limit of its own
_BOOT = """
import sys, types
for name, folder in (("sctir_kaggle", ""), ("sctir_kaggle.sandbox", "/sandbox")):
    sys.modules[name] = types.ModuleType(name)  # the modules of this folder without the rest of the package
    sys.modules[name].__path__ = [sys.argv[1] + folder]
from sctir_kaggle.sandbox.zygote import main
main()
"""
_PACKAGE = str(Path(__file__).parents[1])
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_HARMLESS = ("PATH", "LD_LIBRARY_PATH")
_STATUSES = (b"ok", b"error", b"timeout", b"memory")
_ANSI = r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
_UNPRINTABLE = re.compile(_ANSI + r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


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


class Reply(NamedTuple):
    """How a block ended: the child's own word (`ok`, `error`, `timeout`, `memory`), or what became of the child.

    `killed` by the clock, `flood` of output, `died` with an exit code (negative: the signal; None: not known).
    """

    status: str
    text: str = ""
    exit_code: int | None = None


class Child:
    """A forked interpreter: a lifeline to the zygote, a channel for requests and replies, a pipe for output."""

    def __init__(self, zygote: Zygote, lifeline: socket.socket, channel: socket.socket, output: int) -> None:
        self._zygote, self._lifeline, self._channel, self._output = zygote, lifeline, channel, output
        self._received = bytearray()
        self._poll = select.poll()
        for fd in (lifeline.fileno(), channel.fileno(), output):
            self._poll.register(fd, select.POLLIN)

    @property
    def alive(self) -> bool:
        return not _readable(self._lifeline, 0)

    def ready(self, seconds: float) -> bool:
        """Wait for the child's first, empty frame."""
        self._channel.settimeout(max(seconds, 0.001))
        try:
            return self._channel.recv(4) == bytes(4)
        except OSError:
            return False

    def run(self, request: dict[str, object], *, until: float, capture: Capture, flood: int) -> Reply:
        """Run one block, until `until` (monotonic) at most. It is dead afterwards unless the reply is its own."""
        with contextlib.suppress(OSError):  # it does not read, or is gone: the loop will tell
            self._send(json.dumps(request).encode(), until)
        while True:
            ready = [fd for fd, _ in self._poll.poll(max(0.0, until - time.monotonic()) * 1000)]
            if self._output in ready:
                self._pump(capture)
            if self._channel.fileno() in ready and (reply := self._reply()):
                self._drain(capture)
                return reply
            if self._lifeline.fileno() in ready:
                return self._finish("died", capture)
            if capture.total > flood:
                return self._finish("flood", capture)
            if time.monotonic() >= until:
                return self._finish("killed", capture)

    def end(self) -> None:
        """Have the zygote kill it. Returns at once, and may be called from any thread."""
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it and free the descriptors; for the thread that owns the child."""
        self.end()
        self._lifeline.close()
        self._channel.close()
        os.close(self._output)

    def _send(self, payload: bytes, until: float) -> None:
        self._channel.settimeout(max(until - time.monotonic(), 0.001))
        self._channel.sendall(struct.pack("!I", len(payload)) + payload)

    def _pump(self, capture: Capture) -> bool:
        """Take what the pipe holds now; False where that is nothing."""
        try:
            chunk = os.read(self._output, CHUNK)
        except BlockingIOError:
            return False
        capture.add(chunk)
        if not chunk:
            self._ignore(self._output)
        return bool(chunk)

    def _drain(self, capture: Capture) -> None:
        """Take what was printed before the reply: never more than a pipe holds, whatever is printed meanwhile."""
        taken = capture.total
        while capture.total - taken < CHUNK and self._pump(capture):
            pass

    def _reply(self) -> Reply | None:
        """The frame on the channel, once it is complete. A child that sends nonsense is ended."""
        try:
            chunk = self._channel.recv(CHUNK)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._ignore(self._channel.fileno())
            return None
        self._received += chunk
        if len(self._received) < 4:
            return None
        (length,) = struct.unpack_from("!I", self._received)
        frame = bytes(self._received[4 : 4 + length])
        if len(frame) < length <= REPLY_LIMIT:
            return None
        self._received.clear()
        status, _, text = frame.partition(b"\n")
        if length > REPLY_LIMIT or status not in _STATUSES:
            self.end()
            return Reply("died")
        return Reply(status.decode(), clean(text))

    def _ignore(self, fd: int) -> None:
        """The child has closed its end. That it lives on is its own affair, until its time is up."""
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    def _finish(self, status: str, capture: Capture) -> Reply:
        """Make sure that it is dead, and take its last words. A zygote that does not obey is killed as well."""
        self.end()
        if not _readable(self._lifeline, KILL_SECONDS):
            self._zygote.kill()
        code = self._lifeline.recv(4) if _readable(self._lifeline, KILL_SECONDS) else b""
        self._drain(capture)
        return Reply(status, exit_code=struct.unpack("!i", code)[0] if len(code) == 4 else None)


class Zygote:
    """The warm interpreter's process, started by exec in an environment of its own, and the socket to it."""

    def __init__(self, python: str, *, memory_mb: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="sctir-")
        self._control, theirs = socket.socketpair()
        options = json.dumps({"control": theirs.fileno(), "folder": self._folder, "memory_mb": memory_mb})
        with theirs:
            self.process = subprocess.Popen(
                [python, *_FLAGS, "-c", _BOOT, _PACKAGE, options],
                env=_environment(self._folder),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        if not _readable(self._control, START_SECONDS) or self._control.recv(1) != b"r":
            self.close()
            raise ExecutorError(
                f"the sandbox's {python} did not start within {START_SECONDS:g} s: see its error output"
            )
        self._control.settimeout(KILL_SECONDS)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def spawn(self) -> Child:
        """Ask for a child; OSError where the zygote is gone."""
        lifeline, their_lifeline = socket.socketpair()
        channel, their_channel = socket.socketpair()
        output, their_output = os.pipe()
        os.set_blocking(output, False)
        child = Child(self, lifeline, channel, output)
        try:
            socket.send_fds(self._control, [b"s"], [their_lifeline.fileno(), their_channel.fileno(), their_output])
        except OSError:
            child.close()
            raise
        finally:
            their_lifeline.close()
            their_channel.close()
            os.close(their_output)
        return child

    def kill(self) -> None:
        """For a zygote that no longer answers: its children die with it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, its children and its folder."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # reaches it even where a fork of this process holds a copy
        self._control.close()
        try:
            self.process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the caller's but where programs and libraries are; constant string hashes; no BLAS threads."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    single = {f"{library}_NUM_THREADS": "1" for library in _THREADS}
    fixed = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    return {**kept, **single, **fixed, "PYTHONUSERBASE": site.getuserbase()}


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
