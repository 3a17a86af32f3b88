"""Find out what answers at a base URL: wait while it loads, then its kind, its version, its model and that model's context.

A server counts as loading while it answers /health or its list of models with 502, 503, 504 or 425, lists no model, or
accepts no connection yet. The wait is shown, and ends after a time that the caller sets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sctir_kaggle.engines.openai_client import Answer, Client, Unreachable
from sctir_kaggle.engines.openai_refusals import NOT_READY, says_tls
from sctir_kaggle.engines.openai_server import Server, owner_kind
from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import EngineDown, EngineError

POLL_SECONDS = 0.5
"""Seconds between two looks at a server that is not ready."""

TLS_HINT = "if it speaks TLS, write https://"

progress = logging.getLogger("sctir_kaggle.start")
"""Shown in a terminal."""


async def discover(
    server: Server, model: str | None, client: Client, *, loading: float, reach: float
) -> tuple[str, int]:
    """Return the model's name at the server and its context length in tokens (0: unknown); set the server's kind.

    Waits for `loading` seconds at the longest while the server says that it loads, and for `reach` seconds while nothing
    answers. Raises `EngineError`, and `EngineDown` where the server answers but does not serve.
    """
    listing = await _ready(server, model, client, loading=loading, reach=reach)
    cards = cards_in(listing)
    server.models = tuple(card["id"] for card in cards)
    card = _card(server, model, cards, listing)
    server.kind = owner_kind(card.get("owned_by"))
    context = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx")
    if server.kind == "vllm":
        server.version = str((await _json(client, server, "/version")).get("version", "unknown"))
    elif server.kind == "llamacpp":
        facts = await _json(client, server, "/props")
        server.version = str(facts.get("build_info", "unknown"))
        context = context or (facts.get("default_generation_settings") or {}).get("n_ctx")
    return str(card["id"]), context if isinstance(context, int) else 0


async def _ready(server: Server, model: str | None, client: Client, *, loading: float, reach: float) -> Answer:
    """Wait until the server answers its list of models; return that answer."""
    began, shown = time.monotonic(), 0.0
    while True:
        answer, reason, limit = await _look(server, model, client, loading=loading, reach=reach)
        waited = time.monotonic() - began
        if not reason:
            if shown:
                progress.info("%s is ready after %.0f s", server.url, waited)
            assert answer is not None
            return answer
        if waited + POLL_SECONDS > limit:
            if answer is None:
                hint = "start it, or fix the URL" + (
                    f"; --server-wait 10m waits longer than {limit:g} s" if limit else ""
                )
                if server.url.startswith("http:") and not reason.startswith("Connect"):
                    hint = f"something listens there: {TLS_HINT}; else {hint}"
                raise EngineError(f"{server.url} cannot be reached ({reason}): {hint}")
            if answer.status == 200 and model:
                return answer  # without a list of models, whether it serves this one is seen at the first request
            raise EngineDown(f"{server.url} is not ready: {reason}: wait, and try again, or --server-wait 10m")
        if waited >= shown:
            shown = waited + min(30.0, 5.0 + waited)
            progress.info("%s is not ready: %s; waiting, %.0f s of at most %.0f s", server.url, reason, waited, limit)
        await asyncio.sleep(POLL_SECONDS)


async def _look(
    server: Server, model: str | None, client: Client, *, loading: float, reach: float
) -> tuple[Answer | None, str, float]:
    """The answer about models, why the server is not ready (empty: it is), and how long that is waited for."""
    try:
        health = await client.get(server, server.url + "/health")
        if health.status in NOT_READY:
            return health, health.said or f"status {health.status}", loading
        listing = await client.get(server, server.address("/models"))
        if listing.status == 404 and server.root:
            other = await client.get(server, server.url + "/models")
            if other.status == 200 and cards_in(other):  # an API that does not begin at /v1
                server.root, listing = "", other
    except Unreachable as error:
        return None, str(error), reach
    if listing.status in NOT_READY:
        return listing, listing.said or f"status {listing.status}", loading
    if listing.status == 200 and listing.json is not None and not cards_in(listing):
        return listing, "it lists no model yet", reach
    return listing, "", 0.0


async def _json(client: Client, server: Server, path: str) -> Mapping[str, Any]:
    """The JSON object at `path`; empty where there is none."""
    try:
        answer = await client.get(server, server.url + path)
    except Unreachable:
        return {}
    return answer.json if answer.status == 200 and isinstance(answer.json, dict) else {}


def cards_in(listing: Answer) -> list[dict[str, Any]]:
    """The models that a server lists, each with an `id`; empty where it has no such list."""
    found = listing.json if listing.status == 200 else None
    if isinstance(found, dict):
        found = found.get("data") or found.get("models")
    cards = [{"id": card} if isinstance(card, str) else card for card in found] if isinstance(found, list) else []
    named = [{"id": card.get("name"), **card} for card in cards if isinstance(card, dict)]
    return [card for card in named if isinstance(card["id"], str) and card["id"]]


def _card(server: Server, model: str | None, cards: Sequence[Mapping[str, Any]], listing: Answer) -> Mapping[str, Any]:
    """The model that is meant. Raises `EngineError` where that cannot be said."""
    _check_listing(server, model, listing)
    if model is None:
        cards = [card for card in cards if not card.get("parent")]  # an adapter names the model it is for
        if len(cards) != 1:
            raise EngineError(
                f"{server.url} serves {named([card['id'] for card in cards])}: say which model to ask for, --served-model NAME"
            )
        return cards[0]
    for alike in (model, f"{model}:latest"):  # Ollama's models have a tag
        if found := [card for card in cards if card["id"] == alike]:
            return found[0]
    if cards:
        raise EngineError(f"{server.url} serves {named(server.models)}, not {model}{meant(model, server.models)}")
    return {"id": model}


def _check_listing(server: Server, model: str | None, listing: Answer) -> None:
    """Raise `EngineError` for an answer about models that says what is wrong with the URL or the key, `EngineDown` where the
    server failed."""
    where = f"{server.address('/models')}: status {listing.status}"
    if listing.status in (401, 403):
        raise EngineError(f"{where}: {listing.said}: {key_hint(listing.sent_key)}")
    if 300 <= listing.status < 400:
        raise EngineError(f"{where}: it redirects to {listing.location}: write that URL")
    if listing.status == 200 and listing.json is None:
        raise EngineError(f"{server.address('/models')} answers with something that is not JSON: fix the URL")
    if says_tls(listing.status, listing.said):
        raise EngineError(f"{where}: {listing.said}: {TLS_HINT}")
    if listing.status >= 500 and listing.status not in (501, 505) and model is None:
        raise EngineDown(f"{where}: {listing.said}: the server failed, see its log")
    if listing.status >= 400 and model is None:
        asks = "is this the URL of an OpenAI-compatible API? Else say which model to ask for, --served-model NAME"
        raise EngineError(
            f"{where}: {listing.said}: it serves no model that it names: say which, --served-model NAME; {asks}"
        )


def key_hint(sent: bool) -> str:
    """What to do about a status 401 or 403."""
    return "the key in OPENAI_API_KEY is refused: set another" if sent else "set OPENAI_API_KEY"


def named(models: Sequence[str]) -> str:
    """The names of a server's models in words, five at most."""
    return (", ".join(models[:5]) + (", ..." if models[5:] else "")) or "no model that it names"


def meant(model: str, models: Sequence[str]) -> str:
    """The end of a message about an unknown model: the one most like it, or the request to choose."""
    folded = {name.lower(): name for name in models}
    short = {name.lower().rpartition("/")[2]: name for name in models}
    wanted = model.lower()
    for names in (folded, short):
        if hint := nearest(wanted, names, cutoff=0.5, shown=names.__getitem__):
            return hint
        if wanted.rpartition("/")[2] in names:
            return f"; did you mean {names[wanted.rpartition('/')[2]]}?"
    return ": ask for one of these"
