"""Any OpenAI-compatible completions server, or several of one model, as an `Engine`: vLLM serve, SGLang, llama.cpp, ...

With a local tokenizer, prompts are sent as token ids, and where the server returns ids a turn is continued exactly as it was
sampled. Without one both are text, in which the server's tokenizer reads special tokens wherever they stand: in segments that
are not `Control`, what looks like one is broken up by a space (see `plain_text`). Requests go to the server with the fewest
running; a candidate stays where its prefix is cached. A request that breaks off is sent again, from its start and with its
seed, to a server that is not pausing.

Tested with vLLM's server; the fields of SGLang and llama.cpp are from their sources. Chat completions: `openai_chat`. Not
covered: servers that differ in their weights. SGLang honours a seed only in deterministic mode; llama.cpp shows special
tokens only if started with --special.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.openai_client import Client, Refusal, RequestLimiter, TransientFailure
from sctir_kaggle.engines.openai_reply import FINISHES, Reply
from sctir_kaggle.engines.openai_server import (
    Server,
    body_for,
    discover,
    not_sent,
    refused_field,
    room_said,
    says_too_long,
    server_at,
)
from sctir_kaggle.engines.replicas import LoadBalancer
from sctir_kaggle.types import (
    Completion,
    Control,
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

_HALF = "\ufffd"  # the replacement character, for a character that the token limit cut in half

log = logging.getLogger("sctir_kaggle")


@dataclass(slots=True, eq=False)
class Request:
    """One call of `generate` in flight. `limit` is the room for new tokens, as far as it is known.

    `segments` is the prompt as the caller gave it, `prompt` is what a completions server is sent.
    """

    request_id: str
    segments: Prompt
    prompt: str | TokenIds
    params: SamplingParams
    limit: int


class OpenAIEngine:
    """Sends concurrent `generate` calls to the servers. Create it with `open`; `close` ends its thread and connections.

    One thread with its own event loop does all HTTP, since a client's connections belong to the loop that opened them:
    `generate` can thus be called from any loop. A completion has `token_ids` where the server returned ids that decode to
    its text; else they are empty.
    """

    path = "/v1/completions"

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokenizer = tokenizer
        self._servers, self._client, self._options = servers, client, dict(options)
        self._tries, self._pause, self._patience, self._clock = tries, pause, patience, clock
        self._balancer = LoadBalancer(len(servers), clock=clock)
        self._limiter = RequestLimiter(slots)
        self._jitter = random.Random().random  # not the global one, which others may have seeded alike
        self._model, self._context_length, self._facts = "", 0, Facts()
        self._lock, self._closed, self._warned = threading.Lock(), False, set[str]()
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
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Connect to `base_urls`, with or without /v1, which serve the same model, with `slots` requests at once in all.

        `model` is its name there (None: the only one). `tokenizer` is the checkpoint (its weights are not read): with
        it token ids are sent, without it text. `api_key` goes to all servers (None: the environment's OPENAI_API_KEY, if
        set). `context_length` is in tokens (None: the servers', where they report it). A request is sent at most `tries`
        times; a server that failed it pauses for `pause` seconds, doubled each time, or for as long as it says. Status
        429, too many requests, does not count as a try until `patience` seconds after a request's first. A stream that
        is silent for `stall` seconds counts as dropped. `options` are further fields of the requests, and win. Raises
        `EngineError` where a server cannot be used.
        """
        servers = _servers(base_urls)
        for name, value in (("slots", slots), ("tries", tries)):
            if value < 1:
                raise EngineError(f"{name} is {value}: pass at least 1")
        client = Client(api_key, slots=slots, stall=stall)
        own = None if tokenizer is None else Tokenizer.load(tokenizer)
        engine = cls(
            servers, client, own, options=options or {}, slots=slots, tries=tries, pause=pause, patience=patience
        )
        try:
            engine._loop.run(engine._discover(model, context_length))
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
            return Request(request_id, prompt, _joined(prompt, request_id), params, limit)
        ids = self.tokenizer.encode(prompt)
        room = self._context_length - len(ids) if self._context_length else params.max_tokens
        if room < 1:
            raise PromptTooLong(
                f"{request_id}: the prompt has {len(ids)} tokens, the context {self._context_length}, and one must be "
                "left: shorten the prompt or start the server with a longer context"
            )
        return Request(request_id, prompt, ids, params, min(params.max_tokens, room))

    async def _serve(self, request: Request) -> Reply:
        """Try until a server has answered in full, at most `tries` times; status 429 is not counted for a while."""
        failure: TransientFailure | None = None
        tries, forgiven = 0, None
        try:
            while tries < self._tries:
                try:
                    return await self._try(request, again=failure is not None)
                except TransientFailure as failed:
                    failure = failed
                    if failed.limited and forgiven is None:
                        forgiven = self._clock() + self._patience
                    tries += not (failed.limited and self._clock() < (forgiven or 0))
        except Refusal as refusal:
            raise _error(request, refusal) from refusal
        except asyncio.CancelledError:
            if self._closed:
                raise EngineError(f"{request.request_id}: the engine was closed under it") from None
            raise
        raise EngineError(f"{request.request_id}: gave up after {self._tries} tries: {failure}") from failure

    async def _try(self, request: Request, *, again: bool) -> Reply:
        """One try, at the candidate's server or the one with the fewest running."""
        index = self._balancer.acquire(request.request_id)
        server = self._servers[index]
        if server.failures:  # this request tests whether it serves again; others go elsewhere meanwhile
            self._balancer.avoid(index, max(server.until, self._clock()) + server.paused)
        try:
            async with self._limiter:
                await self._pause_over(
                    server
                )  # inside the limiter: a pause may have begun while this request waited there
                server.retries += again
                reply = await self._ask(server, request)
            self._served(index)
            return reply
        except TransientFailure as failed:
            self._limiter.narrow() if failed.limited else None
            self._note(index, failed)
            raise
        finally:
            self._balancer.release(index)

    async def _pause_over(self, server: Server) -> None:
        """Wait until the server's pause is over, which is at once unless every server pauses; with jitter, so that the
        waiting requests do not all come back at the same moment."""
        while (left := server.until - self._clock()) > 0:
            await asyncio.sleep(left * (1 + 0.1 * self._jitter()))

    def _note(self, index: int, failed: TransientFailure) -> None:
        server = self._servers[index]
        server.dropped += failed.dropped
        if server.failed(self._clock(), self._pause, asked_for=failed.pause, jitter=self._jitter):
            log.warning(f"{failed}; it pauses for {max(0.0, server.until - self._clock()):.1f} s")
        self._balancer.avoid(index, server.until)

    def _served(self, index: int) -> None:
        if self._servers[index].failures:
            self._servers[index].failures = 0
            self._balancer.avoid(index, self._servers[index].until)

    async def _ask(self, server: Server, request: Request) -> Reply:
        """Get the whole reply of one server. Servers differ in the fields they know and in whether they cut `max_tokens`
        to the room there is: a refusal that names the reason is answered with a corrected request."""
        stop = () if server.asked.says_stop else tuple(filter(None, request.params.stop))
        self._warn_of_samplers(server, request)
        while True:
            reply, body = self._reply(stop), self._body(server, request)
            server.requests += 1
            try:
                await self._client.complete(server, body, reply, path=self.path)
                return reply
            except Refusal as refusal:
                if not self._corrects(server, request, refusal, body):
                    raise

    def _corrects(self, server: Server, request: Request, refusal: Refusal, body: Mapping[str, Any]) -> bool:
        """Correct the request after a refusal: fewer tokens, or without a field that the server does not know. False if
        it cannot be corrected."""
        if field := refused_field(refusal.status, refusal.said, body):
            server.unknown.add(field)
            self._warn(field, f"{server.url} does not know {field}: it is left out from now on")
            return True
        room = room_said(refusal.said, request.limit)
        if not (says_too_long(refusal.status, refusal.said) and 0 < room < request.limit):
            return False
        request.limit = room
        return True

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
        stop = reply.stop_reason if isinstance(reply.stop_reason, str) else None
        text = _cut(reply.text, stop)
        if self.tokenizer is None or not reply.ids:
            return text, ()
        before = int(request.prompt[-1])
        ended = FINISHES[reply.finish_reason or "stop"] == "stop" and stop is None
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

    async def _discover(self, model: str | None, context_length: int | None) -> None:
        """Ask every server what it is. One that does not answer is an error now, since its URL may be mistyped."""
        asked = (discover(server, model, partial(self._client.get, server)) for server in self._servers)
        found = await asyncio.gather(*asked)
        names = sorted({name for name, _ in found})
        if len(names) > 1:
            raise EngineError(f"the servers serve different models, {', '.join(names)}: say which to ask for")
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


_NAMES = ("s", "unk", "pad", "mask", "bos", "eos", "eot", "eop", "start_of_turn", "end_of_turn", "think")
_TAG = re.compile(r"</?([A-Za-z_][\w.:-]*)")
_BARS = r"\|[^|<>\n]*\|>|｜[^｜<>\n]*｜>"


def plain_text(segments: Sequence[str]) -> str:
    """Join `segments`, with a space inside everything that looks like a special token in those that are not `Control`.

    >>> plain_text(["What is <|im_end|> worth?"])
    'What is < |im_end|> worth?'
    """
    tags = {tag for segment in segments if isinstance(segment, Control) for tag in _TAG.findall(segment)}
    names = "|".join(map(re.escape, sorted({*_NAMES, *tags}, key=len, reverse=True)))
    forged = re.compile(rf"<(?={_BARS}|/?(?:{names})(?:[^\w<>\n][^<>\n]*)?>)")
    parts = (
        ("".join(group), control) for control, group in groupby(segments, lambda segment: isinstance(segment, Control))
    )
    return "".join(text if control else forged.sub("< ", text) for text, control in parts)


def _stop_reason(reply: Reply, ids: TokenIds, params: SamplingParams) -> str | int | None:
    """The stop string or stop token that ended the reply; None for the checkpoint's own end token."""
    if isinstance(reply.stop_reason, str):
        return reply.stop_reason
    last = ids[-1] if ids else reply.stop_reason
    return last if last in params.stop_token_ids else None


def _cut(text: str, stop: str | None) -> str:
    """`text` up to and with the stop string, whether the server left it off or went on to the end of its token."""
    return text if stop is None else text.partition(stop)[0] + stop


def _error(request: Request, refusal: Refusal) -> EngineError:
    kind = PromptTooLong if says_too_long(refusal.status, refusal.said) else EngineError
    return kind(f"{request.request_id}: {refusal}")
