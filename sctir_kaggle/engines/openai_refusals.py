"""What a server's refusal means: a field that it does not take, a context that is too short, a model that still loads.

The words differ from server to server. Covered are pydantic's errors in both versions (vLLM before 0.6.5, Mistral's API),
OpenAI's `param`, serde's "unknown field", llama.cpp's "Unsupported param", and plain sentences that name the field. Not
covered: refusals in other languages than English.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from typing import Any

NEEDED = frozenset({"model", "prompt", "messages", "max_tokens"})
"""Fields without which a request would be another one: a server that refuses one of these cannot be used."""

_PLAIN = NEEDED | {"temperature", "top_p", "stop", "stream", "seed", "stream_options"}
"""The fields of OpenAI's API that are sent."""

TECHNICAL = {
    *("stream_options", "stream_interval", "return_token_ids", "timings_per_token", "repeat_last_n"),
    *("skip_special_tokens", "spaces_between_special_tokens", "continue_final_message", "add_generation_prompt"),
}
"""Fields that change no text, or that a reply without can be read as well: their value may be what is refused."""

_NO = r"(?:not|cannot|can't|isn't|aren't|doesn't|don't|does not|do not)"
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|undefined|extra[_ ]|additional propert|"
    rf"{_NO} (?:be )?(?:\w+ )?(?:permitted|allowed|support\w*|recogni[sz]ed?|implemented|accept\w*|available|known?|used)|"
    r"(?:invalid|no such) (?:fields?|param\w*|arg\w*|options?|keys?)",
    re.IGNORECASE,
)
_SOME_FIELD = re.compile(
    r"(?:extra|unknown|unrecogni[sz]ed|unexpected|unsupported|invalid|additional)[ _]"
    r"(?:forbidden|request |keyword |body )?(?:inputs?|fields?|param\w*|arg\w*|keys?|propert\w*|options?)?",
    re.IGNORECASE,
)
_OFFERED = re.compile(
    r"\b(?:expected (?:one )?of|must be one of|(?:supported|valid|allowed) (?:fields?|param\w*))\b", re.IGNORECASE
)
_PLACE = re.compile(r"""loc['"]?\s*[:=]\s*[\[(]([^\])]*)[\])]|['"]param['"]\s*:\s*['"]([^'"]+)['"]""")
_QUOTED = re.compile(r"""['"`]([A-Za-z_]\w*)(?:[.\[][^'"`]*)?\\?['"`]""")


def refused_fields(status: int, said: str, body: Mapping[str, Any], chosen: Collection[str] = ()) -> set[str]:
    """Return the fields of `body` that a refusal says the server does not take, if the request can do without them.

    `chosen` are fields that the user asked for by name: these are not given up. Where a refusal of extra fields names none,
    all fields beyond OpenAI's are meant, and then those of OpenAI's that a request can do without.

    >>> refused_fields(400, "Unrecognized request argument supplied: min_p", {"model": "m", "min_p": 0.0})
    {'min_p'}
    """
    if status not in (400, 422) and status < 500:
        return set()
    optional = {name for name in body if name not in NEEDED and name not in chosen}
    if not _UNKNOWN.search(said):
        return {name for name in TECHNICAL & optional if status < 500 and re.search(rf"\b{name}\b", said)}
    if named := _named(said, body):
        return named & optional
    if status >= 500 or not _SOME_FIELD.search(said):
        return set()
    return (optional - _PLAIN) or (optional & {"stream_options", "seed"})


def _named(said: str, body: Mapping[str, Any]) -> set[str]:
    """The fields of `body` that the text names: by their place in the body, else in quotes, else as words."""
    said = _OFFERED.split(said)[0]
    places = {word for match in _PLACE.finditer(said) for word in re.findall(r"\w+", match[1] or match[2])}
    if found := places & body.keys():
        return found
    quoted = {match[1] for match in _QUOTED.finditer(said)} & body.keys()
    words = {name for name in body if re.search(rf"\b{name}\b", said)}
    # "model", "prompt", "stream" and "stop" are words of any sentence: they count only where nothing else is named.
    for found in (quoted - NEEDED, words - NEEDED - {"stream", "stop"}, words - NEEDED, words):
        if found:
            return found
    return set()


def renamed_limit(status: int, said: str) -> bool:
    """Whether a refusal asks for `max_completion_tokens` in the place of `max_tokens`, as newer models at OpenAI do."""
    return status in (400, 422) and "max_completion_tokens" in said


_LOADING = re.compile(
    r"\bload(?:ing|ed yet)?\b|\bstarting\b|warm(?:ing)?[ -]?up|not (?:yet )?(?:been )?(?:ready|loaded|started)|initiali[sz]ing",
    re.IGNORECASE,
)


def says_loading(status: int, said: str) -> bool:
    """Whether an answer says that the model is still being loaded."""
    return status in NOT_READY and _LOADING.search(said) is not None


NOT_READY = (425, 502, 503, 504)
"""Statuses of a server, or of the gateway before it, that may be ready soon."""


_NO_CREDIT = re.compile(
    r"insufficient[ _](?:\w+[ _])?(?:quota|balance|credits?|funds)|billing[ _]hard[ _]limit", re.IGNORECASE
)


def says_no_credit(status: int, said: str) -> bool:
    """Whether a refusal says that the account cannot pay for requests, which waiting does not cure."""
    return status == 402 or (status in (403, 429) and _NO_CREDIT.search(said) is not None)


def says_tls(status: int, said: str) -> bool:
    """Whether a server that speaks TLS refuses a request without."""
    return status == 400 and re.search(r"\bHTTPS (?:port|server)\b", said, re.IGNORECASE) is not None


def without_markup(said: str) -> str:
    """The text of an HTML page, its title where it has no other; anything else as it is.

    >>> without_markup("<html><head><title>404</title></head><body><p>Not &lt;here&gt;</p></body></html>").strip()
    'Not <here>'
    """
    if not re.match(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html)\b", said, re.IGNORECASE):
        return said
    for hidden in (r"head|style|script", r"style|script"):
        shown = re.sub(rf"<({hidden})\b.*?</\1\s*>|<!--.*?-->", " ", said, flags=re.IGNORECASE | re.DOTALL)
        if text := html.unescape(re.sub(r"<[^>]*>?", " ", shown)).strip():
            return text
    return "an HTML page without text"


_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max_model_len|(prompt|input) (is )?too long|input length|too many tokens|"
    r"inputs? (must|should) have (less|fewer) than|`?inputs?`? tokens \+ `?max_new_tokens`?|maximum (input|sequence) length|"
    r"exceeds? (the )?(maximum|max|available|model'?s?) (allowed )?(context|sequence|number of tokens|prompt|input)",
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
