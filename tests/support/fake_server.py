"""A completions server on loopback that answers as it is told, also badly: what it says is written byte for byte.

HTTP/1.1 by hand, since a library would not break off in the middle of a chunk. One thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

Json = dict[str, Any]


@dataclass
class Answer:
    """`pieces` are written in order, a number is slept for. `drop` ends in the middle, `hang` waits for the client to go."""

    pieces: Sequence[bytes | float] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    end: Literal["whole", "drop", "hang"] = "whole"


def event(text: str = "", **fields: Any) -> bytes:
    """One event of one choice; `fields` are the choice's."""
    choice = {"index": 0, "text": text, "finish_reason": None, **fields}
    return data({"object": "text_completion", "choices": [choice]})


def data(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def usage(prompt: int, completion: int, cached: int | None = None) -> bytes:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return data({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details}})


DONE = b"data: [DONE]\n\n"


def says(*texts: str, **last: Any) -> Answer:
    """A whole stream, an event a text; `last` are the fields of the choice that ends it."""
    return Answer([*map(event, texts), event(**{"finish_reason": "stop", **last}), usage(7, len(texts) + 1), DONE])


def refuses(status: int, body: str = "", **headers: str) -> Answer:
    return Answer([body.encode()], status, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeServer:
    """A context manager. `script` answers the next completion requests, one each; `otherwise` all later ones.

    `bodies` and `headers` are what was asked, `connections` how many were opened, `running` and `most` how many requests
    there are and were at once, `left` how many streams the client closed before their end. `other_paths` are answers to GETs,
    each for as many `looks` as there are, or for ever. `paths` are those of the completion requests.
    """

    def __init__(
        self,
        *script: Answer,
        otherwise: Answer | Callable[[Json], Answer] | None = None,
        model: str = "m",
        owned_by: str = "vllm",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        **card: Any,
    ) -> None:
        self.script = list(script)
        self.otherwise = says("yes") if otherwise is None else otherwise
        self.cards: list[Json] = [{"id": model, "owned_by": owned_by, **card}]
        self.other_paths: dict[str, Answer] = {}
        self.looks: dict[str, int] = {}
        self.paths: list[str] = []
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.connections = self.running = self.most = self.left = 0
        self.port, self._tls = port, tls

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._connection, "127.0.0.1", self.port, ssl=self._tls)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends at once, with all connections, as a killed process does."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False where the connection is not to be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        if not path.endswith("/completions"):
            return await self._write(writer, self._about(path))
        self.paths.append(path)
        self.bodies.append(json.loads(body))
        self.headers.append(headers)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(reader, writer)
        finally:
            self.running -= 1

    def _about(self, path: str) -> Answer:
        kind = {"Content-Type": "application/json"}
        if path in self.looks:
            self.looks[path] -= 1
            if self.looks[path] < 0:
                self.other_paths.pop(path, None)
        if path == "/v1/models" and path not in self.other_paths:
            return Answer([json.dumps({"object": "list", "data": self.cards}).encode()], headers=kind)
        return self.other_paths.get(path, Answer([b"{}"], 404, kind))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Writes the answer, unless the client goes before that."""
        otherwise = self.otherwise(self.bodies[-1]) if callable(self.otherwise) else self.otherwise
        answer = self.script.pop(0) if self.script else otherwise
        writing = asyncio.ensure_future(self._write(writer, answer))
        going = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait((writing, going), return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() or isinstance(writing.exception(), ConnectionError):
                self.left += 1
                return False
            return await writing
        finally:
            writing.cancel()
            going.cancel()
            await asyncio.gather(writing, going, return_exceptions=True)

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        head = {**answer.headers, "Transfer-Encoding": "chunked"}
        lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        for piece in answer.pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
        if answer.end == "hang":
            await asyncio.Event().wait()
        if answer.end == "whole":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return answer.end == "whole"


async def _gone(reader: asyncio.StreamReader) -> None:
    """Returns when the client has closed the connection. Reads nothing: that would be of its next request."""
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.002)


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
