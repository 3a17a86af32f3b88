"""Any OpenAI-compatible completions server, or several of one model, as an `Engine`: vLLM serve, SGLang, llama.cpp, ...

With a local tokenizer, prompts are sent as token ids, and where the server returns ids a turn is continued exactly as it was
sampled. Without one both are text, in which the server's tokenizer reads special tokens wherever they stand: in segments that
are not `Control`, what looks like one is broken up by a space (see `plain_text`). Requests go to the server with the fewest
running; a candidate stays where its prefix is cached. A request that breaks off is sent again, from its start and with its
seed, to a server that is not pausing.

Run against vLLM's server, llama.cpp's and llama-cpp-python's; what others answer is emulated from their sources
(docs/servers.md). Chat completions: `openai_chat`. Not covered: servers that differ in their weights. SGLang honours a seed
only in deterministic mode; llama.cpp shows special tokens only if started with --special.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.openai_client import Client, Refusal, RequestLimiter, TransientFailure
from sctir_kaggle.engines.openai_discovery import TLS_HINT, discover, key_hint, meant, named
from sctir_kaggle.engines.openai_refusals import (
    TECHNICAL,
    refused_fields,
    renamed_limit,
    room_said,
    says_no_credit,
    says_tls,
    says_too_long,
)
from sctir_kaggle.engines.openai_reply import Reply, finish_of
from sctir_kaggle.engines.openai_server import Server, body_for, not_sent, server_at
from sctir_kaggle.engines.plain_text import plain_text
from sctir_kaggle.engines.replicas import LoadBalancer
from sctir_kaggle.types import (
    Completion,
    EngineDown,
    EngineError,
    FinishReason,
    Prompt,
    PromptTooLong,
    SamplingParams,
    TokenIds,
)

if TYPE_CHECKING:
    from typing_extensions import Self


Facts = dict[str, str | int]

_SILENT = TECHNICAL | {"stream", "stop"}
"""Fields without which a server samples the same."""

DOWN_SECONDS = 120.0
"""Seconds without one success after which a server that has served before, and fails everything since, counts as gone."""

_HALF = "\ufffd"  # the replacement character, for a character that the token limit cut in half

log = logging.getLogger("sctir_kaggle")


@dataclass(slots=True, eq=False)
class Request:
    """One call of `generate` in flight. `limit` is the room for new tokens, as far as it is known. `began` is
    on the clock. `streams`: the reply is asked for as a stream.

    `segments` is the prompt as the caller gave it, `prompt` is what a completions server is sent.
    """

    request_id: str
    segments: Prompt
    prompt: str | TokenIds
    params: SamplingParams
    limit: int
    began: float
    streams: bool = True


class OpenAIEngine:
    """Sends concurrent `generate` calls to the servers. Create it with `open`; `close` ends its thread and connections.

    One thread with its own event loop does all HTTP, since a client's connections belong to the loop that opened them:
    `generate` can thus be called from any loop. A completion has `token_ids` where the server returned ids that decode to
    its text; else they are empty.
    """

    path = "/completions"
    other = "chat"
    """The engine for the servers that have no such path."""

    def __init__(
        self,
        servers: Sequence[Server],
        client: Client,
        tokenizer: Tokenizer | None,
        *,
        options: Mapping[str, Any],
        slots: int,
        tries: int,
        pause: float,
        patience: float = 0.0,
        wait: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokenizer = tokenizer
        self._servers, self._client, self._options = servers, client, dict(options)
        self._tries, self._pause, self._patience, self._wait, self._clock = tries, pause, patience, wait, clock
        self._balancer = LoadBalancer(len(servers), clock=clock)
        self._limiter = RequestLimiter(slots)
        self._jitter = random.Random().random  # not the global one, which others may have seeded alike
        self._model, self._context_length, self._facts = "", 0, Facts()
        self._lock, self._closed, self._warned = threading.Lock(), False, set[str]()
        self._gave_up: tuple[float, str] | None = (
            None  # when the servers were last given up, and why; None while they serve
        )
        self._replies = list[Reply]()  # those that are being read
        self._giving_up = asyncio.Event()  # set for a moment: wakes the requests that wait out a pause
        self._loop = BackgroundLoop()

    @classmethod
    def open(
        cls,
        base_urls: str | Sequence[str],
        model: str | None = None,
        *,
        tokenizer: str | Path | None = None,
        api_key: str | None = None,
        context_length: int | None = None,
        slots: int = 48,
        tries: int = 5,
        pause: float = 0.5,
        patience: float = 0.0,
        stall: float = 300.0,
        wait: float = 10.0,
        reach: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Connect to `base_urls`, with or without /v1, which serve the same model, with `slots` requests at once in all.

        `model` is its name there (None: the only one). `tokenizer` is the checkpoint (its weights are not read): with
        it token ids are sent, without it text. `api_key` goes to all servers (None: the environment's OPENAI_API_KEY, if
        set). `context_length` is in tokens (None: the servers', where they report it). A request is sent at most `tries`
        times; a server that failed it pauses for `pause` seconds, doubled each time, or for as long as it says. Status
        429, too many requests, does not count as a try until `patience` seconds after a request's first. A stream that
        is silent for `stall` seconds counts as dropped. A server that says that it loads is waited for, `wait` seconds at
        the longest, and one that accepts no connection `reach` seconds (None: `wait`, 10 at most). `options` are further
        fields of the requests, and win. Raises `EngineError` where a server cannot be used, and `EngineDown` where it
        is not ready or fails.
        """
        servers = _servers(base_urls)
        for name, value in (("slots", slots), ("tries", tries)):
            if value < 1:
                raise EngineError(f"{name} is {value}: pass at least 1")
        client = Client(api_key, slots=slots, stall=stall)
        own = None if tokenizer is None else Tokenizer.load(tokenizer)
        engine = cls(
            *(servers, client, own),
            options=options or {},
            slots=slots,
            tries=tries,
            pause=pause,
            patience=patience,
            wait=wait,
        )
        try:
            engine._loop.run(engine._discover(model, context_length, reach=min(wait, 10.0) if reach is None else reach))
        except BaseException:
            engine.close()
            raise
        return engine

    @property
    def context_length(self) -> int | None:
        """The most tokens of a prompt and its completion together; None where neither a server nor the caller gave it."""
        return self._context_length or None

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """By URL: `requests` sent, `retries` among them, and streams `dropped`."""
        return {s.url: {"requests": s.requests, "retries": s.retries, "dropped": s.dropped} for s in self._servers}

    def describe(self) -> Facts:
        """Return the facts for a journal's header: nothing that differs from start to start, as URLs may."""
        return dict(self._facts)

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. Can be called from any event loop; `request_id` names the request in error messages."""
        request = self._request(prompt, params, request_id)
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed: open it again")
            future = self._loop.submit(self._serve(request))
        return self._completion(request, await asyncio.wrap_future(future))

    def close(self) -> None:
        """Close all connections and end the thread. Requests in flight raise `EngineError`, and so do later ones."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._loop.drain()
            self._loop.run(self._client.close())
            self._loop.close()

    def _request(self, prompt: Prompt, params: SamplingParams, request_id: str) -> Request:
        """Encode the prompt. Raises `PromptTooLong` or `EngineError` for what can be refused without a server."""
        if params.max_tokens < 1:
            raise EngineError(f"{request_id}: max_tokens is {params.max_tokens}: pass at least 1")
        if self.tokenizer is None:
            limit = min(params.max_tokens, self._context_length or params.max_tokens)
            return Request(request_id, prompt, _joined(prompt, request_id), params, limit, self._clock())
        ids = self.tokenizer.encode(prompt)
        room = self._context_length - len(ids) if self._context_length else params.max_tokens
        if room < 1:
            raise PromptTooLong(
                f"{request_id}: the prompt has {len(ids)} tokens, the context {self._context_length}, and one must be "
                "left: shorten the prompt or start the server with a longer context"
            )
        return Request(request_id, prompt, ids, params, min(params.max_tokens, room), self._clock())

    async def _serve(self, request: Request) -> Reply:
        """Try until a server has answered in full, at most `tries` times; being told to wait is not counted for a while.

        Where no server has ever served a request, or all have been down for long, those that wait while one gives up give up
        with it: one after the other they would take minutes to fail for the same reason.
        """
        failure: TransientFailure | None = None
        tries = 0
        waited_since: dict[str, float] = {}
        try:
            while tries < self._tries:
                try:
                    return await self._try(request, again=failure is not None)
                except TransientFailure as failed:
                    failure = failed
                    if not self._forgives(failed, waited_since):
                        tries = self._tries if self._hopeless else tries + 1
        except Refusal as refusal:
            raise self._error(request, refusal) from refusal
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError(f"{request.request_id}: the engine was closed under it") from None
            raise
        why = f"gave up after {self._tries} tries: {failure}"
        if not self._has_served or self._hopeless:
            self._give_up(why)
        raise EngineDown(f"{request.request_id}: {why}") from failure

    @property
    def _has_served(self) -> bool:
        return any(server.replies for server in self._servers)

    @property
    def _hopeless(self) -> bool:
        """Whether the servers fail everything, as often as one request is tried: a pause lets one request after the other
        find out, so that each alone would need many more. One that has served before may come back within `DOWN_SECONDS`.
        """
        since = self._clock() - (DOWN_SECONDS if self._has_served else 0.0)
        return not any(reply.events for reply in self._replies) and all(
            server.failures >= self._tries and server.failing_since <= since for server in self._servers
        )

    def _give_up(self, why: str) -> None:
        """End all requests that have begun and are not with a server: those in a pause at once."""
        self._gave_up = (self._clock(), why)
        self._giving_up.set()
        self._giving_up.clear()

    def _check_given_up(self, request: Request) -> None:
        if self._gave_up and self._gave_up[0] >= request.began:
            raise EngineDown(f"{request.request_id}: {self._gave_up[1]}")

    def _forgives(self, failed: TransientFailure, since: dict[str, float]) -> bool:
        """Whether a failed try does not count: too many requests within `patience`, a model that loads within `wait`."""
        for holds, kind, seconds in (
            (failed.limited, "limited", self._patience),
            (failed.loading, "loading", self._wait),
        ):
            if holds and self._clock() < since.setdefault(kind, self._clock() + seconds):
                return True
        return False

    async def _try(self, request: Request, *, again: bool) -> Reply:
        """One try, at the candidate's server or the one with the fewest running."""
        index, sent = self._balancer.acquire(request.request_id), self._clock()
        server = self._servers[index]
        if server.failures:  # this request tests whether it serves again; others go elsewhere meanwhile
            self._balancer.avoid(index, max(server.until, self._clock()) + server.paused)
        try:
            async with self._limiter:
                self._check_given_up(request)
                await self._pause_over(server, request)  # inside the limiter: it may have begun while this waited there
                sent = self._clock()
                server.retries += again
                reply = await self._ask(server, request)
            self._served(index)
            return reply
        except TransientFailure as failed:
            if failed.limited:
                self._limiter.narrow()
            self._note(index, failed, sent)
            raise
        finally:
            self._balancer.release(index)

    async def _pause_over(self, server: Server, request: Request) -> None:
        """Wait until the server's pause is over, which is at once unless every server pauses; with jitter, so that the
        waiting requests do not all come back at the same moment. Raises `EngineDown` once the servers are given up."""
        while (left := server.until - self._clock()) > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._giving_up.wait(), left * (1 + 0.1 * self._jitter()))
            self._check_given_up(request)

    def _note(self, index: int, failed: TransientFailure, sent: float) -> None:
        server = self._servers[index]
        server.dropped += failed.dropped
        if server.failed(self._clock(), self._pause, asked_for=failed.pause, jitter=self._jitter, sent=sent):
            if failed.pause is None and self._clock() < (end := server.failing_since + DOWN_SECONDS):
                server.until = min(server.until, end)  # when it counts as gone: a pause of a minute more tells nothing
            log.warning(f"{failed}; it pauses for {max(0.0, server.until - self._clock()):.1f} s")
        self._balancer.avoid(index, server.until)

    def _served(self, index: int) -> None:
        self._gave_up = None
        if self._servers[index].failures:
            self._servers[index].failures = 0
            self._balancer.avoid(index, self._servers[index].until)

    async def _ask(self, server: Server, request: Request) -> Reply:
        """Get the whole reply of one server. Servers differ in the fields they know and in whether they cut `max_tokens`
        to the room there is: a refusal that names the reason is answered with a corrected request."""
        self._warn_of_samplers(server, request)
        while True:
            body = self._body(server, request)
            if not request.streams:
                body = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
            reply = self._reply(
                () if server.asked.says_stop and "stop" in body else tuple(filter(None, request.params.stop))
            )
            reply.unmarked = server.unmarked >= 2 and not server.marks
            server.requests += 1
            self._replies.append(reply)
            try:
                await self._client.complete(server, body, reply, path=self.path)
            except (Refusal, TransientFailure) as failed:
                if isinstance(failed, TransientFailure) and failed.empty and request.streams:
                    request.streams = (
                        False  # a server that has sent its status cannot refuse any more: without a stream it says why
                    )
                    continue
                refusal = failed if isinstance(failed, Refusal) else failed.refusal
                if refusal is None or not self._corrects(server, request, refusal, body):
                    raise
                continue
            finally:
                self._replies = [other for other in self._replies if other is not reply]
            self._note_reply(server, reply)
            return reply

    def _note_reply(self, server: Server, reply: Reply) -> None:
        server.replies += 1
        server.marks |= reply.done or (reply.is_whole and not reply.assumed and not reply.cut)
        if reply.assumed and not reply.done:
            self._warn(
                "unmarked", f"{server.url} never marks the end of a reply: the end of its stream is taken for it"
            )

    def _corrects(self, server: Server, request: Request, refusal: Refusal, body: Mapping[str, Any]) -> bool:
        """Correct the request after a refusal: fewer tokens, or without fields that the server does not know. False if
        it cannot be corrected."""
        if "max_tokens" in body and "max_tokens" not in self._options and renamed_limit(refusal.status, refusal.whole):
            server.limit_field = "max_completion_tokens"
            return True
        fields = refused_fields(refusal.status, refusal.whole, body, chosen=self._options)
        if "stream" in fields:
            fields |= {"stream_options"} & body.keys()
        if fields:
            server.unknown |= fields
            names = ", ".join(sorted(fields))
            sampling = ": it samples without" if fields - _SILENT else ""
            self._warn(names, f"{server.url} does not take {names}: left out from now on{sampling}")
            return True
        room = room_said(refusal.said, request.limit)
        if not (says_too_long(refusal.status, refusal.said) and 0 < room < request.limit):
            return False
        request.limit = room
        return True

    def _error(self, request: Request, refusal: Refusal) -> EngineError:
        """What a refusal means for the caller: some would meet every other request just as well."""
        what = f"{request.request_id}: {refusal}"
        if says_too_long(refusal.status, refusal.said):
            return PromptTooLong(what)
        if says_no_credit(refusal.status, refusal.whole):
            return EngineDown(f"{what}: the account has no credit: add some, or set another OPENAI_API_KEY")
        if refusal.status in (401, 403):
            return EngineDown(f"{what}: {key_hint(refusal.sent_key)}")
        if says_tls(refusal.status, refusal.whole):
            return EngineDown(f"{what}: {TLS_HINT}")
        if refusal.status in (404, 405, 407, 501, 505) or 300 <= refusal.status < 400:
            return EngineDown(f"{what}: {self._place_hint(refusal)}")
        return EngineError(what)

    def _place_hint(self, refusal: Refusal) -> str:
        server = refusal.server
        if refusal.status == 407:
            return "the proxy wants a name and a password: write them into HTTP_PROXY or HTTPS_PROXY"
        if "model" in refusal.whole.lower():
            hint = meant(self._model, server.models) if server.models else ": load it there, or name another"
            return f"asked for {self._model}; the server lists {named(server.models)}{hint}"
        return f"it has no {server.root}{self.path}: fix the URL, or try --engine {self.other}"

    def _warn_of_samplers(self, server: Server, request: Request) -> None:
        if lost := not_sent(server, request.params, self._options):
            what = f"{server.url} is a server of kind {server.kind}, which cannot be asked for {', '.join(lost)}"
            self._warn("samplers", f"{what}: it samples without, or pass its own names for them as options")

    def _warn(self, subject: str, message: str) -> None:
        """Log a warning, once per subject."""
        if subject not in self._warned:
            self._warned.add(subject)
            log.warning(message)

    def _reply(self, stop: Sequence[str]) -> Reply:
        """An empty reply of the kind that the servers send."""
        return Reply(stop)

    def _body(self, server: Server, request: Request) -> dict[str, Any]:
        limit, options = request.limit, self._options
        return body_for(server, self._model, request.prompt, request.params, limit=limit, options=options)

    def _completion(self, request: Request, reply: Reply) -> Completion:
        """Convert the reply. Runs in the caller's thread, so that the loop's goes on reading."""
        counted = reply.chunks if reply.tokens is None else reply.tokens
        given = reply.prompt_tokens or 0 if isinstance(request.prompt, str) else len(request.prompt)
        finish_reason: FinishReason = "stop" if reply.finish(counted, request.limit) == "stop" else "length"
        text, ids = self._exact(request, reply)
        return Completion(
            text,
            ids,
            finish_reason=finish_reason,
            stop_reason=_stop_reason(reply, ids, request.params) if finish_reason == "stop" else None,
            tokens=len(ids) or counted,
            prompt_tokens=given,
            cached_tokens=reply.cached_tokens or 0,
        )

    def _exact(self, request: Request, reply: Reply) -> tuple[str, TokenIds]:
        """The text and the ids that decode to it; no ids where there are none, or where they are another tokenizer's."""
        stop = (
            reply.stop_reason
            if isinstance(reply.stop_reason, str) and reply.stop_reason in request.params.stop
            else None
        )
        text = _cut(reply.text, stop)
        if self.tokenizer is None or not reply.ids:
            return text, ()
        before = int(request.prompt[-1])
        ended = finish_of(reply.finish_reason or "stop") == "stop" and stop is None
        sampled = self._with_end(reply, request, before=before) if ended else reply.ids
        if not sampled:
            return text, ()
        ours, ids = self.tokenizer.finish(sampled, stop=stop, before=before, ended=ended)
        if ours.rstrip(_HALF) == text.rstrip(_HALF):
            return ours, ids
        self._warn(
            "ids", f"{request.request_id}: the server's token ids do not decode to its text: whose tokenizer is this?"
        )
        return text, ()

    def _with_end(self, reply: Reply, request: Request, *, before: int) -> list[int]:
        """The ids with the token that ended them, which a server may leave off; empty where it is unknown which it was."""
        assert self.tokenizer is not None, "ids without a tokenizer"
        ends = {*self.tokenizer.end_ids, *request.params.stop_token_ids, reply.stop_reason}
        if reply.ids[-1] in ends or self.tokenizer.decode(reply.ids, before=before) != reply.text:
            return reply.ids  # a checkpoint may name an end that its tokenizer does not know as one
        if isinstance(reply.stop_reason, int):
            return [*reply.ids, reply.stop_reason]
        return [*reply.ids, *self.tokenizer.end_ids] if len(self.tokenizer.end_ids) == 1 else []

    async def _discover(self, model: str | None, context_length: int | None, *, reach: float) -> None:
        """Ask every server what it is. One that does not answer is an error now, since its URL may be mistyped."""
        found = await asyncio.gather(
            *(discover(server, model, self._client, loading=self._wait, reach=reach) for server in self._servers)
        )
        names = sorted({name for name, _ in found})
        if len(names) > 1:
            raise EngineError(f"the servers serve different models, {', '.join(names)}: say which to ask for")
        if any(server.asked.one_at_once for server in self._servers):
            self._limiter = RequestLimiter(len(self._servers))
            self._warn(
                "one", "llama-cpp-python breaks off a reply when another request comes: it is sent one at a time"
            )
        self._model = names[0]
        self._context_length = min((tokens for tokens in (context_length, *(c for _, c in found)) if tokens), default=0)
        self._facts = {
            "engine": "openai",
            "model": Path(self._model).name,
            "server": "+".join(sorted({server.kind for server in self._servers})),
            "version": "+".join(sorted({server.version for server in self._servers})),
            "prompts": "text" if self.tokenizer is None else "token ids",
            "context_length": self._context_length or "unknown",
            **({"options": json.dumps(self._options, sort_keys=True)} if self._options else {}),
            **({"tokenizer": self.tokenizer.notice} if self.tokenizer and self.tokenizer.notice else {}),
        }


def _servers(base_urls: str | Sequence[str]) -> list[Server]:
    servers = [server_at(url) for url in ([base_urls] if isinstance(base_urls, str) else base_urls)]
    if not servers:
        raise EngineError("no base URL: pass at least one, such as http://localhost:8000")
    if len({server.url for server in servers}) != len(servers):
        raise EngineError("a base URL is given twice: pass each server once")
    return servers


def _joined(prompt: Prompt, request_id: str) -> str:
    """The prompt as one text, for a server that reads special tokens wherever they stand."""
    segments = [segment for segment in prompt if isinstance(segment, str)]
    if len(segments) < len(prompt):
        raise EngineError(f"{request_id}: the prompt holds token ids: open the engine with the checkpoint's tokenizer")
    if not any(segments):
        raise EngineError("the prompt is empty (0 tokens): pass at least one segment with text or token ids")
    return plain_text(segments)


def _stop_reason(reply: Reply, ids: TokenIds, params: SamplingParams) -> str | int | None:
    """The stop string or stop token that ended the reply; None for the checkpoint's own end token."""
    if isinstance(reply.stop_reason, str):  # some servers have a word here for every end
        return reply.stop_reason if reply.stop_reason in params.stop else None
    last = ids[-1] if ids else reply.stop_reason
    return last if last in params.stop_token_ids else None


def _cut(text: str, stop: str | None) -> str:
    """`text` up to and with the stop string, whether the server left it off or went on to the end of its token."""
    return text if stop is None else text.partition(stop)[0] + stop
