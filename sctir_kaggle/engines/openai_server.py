"""The servers behind `OpenAIEngine`: address, kind, request fields beyond OpenAI's, and failures so far.

A server's kind is `owned_by` in its /v1/models. vLLM and SGLang report which stop string they hit. llama.cpp and OpenAI
report `stop` for both a stop string and the end of the sequence: these and unknown servers are not sent stop strings;
they are found in the stream here, and the stream is closed, which costs a token or two. A field beyond OpenAI's is sent only
to kinds that know it; one that a server refuses all the same is left out from then on, if the request can do without it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
}

_NEUTRAL: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": ()}
"""The neutral values of the fields that OpenAI's API lacks."""

_SENT_AS = {"top_k": {0: -1}}
"""Values that servers spell differently from `SamplingParams`."""


@dataclass(slots=True, eq=False)
class Server:
    """One server. `url` has neither /v1 nor userinfo and may be shown; `auth` is the userinfo and may not.

    `until` is the end of its pause on the clock, `paused` the pause's length in seconds. `requests` counts those sent,
    `retries` those of them that were repeats, `dropped` the streams that broke off. `unknown` are the fields that it has
    refused.
    """

    url: str
    auth: tuple[str, str] | None = None
    kind: str = "unknown"
    version: str = "unknown"
    until: float = 0.0
    paused: float = 0.0
    failures: int = 0
    requests: int = 0
    retries: int = 0
    dropped: int = 0
    unknown: set[str] = field(default_factory=set)

    @property
    def asked(self) -> ServerKind:
        """The fields of its kind; plain OpenAI where its kind is unknown."""
        return KINDS.get(self.kind, ServerKind())

    def failed(self, now: float, pause: float, *, asked_for: float | None, jitter: Callable[[], float]) -> bool:
        """Start a pause, doubled from failure to failure, or `asked_for` seconds; True if this is a new failure.

        A request that fails during the pause was sent before it: that is the same failure, and does not double it.
        """
        new = now >= self.until
        self.failures += new
        seconds = (
            pause * 2.0 ** min(self.failures - 1, 16) * (0.75 + 0.5 * jitter()) if asked_for is None else asked_for
        )
        if new or asked_for is not None:
            self.paused = min(seconds, LONGEST_PAUSE)
            self.until = max(self.until, now + self.paused)
        return new


def server_at(base_url: str) -> Server:
    """Parse `base_url`, with or without /v1 at its end. Raises `EngineError` if it is not an http(s) URL.

    >>> server_at("https://me:key@host:8000/v1/").url
    'https://host:8000'
    """
    shown = base_url.rpartition("@")[2]
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError as error:
        raise EngineError(f"{shown!r} is no base URL ({error}): write http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise EngineError(f"{shown!r} is no base URL: write http://HOST:PORT or https://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    auth = (parts.username or "", parts.password or "") if "@" in parts.netloc else None
    return Server(f"{parts.scheme}://{place}{path}", auth)


Get = Callable[[str], Awaitable[Any]]
"""path -> the JSON that the server answers with, None where it has none."""


async def discover(server: Server, model: str | None, get: Get) -> tuple[str, int]:
    """Find out the server's kind and version; return the model's name there and its context length in tokens (0: unknown).

    Raises `EngineError` if `model` is not served, or if it is None and the server has not exactly one.
    """
    listing = await get("/v1/models")
    card = _card(server, model, listing.get("data") if isinstance(listing, dict) else None)
    server.kind = card["owned_by"] if card.get("owned_by") in KINDS else "unknown"
    context = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx")
    if server.kind == "vllm":
        server.version = str((await get("/version") or {}).get("version", "unknown"))
    elif server.kind == "llamacpp" and not context:
        context = ((await get("/props") or {}).get("default_generation_settings") or {}).get("n_ctx")
    return card["id"], context if isinstance(context, int) else 0


def _card(server: Server, model: str | None, listed: Any) -> dict[str, Any]:
    cards = [card for card in listed or () if isinstance(card, dict) and isinstance(card.get("id"), str)]
    if model is None:
        cards = [card for card in cards if not card.get("parent")]  # an adapter names the model it is for
        if len(cards) != 1:
            raise EngineError(f"{server.url} serves {_named(cards)}: say which model to ask for")
        return dict(cards[0])
    found = [card for card in cards if card["id"] == model]
    if cards and not found:
        raise EngineError(f"{server.url} serves {_named(cards)}, not {model}: ask for one of these")
    return dict(found[0]) if found else {"id": model}


def _named(cards: Sequence[Mapping[str, Any]]) -> str:
    names = [str(card["id"]) for card in cards]
    return (", ".join(names[:5]) + (", ..." if names[5:] else "")) or "no model that it names"


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
        "max_tokens": limit,
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
    fields = {
        name: _SENT_AS.get(name, {}).get(value, value) for name, value in named.items() if name != "stop_token_ids"
    }
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


_DISPENSABLE = {"stream_options", "stream_interval", "return_token_ids", "timings_per_token", *_SPECIALS}
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|extra|not (permitted|allowed|supported|recogni[sz]ed)",
    re.IGNORECASE,
)


def without_unknown(server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` without the fields that the server has refused, and without those whose value is None."""
    return {name: value for name, value in body.items() if value is not None and name not in server.unknown}


def refused_field(status: int, said: str, body: Mapping[str, Any]) -> str | None:
    """Return the field that a refusal calls unknown, if the request can do without it."""
    if status not in (400, 422) or not _UNKNOWN.search(said):
        return None
    named = [name for name in body if name in _DISPENSABLE and re.search(rf"\b{name}\b", said)]
    return max(named, key=len) if named else None


_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max_model_len|(prompt|input) (is )?too long|input length|too many tokens",
    re.IGNORECASE,
)


def says_too_long(status: int, body: str) -> bool:
    """Whether a refusal says that prompt and completion do not fit into the context."""
    return status in (400, 413, 422) and _TOO_LONG.search(body) is not None


def room_said(body: str, limit: int) -> int:
    """Return the new tokens that fit, from the text of a refusal of `limit`; 0 if there are none or it does not say.

    Servers that do not cut `max_tokens` themselves name the context length first, then the prompt's length and its sum
    with `limit`.

    >>> room_said("maximum context length is 4096 tokens, but you requested 5000 (4000 in the prompt, 1000 to complete)", 1000)
    96
    """
    numbers = [int(number) for number in re.findall(r"\d+", body)]
    prompts = [number for number in numbers if number > 0 and number + limit in numbers]
    return max(0, numbers[0] - prompts[0]) if prompts else 0


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Parse a `Retry-After` header, a number of seconds or a date, into seconds; None if missing or unreadable."""
    try:
        if retry_after is None or retry_after.strip().isdecimal():
            return None if retry_after is None else float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
