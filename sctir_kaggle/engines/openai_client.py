"""The HTTP client of OpenAI-compatible servers: one streamed completion, or one JSON reply with retries.

Failures are of two kinds: `TransientFailure` may pass, so the same request may be sent again, and `Refusal` will not. No
message raised here contains the API key or a URL's userinfo.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sctir_kaggle.engines.openai_refusals import says_loading, says_no_credit, without_markup
from sctir_kaggle.engines.openai_reply import BrokenReply, ErrorReply, Lines, Reply
from sctir_kaggle.engines.openai_server import LONGEST_PAUSE, Server, seconds_to_wait
from sctir_kaggle.types import EngineError, one_line

if TYPE_CHECKING:
    import httpx

TRANSIENT = {408, 429, *range(500, 600)} - {501, 505}
"""Statuses after which the same request may be served: 501 and 505 say that the server has no such thing."""

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the 5 after which uvicorn and llama.cpp close it, so that a request
is never written to a connection that the server is just closing."""

ANSWER_SECONDS = 10.0
"""Seconds within which a server must accept a connection, and must answer a GET."""

FIRST_PAUSE = 0.5
"""Seconds between the first and the second try of `Client.post`, unless the server names a time; doubled each time."""


class TransientFailure(Exception):
    """A try that may be repeated. `pause` is the time in seconds that the server asked for, if it did.

    `dropped`: the stream had begun. `limited`: the server said that there are too many requests (status 429). `loading`: it
    said that it loads its model. `empty`: a stream of status 200 ended without a single event, as where a server refuses
    only after it has sent the status. `refusal` is the server's answer, where it gave one.
    """

    def __init__(
        self,
        reason: str,
        *,
        pause: float | None = None,
        dropped: bool = False,
        empty: bool = False,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(reason)
        self.pause, self.dropped, self.empty, self.refusal = pause, dropped, empty, refusal
        self.limited = refusal is not None and refusal.status == 429
        self.loading = refusal is not None and says_loading(refusal.status, refusal.whole)


class Refusal(Exception):
    """The server will not serve this request, now or later. `said` is its body, shortened, `whole` all of it.

    `server` is the one that refused, `sent_key` whether it was sent an API key.
    """

    def __init__(self, server: Server, status: int, said: str, whole: str, *, sent_key: bool) -> None:
        super().__init__(f"{server.url}: status {status}: {said}")
        self.server, self.status, self.said, self.whole, self.sent_key = server, status, said, whole, sent_key


class Unreachable(Exception):
    """No connection was made, or it broke off before an answer: the server may not have started yet."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a GET. `json` is None where the body is none; `said` is the body, shortened."""

    status: int
    json: Any
    said: str
    location: str
    sent_key: bool


class Client:
    """A pool of `slots` connections to all servers; it belongs to one event loop.

    `api_key` goes to every server (None: the environment's OPENAI_API_KEY, if set). `stall` is the longest silence of a
    server, in seconds, before the connection counts as dropped. Raises `EngineError` where httpx is missing or the key or
    a proxy of the environment cannot be used.
    """

    def __init__(self, api_key: str | None, *, slots: int, stall: float) -> None:
        try:
            import httpx
        except ImportError as error:
            raise EngineError(f"{error.name} is not installed: pip install 'sctir-kaggle[openai]'") from error
        self._key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise EngineError("the API key holds characters that no HTTP header may: check OPENAI_API_KEY")
        try:
            self._http = httpx.AsyncClient(
                headers={"authorization": f"Bearer {self._key}"} if self._key else {},
                limits=httpx.Limits(
                    max_connections=slots, max_keepalive_connections=slots, keepalive_expiry=KEEP_ALIVE
                ),
                # No limit on the wait for a free connection (`pool`): it only means that other requests are running.
                timeout=httpx.Timeout(connect=ANSWER_SECONDS, read=stall, write=30, pool=None),
                # A proxy of the environment would look for servers of this machine on its own.
                mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:  # an address or a kind of proxy that it cannot use
            raise EngineError(
                f"no HTTP client: {_reason(error)}: check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            ) from error

    async def get(self, server: Server, url: str) -> Answer:
        """Return what `url` of `server` answers; nothing is retried.

        Raises `Unreachable` where nothing does, and `EngineError` where that cannot pass: a certificate, a name, a proxy.
        """
        import httpx

        try:
            response = await self._http.get(url, auth=server.auth, timeout=ANSWER_SECONDS)
        except httpx.RequestError as error:
            if lasting := _lasting(server, error):
                raise EngineError(lasting) from error
            raise Unreachable(_reason(error)) from error
        try:
            found = response.json()
        except ValueError:
            found = None
        location = response.headers.get("location", "")
        return Answer(response.status_code, found, self._excerpt(response.content), location, self._sends_key(server))

    def _sends_key(self, server: Server) -> bool:
        return bool(self._key or server.auth)

    async def post(self, server: Server, path: str, body: Mapping[str, Any], *, tries: int = 6) -> Any:
        """Return the JSON that `path` answers `body` with. Raises `EngineError` for a refusal, and after the last try."""
        import httpx

        url, failure, pause = server.url + path, "", None
        for number in range(tries):
            if number:
                await asyncio.sleep(min(pause or FIRST_PAUSE * 2.0 ** (number - 1), LONGEST_PAUSE))
            pause = None
            try:
                response = await self._http.request("POST", url, auth=server.auth, **_encoded(body))
                if response.status_code == 200:
                    return response.json()
                raise self._failure(server, response.status_code, response.content, response.headers)
            except (httpx.RequestError, ValueError) as error:
                failure = _reason(error)
            except TransientFailure as error:
                failure, pause = str(error), error.pause
            except Refusal as refusal:
                hint = ": set OPENAI_API_KEY" if refusal.status in (401, 403) else ""
                raise EngineError(f"{url}: status {refusal.status}: {refusal.said}{hint}") from None
        raise EngineError(f"{url}: given up after {tries} tries; the last: {failure}")

    async def complete(self, server: Server, body: dict[str, Any], reply: Reply, *, path: str = "/completions") -> None:
        """Fill `reply` from the server's `path` below its root, in one try. Raises `TransientFailure` or `Refusal`.

        However this ends, the stream is closed, which makes the server abort the request.
        """
        import httpx

        started = False
        try:
            async with self._http.stream("POST", server.address(path), auth=server.auth, **_encoded(body)) as response:
                if response.status_code != 200:
                    raise self._failure(server, response.status_code, await response.aread(), response.headers)
                started = True
                await _read(response, reply)
                reply.check_whole()
        except ErrorReply as error:
            raise self._failure(server, error.status, str(error).encode(), {}, dropped=True) from error
        except (httpx.RequestError, BrokenReply) as error:
            if not reply.is_whole:  # else only the counts can be missing
                server.unmarked += isinstance(error, BrokenReply) and reply.finish_reason is None and bool(reply.chunks)
                empty = isinstance(error, BrokenReply) and not reply.events
                raise TransientFailure(f"{server.url}: {_reason(error)}", dropped=started, empty=empty) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def _failure(
        self, server: Server, status: int, body: bytes, headers: Mapping[str, str], *, dropped: bool = False
    ) -> TransientFailure | Refusal:
        whole = self._line(body)
        refusal = Refusal(server, status, whole[:300], whole, sent_key=self._sends_key(server))
        if status not in TRANSIENT or says_no_credit(status, whole):
            return refusal
        pause = seconds_to_wait(headers.get("retry-after"))
        return TransientFailure(str(refusal), pause=pause, dropped=dropped, refusal=refusal)

    def _excerpt(self, body: bytes) -> str:
        """`body` on one line of at most 300 characters, without the API key, which servers quote."""
        return self._line(body)[:300]

    def _line(self, body: bytes) -> str:
        line = " ".join(without_markup(body[:20_000].decode("utf-8", "replace")).split())
        return line.replace(self._key, "***") if self._key else line


def _encoded(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` for httpx, with \\u escapes: sampled text may hold lone surrogates, which UTF-8 cannot encode."""
    return {"content": json.dumps(body).encode(), "headers": {"content-type": "application/json"}}


async def _read(response: httpx.Response, reply: Reply) -> None:
    """Read until the completion is whole, or nothing more comes."""
    if "text/event-stream" not in response.headers.get(
        "content-type", ""
    ):  # the server does not stream, or does not say so
        reply.add_body(await response.aread())
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
    """Read what follows the last event, which is only the end of the body: httpx reuses a connection read to its end."""

    async def rest() -> None:
        async for _ in pieces:
            pass

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rest(), 0.25)


def _lasting(server: Server, error: Exception) -> str:
    """What to do about a failure to connect that waiting does not cure; empty for any other."""
    said = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        advice = "set SSL_CERT_FILE to its certificate (a PEM file), or use http://"
        return f"{server.url}: its certificate is not trusted ({said}): {advice}"
    if "SSL" in said and server.url.startswith("https:"):
        return f"{server.url} does not speak TLS ({said}): write http://"
    if any(words in said for words in ("Name or service", "nodename nor", "name resolution", "No address associated")):
        return f"{server.url} cannot be reached ({said}): the host's name is not known: fix the URL"
    if type(error).__name__ == "ProxyError":
        return f"{server.url} cannot be reached ({said}): check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or add it to NO_PROXY"
    return ""


def _reason(error: Exception) -> str:
    """Some of httpx's errors have no text, so the class is part of it; a broken reply says all by itself."""
    return one_line(error, named=not isinstance(error, BrokenReply))


class RequestLimiter:
    """Limits the requests in flight, as TCP limits its window: additive increase, multiplicative decrease.

    An asynchronous context manager that lets at most `limit` in, first come, first served. `limit` lies between 1 and
    `slots`; it grows by 2 % of `slots` (at least 1) for each `limit` requests that come out without an error.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limit = float(slots)
        self._step = max(1.0, slots / 50)
        self._inside = 0
        self._settling = 0  # requests that went in before the last decrease and are still inside
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be inside now."""
        return int(self._limit)

    def narrow(self) -> None:
        """Lower the limit by a fifth, once for all requests inside: those that fail too were sent under the old limit."""
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
