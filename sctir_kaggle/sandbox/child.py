"""The host's handle on a child: send a block, collect output and reply, stop it, kill it. Blocking; for worker threads.

How a block ended arrives as a bounded frame on a channel of its own. That the process has ended is seen by its pidfd, and
with which exit code the zygote writes to the channel after it. The child is not trusted with either: whatever it does to
its descriptors, the host waits until its deadline and no longer, and reads a bounded number of bytes. Nothing waits for the
zygote, which may be slow: the host stops, continues and kills the child itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from sctir_kaggle.sandbox.protocol import ENDED, ENDED_MARK, TOKEN_BYTES
from sctir_kaggle.sandbox.watch import LOOK_SECONDS, Watch
from sctir_kaggle.text import on_terminal, visible

if TYPE_CHECKING:
    from sctir_kaggle.sandbox.launcher import Zygote

KILL_SECONDS = 2.0
"""How long a killed child may take to end: milliseconds, unless the kernel holds it for a slow disk. It is left to it then."""

CODE_SECONDS = 1.0
"""How long the zygote may take to tell the exit code of a child that has ended by itself."""

EXTRA_CPU_SECONDS = 1.0
"""CPU time that a block may use beyond its seconds: the wall clock ends a single thread first, and several at once do not."""

SMALL, MANY = 512, 32
"""After `MANY` reads of less than `SMALL` bytes in one block, output is left to gather for a millisecond."""

REPLY_LIMIT = 1 << 16
"""The largest frame, in bytes, that is taken for a reply."""

TEXT_LIMIT = 1 << 13
"""Bytes of a reply's text that are kept: twice the longest traceback that `cell` sends."""

CHUNK = 1 << 16
"""Bytes of one read: as many as a pipe holds."""

READS = 64
"""Of what an ended child has left in its channel, at most."""

_STATUSES = (b"ok", b"error", b"timeout", b"memory")
_END = struct.pack("!I", ENDED_MARK)


class Reply(NamedTuple):
    """How a block ended: as the child said (`ok`, `error`, `timeout`, `memory`), or what became of the child.

    `killed` at the deadline; `flood`: too much output; `files`, `disk`, `cpu`, `threads`, `shared memory`: over a limit
    that the host keeps (`watch`); `broken`: it sent something that is not a reply; `died`: with an exit code (negative: the
    signal; None: not known).
    """

    status: str
    text: str = ""
    exit_code: int | None = None


class Child:
    """A forked interpreter: a channel for requests and replies, a pipe for output, a pidfd to signal it.

    It is `confined` once it has been `ready`; `trouble` says why it could not be.
    """

    def __init__(self, zygote: Zygote, folder: str, channel: int, output: int, pidfd: int | None = None) -> None:
        self._zygote, self._output, self._pidfd = zygote, output, pidfd
        self._watch = Watch(folder, pidfd, zygote.memory, end=self.end)
        self._channel = socket.socket(fileno=channel)
        self._lock, self._closed = threading.Lock(), False
        self._received, self._token = bytearray(), b""
        self.confined, self._gone, self.trouble = False, False, ""
        os.set_blocking(output, False)
        self._poll = select.poll()
        for fd in (channel, output) if pidfd is None else (channel, output, pidfd):
            self._poll.register(fd, select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet. Without a pidfd (before Linux 5.3): whether it says nothing where it should be idle."""
        if self._pidfd is None:
            return not (self.confined and readable(self._channel, 0))
        return not readable(self._pidfd, 0)

    def ready(self, seconds: float) -> bool:
        """Whether the child is confined and waits for a request; its first frame, an empty one, says so."""
        if not self.confined:
            self._channel.settimeout(max(seconds, 0.001))
            with contextlib.suppress(OSError):
                (length,) = struct.unpack("!I", self._channel.recv(4).ljust(4, b"\xff"))
                if 0 < length < ENDED_MARK:
                    self.trouble = clean(self._channel.recv(min(length, TEXT_LIMIT)))
                self.confined = length == 0
        return self.confined

    def run(self, request: dict[str, object], *, seconds: float, until: float, capture: Capture, flood: int) -> Reply:
        """Run one block of `seconds`, until `until` (monotonic seconds) at most; output goes to `capture`, at most `flood`
        bytes.

        Unless the child itself replied, it is dead afterwards.
        """
        self._signal(signal.SIGCONT)
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._watch.begin(seconds + EXTRA_CPU_SECONDS)
        with contextlib.suppress(OSError):  # it does not read, or is gone: the loop below finds out
            self._send(json.dumps(request).encode(), self._token, until=until)
        look, small = time.monotonic() + LOOK_SECONDS, 0
        while True:
            ready = {fd for fd, _ in self._poll.poll(max(0.0, min(until, look) - time.monotonic()) * 1000)}
            if self._output in ready and self._pump(capture) < SMALL:
                small += 1
                if small > MANY:  # unbuffered prints in a loop: a wake-up for each would keep a core busy
                    time.sleep(0.001)
            if self._channel.fileno() in ready and (reply := self._reply()):
                return self._checked(reply, capture)
            if self._pidfd in ready or (self._gone and self._pidfd is None):
                return self._finish("died", capture)
            if capture.total > flood:
                return self._finish("flood", capture)
            if (now := time.monotonic()) >= until:
                return self._finish("killed", capture)
            if now >= look:
                if limit := self._watch.look():
                    return self._finish(limit, capture)
                look = time.monotonic() + LOOK_SECONDS

    def _checked(self, reply: Reply, capture: Capture) -> Reply:
        """The reply, unless it is broken or the block has exceeded a limit: then the child is killed."""
        if reply.status == "broken":
            return self._finish("broken", capture)
        if limit := self._watch.look(ended=True):
            return self._finish(limit, capture)
        self._drain(capture)
        return reply

    def stop(self) -> None:
        """Stop the child until its next block (SIGSTOP, which it cannot catch).

        A thread that a block left running, or a block that only claimed to have ended, could otherwise go on computing
        while the model writes the next turn: outside of every time limit, on the cores that the other candidates need. The
        filter lets no child send SIGCONT. Where the kernel has no pidfds, nothing is stopped.
        """
        self._signal(signal.SIGSTOP)
        self._watch.rest()

    def _signal(self, number: int) -> None:
        """Signal the process directly, without a detour by the zygote: a pidfd never names another process."""
        with self._lock:  # once the pidfd is closed, its number may be that of another child's
            if self._pidfd is not None and not self._closed:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._pidfd, number)

    def end(self) -> None:
        """Kill the child; its group, if it has one, is the zygote's part. Returns at once; any thread may call it."""
        self._signal(signal.SIGKILL)
        if self._pidfd is None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)  # the zygote sees it

    def close(self) -> None:
        """Kill the child and close the descriptors. Only the thread that owns the child may call this."""
        self.end()
        self._watch.leave()
        with self._lock:
            self._closed = True
            self._channel.close()
            os.close(self._output)
            if self._pidfd is not None:
                os.close(self._pidfd)
        self._zygote.children.discard(self)

    def _send(self, *payloads: bytes, until: float) -> None:
        self._channel.settimeout(max(until - time.monotonic(), 0.001))
        self._channel.sendall(b"".join(struct.pack("!I", len(payload)) + payload for payload in payloads))

    def _pump(self, capture: Capture) -> int:
        """Move what the pipe holds now, up to `CHUNK` bytes, to `capture`; returns the number of bytes."""
        try:
            chunk = os.read(self._output, CHUNK)
        except BlockingIOError:
            return 0
        capture.add(chunk)
        if not chunk:
            self._ignore(self._output)
        return len(chunk)

    def _drain(self, capture: Capture) -> None:
        """Take what was printed before the reply: at most a pipe's content, even if a thread goes on printing."""
        taken = capture.total
        while capture.total - taken < CHUNK and self._pump(capture):
            pass

    def _reply(self) -> Reply | None:
        """The frame on the channel, None until it is complete; `broken` where it is not a reply to this request.

        A frame is four bytes of length, then the request's token, the status, a line feed and a text.
        """
        try:
            chunk = self._channel.recv(CHUNK)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._ignore(self._channel.fileno())
            self._gone = True  # or it has closed the channel
            return None
        self._received += chunk
        if len(self._received) < 4 or self._received.startswith(_END):
            return None
        (length,) = struct.unpack_from("!I", self._received)
        frame = bytes(self._received[4 : 4 + length])
        if len(frame) < length <= REPLY_LIMIT:
            return None
        self._received.clear()
        token, (status, _, text) = frame[:TOKEN_BYTES], frame[TOKEN_BYTES:].partition(b"\n")
        if length > REPLY_LIMIT or token != self._token or status not in _STATUSES:
            return Reply("broken")
        return Reply(status.decode(), clean(text[:TEXT_LIMIT]))

    def _ignore(self, fd: int) -> None:
        """Stop polling a descriptor whose other end the child has closed. It may go on without it until the deadline."""
        with contextlib.suppress(KeyError):
            self._poll.unregister(fd)

    def _finish(self, status: str, capture: Capture) -> Reply:
        """Kill the child, and return how it ended with the last of its output."""
        self.end()
        if self._pidfd is None:
            code = self._exit_code(KILL_SECONDS)
        else:
            readable(self._pidfd, KILL_SECONDS)
            code = self._exit_code(CODE_SECONDS if status == "died" else 0)
        self._drain(capture)
        return Reply(status, exit_code=code)

    def _exit_code(self, seconds: float) -> int | None:
        """What the zygote writes last to the channel, for which `seconds` are waited; None where it did not (yet)."""
        end, last = time.monotonic() + seconds, bytes(self._received[-ENDED.size :])
        with contextlib.suppress(OSError):
            for _ in range(READS):
                if not readable(self._channel, max(0.0, end - time.monotonic())) or not (
                    chunk := self._channel.recv(CHUNK)
                ):
                    break
                last = (last + chunk)[-ENDED.size :]
        if len(last) < ENDED.size:
            return None
        mark, code = ENDED.unpack(last)
        return int(code) if mark == ENDED_MARK else None


class Capture:
    """Output as it is kept: the first and the last `limit` bytes. `total` counts all bytes."""

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
        """Head and tail as clean text, with a line between them that says how many bytes were left out."""
        left_out = self.total - len(self._head) - len(self._tail)
        mark = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
        return clean(bytes(self._head + mark + self._tail))


def readable(descriptor: socket.socket | int, seconds: float) -> bool:
    """Whether data or the end of the stream can be read within `seconds`; of a pidfd, whether the process has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def clean(data: bytes) -> str:
    r"""Decode as UTF-8, as a terminal would show it, without what it would not show.

    >>> clean(b"  0%\r100%\n\x1b[31mred\x1b[0m\tok\x00")
    '100%\nred\tok'
    """
    return visible(on_terminal(data.decode("utf-8", "replace")))
