"""The servers behind `OpenAIEngine`: address, kind, request fields beyond OpenAI's, and failures so far.

A server's kind is `owned_by` in its /v1/models. vLLM and SGLang report which stop string they hit. llama.cpp and OpenAI
report `stop` for both a stop string and the end of the sequence: these and unknown servers are not sent stop strings;
they are found in the stream here, and the stream is closed, which costs a token or two. A field beyond OpenAI's is sent only
to kinds that know it; one that a server refuses all the same is left out from then on, if the request can do without it
(`openai_refusals`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from sctir_kaggle.types import EngineError, SamplingParams, TokenIds

LONGEST_PAUSE = 60.0
"""The longest pause of a server in seconds, whatever it asks for."""


@dataclass(frozen=True, slots=True)
class ServerKind:
    """The dialect of the API that a kind of server speaks. An unknown kind gets OpenAI's fields only.

    `samplers` are its names for the fields of `SamplingParams` that OpenAI lacks. They are sent even where they are off,
    or the server would take its own or its checkpoint's defaults. `says_stop`: it reports which stop string it hit.
    """

    samplers: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    completions: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for text completions only: a chat server parses the text before it returns it."""
    continuing: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for a chat whose last message is the assistant's, to continue it."""
    says_stop: bool = False
    gives_ids: bool = False
    wide_seeds: bool = False
    """Whether seeds of 63 bits are accepted; else they are reduced to 31."""
    one_at_once: bool = False
    """Whether it breaks off the reply that it is sending when another request comes."""
    any_top_k: int = -1
    """Its value of top_k that leaves nothing out."""


_SAMPLERS = {name: name for name in ("top_k", "min_p", "repetition_penalty", "stop_token_ids")}
_SPECIALS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}

KINDS: Mapping[str, ServerKind] = {
    "vllm": ServerKind(
        samplers=_SAMPLERS,
        extras={"stream_interval": 16},  # tokens per event: fewer, larger events for our one thread to parse
        completions=_SPECIALS,
        continuing={"continue_final_message": True, "add_generation_prompt": False},
        says_stop=True,
        gives_ids=True,
        wide_seeds=True,
    ),
    "sglang": ServerKind(samplers=_SAMPLERS, completions=_SPECIALS, says_stop=True, gives_ids=True),
    "llamacpp": ServerKind(
        samplers={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
        extras={"timings_per_token": True, "repeat_last_n": -1},
    ),
    "llama-cpp-python": ServerKind(
        samplers={"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
        one_at_once=True,
        any_top_k=0,
    ),
}

_OWNERS = {"me": "llama-cpp-python"}
"""Kinds whose `owned_by` is another word than their name."""

_NEUTRAL: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": ()}
"""The neutral values of the fields that OpenAI's API lacks."""


@dataclass(slots=True, eq=False)
class Server:
    """One server. `url` has neither /v1 nor userinfo and may be shown; `auth` is the userinfo and may not.

    `root` is what stands between `url` and the paths of OpenAI's API. `models` are the names that it lists.

    `until` is the end of its pause on the clock, `paused` the pause's length in seconds. `failures` are those since it last
    served, of which the first was at `failing_since` on the clock. `requests` counts those sent,
    `retries` those of them that were repeats, `dropped` the streams that broke off, `replies` the whole completions. `unknown`
    are the fields that it has refused. `limit_field` is its name for `max_tokens`. `unmarked` counts the streams that ended
    without a sign of a reply's end; `marks` says that it has given one.
    """

    url: str
    auth: tuple[str, str] | None = None
    kind: str = "unknown"
    version: str = "unknown"
    until: float = 0.0
    paused: float = 0.0
    failures: int = 0
    failing_since: float = 0.0
    requests: int = 0
    retries: int = 0
    dropped: int = 0
    replies: int = 0
    root: str = "/v1"
    models: tuple[str, ...] = ()
    unknown: set[str] = field(default_factory=set)
    limit_field: str = "max_tokens"
    unmarked: int = 0
    marks: bool = False

    def address(self, path: str) -> str:
        """The URL of a path of OpenAI's API, such as /models."""
        return f"{self.url}{self.root}{path}"

    @property
    def asked(self) -> ServerKind:
        """The fields of its kind; plain OpenAI where its kind is unknown."""
        return KINDS.get(self.kind, ServerKind())

    def failed(
        self,
        now: float,
        pause: float,
        *,
        asked_for: float | None,
        jitter: Callable[[], float],
        sent: float | None = None,
    ) -> bool:
        """Start a pause, doubled from failure to failure, or `asked_for` seconds; True if this is a new failure.

        A request that was sent (`sent` on the clock; None: now) before the last pause ended tells of the same failure, and
        does not double it, however long the server took to fail it.
        """
        new = (now if sent is None else sent) >= self.until
        if not self.failures:
            self.failing_since = now
        self.failures += new
        seconds = (
            pause * 2.0 ** min(self.failures - 1, 16) * (0.75 + 0.5 * jitter()) if asked_for is None else asked_for
        )
        if new or asked_for is not None:
            self.paused = min(seconds, LONGEST_PAUSE)
            self.until = max(self.until, now + self.paused)
        return new


_PASTED = re.compile(r"/chat/completions$|/completions$|(?<=/v1)/models$")


def server_at(base_url: str) -> Server:
    """Parse `base_url`, with or without /v1 at its end, or the whole address of an endpoint. Raises `EngineError`.

    >>> server_at("https://me:key@host:8000/v1/").url, server_at("http://host/v1/chat/completions").url
    ('https://host:8000', 'http://host')
    """
    base_url = base_url.strip().strip("'\"")
    shown = base_url.rpartition("@")[2]
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise EngineError(f"{shown!r} is no base URL ({error}): write http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise EngineError(f"{shown!r} is no base URL: write http://HOST:PORT or https://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/")
    root = _PASTED.sub("", path)
    pasted = root != path
    path = root.removesuffix("/v1").rstrip("/")
    auth = (parts.username or "", parts.password or "") if "@" in parts.netloc else None
    # Whoever pastes an endpoint's address has said where the API begins, which is not below /v1 everywhere.
    return Server(f"{parts.scheme}://{place}{path}", auth, root="" if pasted and root == path else "/v1")


def owner_kind(owned_by: Any) -> str:
    """The kind of server that calls itself `owned_by` in its list of models."""
    name = _OWNERS.get(owned_by, owned_by) if isinstance(owned_by, str) else ""
    return name if name in KINDS else "unknown"


def body_for(
    server: Server,
    model: str,
    prompt: str | TokenIds,
    params: SamplingParams,
    *,
    limit: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the JSON of a completions request; `options` win over every other field."""
    stop = [string for string in params.stop if string]
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        server.limit_field: limit,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra_fields(server, params),
        **server.asked.completions,
    }
    if params.seed is not None:
        body["seed"] = seed_for(server, params.seed)
    if stop and server.asked.says_stop:
        body["stop"] = stop
    if server.asked.gives_ids and not isinstance(prompt, str):
        body["return_token_ids"] = True
    return without_unknown(server, {**body, **options})


def extra_fields(server: Server, params: SamplingParams) -> dict[str, Any]:
    """Return the fields beyond OpenAI's that this kind of server is sent."""
    named = {theirs: getattr(params, ours) for ours, theirs in server.asked.samplers.items()}
    fields = {name: value for name, value in named.items() if name != "stop_token_ids"}
    if fields.get("top_k") == 0:
        fields["top_k"] = server.asked.any_top_k
    if named.get("stop_token_ids"):
        fields["stop_token_ids"] = list(params.stop_token_ids)
    return {**fields, **server.asked.extras}


def not_sent(server: Server, params: SamplingParams, options: Mapping[str, Any]) -> list[str]:
    """Return "name value" for the fields of `params` that are set, but that this kind of server does not know."""
    return [
        f"{name} {getattr(params, name)}"
        for name, neutral in _NEUTRAL.items()
        if name not in server.asked.samplers and name not in options and getattr(params, name) != neutral
    ]


def seed_for(server: Server, seed: int) -> int:
    """Return the seed, reduced to 31 bits unless this kind of server accepts 63."""
    return seed if server.asked.wide_seeds else seed % 2**31


def stop_strings(server: Server, params: SamplingParams) -> list[str]:
    """The stop strings to send: all to a server that says which one it hit, else the four that OpenAI's API takes."""
    stop = [string for string in params.stop if string]
    return stop if server.asked.says_stop else stop[:4]


def without_unknown(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` without the fields that the server has refused, and without those whose value is None."""
    return {name: value for name, value in body.items() if value is not None and name not in server.unknown}


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Parse a `Retry-After` header, a number of seconds or a date, into seconds; None if missing or unreadable."""
    try:
        if retry_after is None or retry_after.strip().isdecimal():
            return None if retry_after is None else float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
