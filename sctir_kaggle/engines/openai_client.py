"""The HTTP of `OpenAIEngine`: one request, one stream, one reply; what fails is told apart by whether it may pass.

Nothing that is raised here holds the API key or a URL's userinfo.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sctir_kaggle.engines.openai_reply import FINISHES, BrokenReply, ErrorReply, Lines, Reply
from sctir_kaggle.engines.openai_server import Server, seconds_to_wait
from sctir_kaggle.types import EngineError, one_line

if TYPE_CHECKING:
    import httpx


MAY_PASS = {408, 429, *range(500, 600)}
"""Statuses after which the same request may be served."""

KEEP_ALIVE = 4.0
"""Seconds for which an idle connection is kept: less than the 5 after which uvicorn and llama.cpp close it."""

ANSWER_SECONDS = 10.0
"""How long a server may take to be connected to, and to say who it is."""


class Failed(Exception):
    """A try that may be made again: `pause` is what the server asked for in seconds, if it did.

    `dropped` if the stream had begun, `limited` if the server said that these are too many requests.
    """

    def __init__(
        self, reason: str, *, pause: float | None = None, dropped: bool = False, limited: bool = False
    ) -> None:
        super().__init__(reason)
        self.pause, self.dropped, self.limited = pause, dropped, limited


class Refused(Exception):
    """The server will not serve this request, now or later. `said` is its body, cut."""

    def __init__(self, server: Server, status: int, said: str) -> None:
        super().__init__(f"{server.url}: status {status}: {said}")
        self.status, self.said = status, said


class Client:
    """A pool of `slots` connections to all servers. Belongs to one event loop. `stall` is the longest silence in seconds."""

    def __init__(self, api_key: str | None, *, slots: int, stall: float) -> None:
        try:
            import httpx
        except ImportError as error:
            raise EngineError(f"{error.name} is not installed: pip install 'sctir-kaggle[openai]'") from error
        self._key = _key(api_key)
        try:
            self._http = httpx.AsyncClient(
                headers={"authorization": f"Bearer {self._key}"} if self._key else {},
                limits=httpx.Limits(
                    max_connections=slots, max_keepalive_connections=slots, keepalive_expiry=KEEP_ALIVE
                ),
                timeout=httpx.Timeout(connect=ANSWER_SECONDS, read=stall, write=30, pool=None),
                # A proxy of the environment is not asked for what is on this machine.
                mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:  # an address or a kind of proxy that it cannot use
            reason = one_line(error, named=True)
            raise EngineError(f"no HTTP client: {reason}: check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY") from error

    async def get(self, server: Server, path: str) -> Any:
        """The JSON at `path`, None where there is none. Raises `EngineError`: nothing is tried again here."""
        import httpx

        try:
            response = await self._http.get(server.url + path, auth=server.auth, timeout=ANSWER_SECONDS)
        except httpx.RequestError as error:
            reason = one_line(error, named=True)
            raise EngineError(f"{server.url} cannot be reached ({reason}): start it, or mend the URL") from error
        if response.status_code in (401, 403):
            said = self._told_by(response.content)
            raise EngineError(f"{server.url}: status {response.status_code}: {said}: set OPENAI_API_KEY")
        if response.status_code == 503:
            raise EngineError(f"{server.url} is not ready: {self._told_by(response.content)}: wait, and try again")
        try:
            return response.json() if response.status_code == 200 else None
        except ValueError:
            raise EngineError(f"{server.url}{path} answers with something that is not JSON: mend the URL") from None

    async def complete(
        self, server: Server, body: dict[str, Any], reply: Reply, *, path: str = "/v1/completions"
    ) -> None:
        """Fill `reply` from the server's `path`. However this ends, the stream is closed, which ends the request at the server.

        Raises `Failed` or `Refused`.
        """
        import httpx

        # Escaped: model-written text may hold halves of characters, for which UTF-8 has no bytes.
        content, kind = json.dumps(body).encode(), {"content-type": "application/json"}
        url, started = server.url + path, False
        try:
            async with self._http.stream("POST", url, content=content, headers=kind, auth=server.auth) as response:
                if response.status_code != 200:
                    wait = seconds_to_wait(response.headers.get("retry-after"))
                    raise self._refusal(server, response.status_code, await response.aread(), wait=wait)
                started = True
                await _read(response, reply)
                reply.check_whole()
        except ErrorReply as error:
            raise self._refusal(server, error.status, str(error).encode(), dropped=True) from error
        except (httpx.RequestError, BrokenReply) as error:
            if reply.finish_reason not in FINISHES:  # else only the counts can be missing
                raise Failed(
                    f"{server.url}: {one_line(error, named=not isinstance(error, BrokenReply))}", dropped=started
                ) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def _refusal(
        self, server: Server, status: int, body: bytes, *, wait: float | None = None, dropped: bool = False
    ) -> Exception:
        refused = Refused(server, status, self._told_by(body))
        if status not in MAY_PASS:
            return refused
        return Failed(str(refused), pause=wait, dropped=dropped, limited=status == 429)

    def _told_by(self, body: bytes) -> str:
        """A refusal on one line of at most 300 characters, without the API key that it may quote."""
        line = " ".join(body.decode("utf-8", "replace").split())
        return (line.replace(self._key, "***") if self._key else line)[:300]


async def _read(response: httpx.Response, reply: Reply) -> None:
    """Reads until the completion is whole, or nothing more comes."""
    if "text/event-stream" not in response.headers.get("content-type", ""):
        reply.add_json(await response.aread())
        return
    lines, pieces = Lines(), response.aiter_bytes()
    async for piece in pieces:
        for line in lines.feed(piece):
            reply.add_line(line)
            if reply.cut:
                return
            if reply.done:
                await _read_to_the_end(pieces)
                return
    for line in lines.feed(b"\n"):  # the last line may lack its end
        reply.add_line(line)


async def _read_to_the_end(pieces: AsyncIterator[bytes]) -> None:
    """After the last event only the body's end is missing: a connection that has it is used again."""

    async def rest() -> None:
        async for _ in pieces:
            pass

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rest(), 0.25)


def _key(api_key: str | None) -> str:
    key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()):
        raise EngineError("the API key holds characters that no HTTP header may: check OPENAI_API_KEY")
    return key


class Gate:
    """An asynchronous context manager that lets at most `limit` in, in the order in which they came.

    `limit` is from 1 to `slots`: a fiftieth of these more each time that `limit` have come out without an error.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limit = float(slots)
        self._step = max(1.0, slots / 50)
        self._inside = 0
        self._settling = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return int(self._limit)

    def narrow(self) -> None:
        """A fifth fewer from now on. Whoever is inside went in before: that they fail too is no further reason."""
        if self._settling <= 0:
            self._limit = max(1.0, 0.8 * self._limit)
            self._settling = self._inside

    async def __aenter__(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had been let in, in the very step in which it was cancelled
                self._leave()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._limit = min(float(self._slots), self._limit + self._step / self._limit)
        self._leave()

    def _leave(self) -> None:
        self._inside, self._settling = self._inside - 1, self._settling - 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled while it waited
                self._inside += 1
                turn.set_result(None)
