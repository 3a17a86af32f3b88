"""The host's handle on a child: send a block, collect output and reply, stop it, kill it. Blocking; for worker threads.

How a block ended arrives as a bounded frame on a channel of its own; how a process ended comes from the zygote, over the
lifeline. The child is not trusted with either: whatever it does to its descriptors, the host waits until its deadline and
no longer, and reads a bounded number of bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from sctir_kaggle.sandbox.folder import free_mb, over_quota
from sctir_kaggle.sandbox.protocol import TOKEN_BYTES

if TYPE_CHECKING:
    from sctir_kaggle.sandbox.launcher import Zygote

KILL_SECONDS = 5.0
"""How long the zygote may take to kill a child before it counts as dead itself."""

FOLDER_SECONDS = 0.1
"""Seconds between two checks of what a running block has written; it can exceed its quota by what it writes in between."""

SMALL, MANY = 512, 32
"""After `MANY` reads of less than `SMALL` bytes in one block, output is left to gather for a millisecond."""

REPLY_LIMIT = 1 << 16
"""The largest frame, in bytes, that is taken for a reply."""

TEXT_LIMIT = 1 << 13
"""Bytes of a reply's text that are kept: twice the longest traceback that `cell` sends."""

CHUNK = 1 << 16
"""Bytes of one read: as many as a pipe holds."""

_STATUSES = (b"ok", b"error", b"timeout", b"memory")


class Reply(NamedTuple):
    """How a block ended: as the child said (`ok`, `error`, `timeout`, `memory`), or what became of the child.

    `killed` at the deadline; `flood`: too much output; `files`: over the folder's quota; `broken`: it sent something that
    is not a reply; `died`: with an exit code (negative: the signal; None: not known).
    """

    status: str
    text: str = ""
    exit_code: int | None = None


class Child:
    """A forked interpreter: a lifeline to the zygote, a channel for requests and replies, a pipe for output."""

    def __init__(
        self, zygote: Zygote, folder: str, lifeline: int, channel: int, output: int, pidfd: int | None = None
    ) -> None:
        self._zygote, self._folder, self._output, self._pidfd = zygote, folder, output, pidfd
        self._lifeline, self._channel = socket.socket(fileno=lifeline), socket.socket(fileno=channel)
        self._received, self._token, self._free = bytearray(), b"", 0
        os.set_blocking(output, False)
        self._poll = select.poll()
        for fd in (lifeline, channel, output):
            self._poll.register(fd, select.POLLIN)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet: at its end, the lifeline becomes readable."""
        return not readable(self._lifeline, 0)

    def ready(self, seconds: float) -> bool:
        """Whether the child's first, empty frame arrives within `seconds`."""
        self._channel.settimeout(max(seconds, 0.001))
        try:
            return self._channel.recv(4) == bytes(4)
        except OSError:
            return False

    def run(self, request: dict[str, object], *, until: float, capture: Capture, flood: int) -> Reply:
        """Run one block, until `until` (monotonic seconds) at most; output goes to `capture`, at most `flood` bytes.

        Unless the child itself replied, it is dead afterwards.
        """
        self._signal(signal.SIGCONT)
        self._token, self._free = secrets.token_bytes(TOKEN_BYTES), free_mb(self._folder)
        with contextlib.suppress(OSError):  # it does not read, or is gone: the loop below finds out
            self._send(json.dumps(request).encode(), self._token, until=until)
        look, small = time.monotonic() + FOLDER_SECONDS, 0
        while True:
            ready = {fd for fd, _ in self._poll.poll(max(0.0, min(until, look) - time.monotonic()) * 1000)}
            if self._output in ready and self._pump(capture) < SMALL:
                small += 1
                if small > MANY:  # unbuffered prints in a loop: a wake-up for each would keep a core busy
                    time.sleep(0.001)
            if self._channel.fileno() in ready and (reply := self._reply()):
                return self._checked(reply, capture)
            if self._lifeline.fileno() in ready:
                return self._finish("died", capture)
            if capture.total > flood:
                return self._finish("flood", capture)
            if (now := time.monotonic()) >= until:
                return self._finish("killed", capture)
            if now >= look:
                if self._over_quota():
                    return self._finish("files", capture)
                look = time.monotonic() + FOLDER_SECONDS

    def _checked(self, reply: Reply, capture: Capture) -> Reply:
        """The reply, unless it is broken or the folder is over its quota: then the child is killed."""
        if reply.status == "broken" or self._over_quota():
            return self._finish("broken" if reply.status == "broken" else "files", capture)
        self._drain(capture)
        return reply

    def _over_quota(self) -> bool:
        return over_quota(self._folder, free_before=self._free)

    def stop(self) -> None:
        """Stop the child until its next block (SIGSTOP, which it cannot catch).

        A thread that a block left running, or a block that only claimed to have ended, could otherwise go on computing
        while the model writes the next turn: outside of every time limit, on the cores that the other candidates need. The
        filter lets no child send SIGCONT. Where the kernel has no pidfds, nothing is stopped.
        """
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        """Signal the process directly, without a detour by the zygote: a pidfd never names another process."""
        if self._pidfd is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, number)

    def end(self) -> None:
        """Have the zygote kill the child and its group. Returns at once; any thread may call it."""
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Kill the child and close the descriptors. Only the thread that owns the child may call this."""
        self.end()
        self._lifeline.close()
        self._channel.close()
        os.close(self._output)
        if self._pidfd is not None:
            os.close(self._pidfd)

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
            return None
        self._received += chunk
        if len(self._received) < 4:
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
        """Kill the child, and return how it ended with the last of its output. A zygote that does not kill it is killed."""
        self.end()
        if not readable(self._lifeline, KILL_SECONDS):
            self._zygote.kill()
        code = self._lifeline.recv(4) if readable(self._lifeline, KILL_SECONDS) else b""
        self._drain(capture)
        return Reply(status, exit_code=struct.unpack("!i", code)[0] if len(code) == 4 else None)


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


def readable(sock: socket.socket, seconds: float) -> bool:
    """Whether data or the end of the stream can be read from the socket within `seconds`."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


_ANSI = r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
_DIRECTIONS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNPRINTABLE = re.compile(_ANSI + rf"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_DIRECTIONS}]")


def clean(data: bytes) -> str:
    r"""Decode as UTF-8, without ANSI escapes, control characters (NUL too) and marks of writing direction.

    >>> clean(b"\x1b[31mred\x1b[0m\tok\x00")
    'red\tok'
    """
    return _UNPRINTABLE.sub("", data.decode("utf-8", "replace"))
