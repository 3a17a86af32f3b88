"""The servers behind `OpenAIEngine`: where each is, what it takes beyond OpenAI's fields, and how it has fared so far.

Who a server is, it says in `owned_by` of its /v1/models. vLLM and SGLang keep the stop string and say which one they hit.
llama.cpp and OpenAI cut it off and call both it and the end of the sequence `stop`: from these and from unknown servers no
stop is asked for; it is found in the stream here, and the stream is closed, which costs a token or two.
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
"""Seconds that a server is left alone at most, whatever it asks for."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a kind of server is sent besides OpenAI's fields. `says_stop`: it keeps the stop string and says which it was.

    All samplers that OpenAI does not have are off: a server would take its own or its checkpoint's defaults.
    """

    extras: Mapping[str, Any] = field(default_factory=dict)
    says_stop: bool = False
    gives_ids: bool = False


_NEUTRAL = {"top_k": -1, "min_p": 0.0}
_VLLM = {"include_stop_str_in_output": True, "repetition_penalty": 1.0, "stream_interval": 16}  # tokens an event
_SGLANG = {"no_stop_trim": True, "repetition_penalty": 1.0}
_LLAMA_CPP = {"repeat_penalty": 1.0, "timings_per_token": True}

DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect({**_NEUTRAL, **_VLLM}, says_stop=True, gives_ids=True),
    "sglang": Dialect({**_NEUTRAL, **_SGLANG}, says_stop=True, gives_ids=True),
    "llamacpp": Dialect({**_NEUTRAL, **_LLAMA_CPP}),
}


@dataclass(slots=True, eq=False)
class Server:
    """One base URL. `url` has neither /v1 nor userinfo, and may be shown; `auth` is the userinfo and may not.

    `until` is the end of its pause on the clock, `paused` its length in seconds. `requests` counts what it was sent,
    `retries` the part of it that another try had been made for, `dropped` the streams that broke off.
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

    @property
    def dialect(self) -> Dialect:
        """Plain OpenAI for a kind that is not known."""
        return DIALECTS.get(self.kind, Dialect())

    def failed(self, now: float, pause: float, *, asked_for: float | None, jitter: Callable[[], float]) -> bool:
        """Give it a pause that doubles from failure to failure, unless it has `asked_for` one. True if this is a new one.

        What fails while it pauses was sent before: that is the same failure.
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
    """The server at `base_url`, with or without /v1 at its end. Raises `EngineError` where that is no such URL."""
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
"""A path -> the JSON that the server answers with, None where it has none."""


async def discover(server: Server, model: str | None, get: Get) -> tuple[str, int]:
    """Asks the server who it is: the model's name there and its context length in tokens, 0 where it does not say.

    Raises `EngineError` where `model` is not served, or where it is None and there is not exactly one.
    """
    listing = await get("/v1/models")
    card = _card(server, model, listing.get("data") if isinstance(listing, dict) else None)
    server.kind = card["owned_by"] if card.get("owned_by") in DIALECTS else "unknown"
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
    """The request's JSON, in which `options` win. Seeds are cut to 31 bits where 63 are not known to be taken."""
    dialect, stop = server.dialect, [string for string in params.stop if string]
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "max_tokens": limit,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
        **dialect.extras,
    }
    if params.seed is not None:
        body["seed"] = params.seed if server.kind == "vllm" else params.seed % 2**31
    if stop and dialect.says_stop:
        body["stop"] = stop
    if dialect.gives_ids and not isinstance(prompt, str):
        body["return_token_ids"] = True
    return {**body, **options}


_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max_model_len|(prompt|input) (is )?too long|input length|too many tokens",
    re.IGNORECASE,
)


def says_too_long(status: int, body: str) -> bool:
    """Whether a refusal means that prompt and completion do not fit into the context."""
    return status in (400, 413, 422) and _TOO_LONG.search(body) is not None


def room_said(body: str, limit: int) -> int:
    """The tokens that a refusal of `limit` more leaves room for; 0 where there is none or where it does not say.

    Servers that do not cut `max_tokens` themselves name the context first, then the prompt and what it comes to with
    `limit`.
    """
    numbers = [int(number) for number in re.findall(r"\d+", body)]
    prompts = [number for number in numbers if number > 0 and number + limit in numbers]
    return max(0, numbers[0] - prompts[0]) if prompts else 0


def seconds_to_wait(retry_after: str | None) -> float | None:
    """What a `Retry-After` header asks for, a number of seconds or a date; None where there is none that can be read."""
    try:
        if retry_after is None or retry_after.strip().isdecimal():
            return None if retry_after is None else float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
