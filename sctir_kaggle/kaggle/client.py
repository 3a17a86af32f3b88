"""The real kaggle client, and what goes wrong between it and Kaggle told in one line each.

Credentials are the client's own business: it finds them, we neither read nor print them. Importing it authenticates, which
with a token is a network request, and prints help or ends the process where it finds none: both are caught here.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

T = TypeVar("T")

TRIES = 5
"""How often a request is sent that may be sent again."""

FIRST_PAUSE = 2.0
"""Seconds before the second try; each later pause is twice as long."""

LONGEST_PAUSE = 300.0
"""Seconds; where Kaggle asks for more patience than this, the user is told."""

NO_CLIENT = "the kaggle client is not installed: pip install 'sctir-kaggle[kaggle]'"
NO_CREDENTIALS = (
    "the kaggle client found no credentials that work: run `kaggle auth login`, or put a new token of "
    "kaggle.com/settings/api into KAGGLE_API_TOKEN, and try again"
)

REMEDIES = {
    400: "mend what it says; where it says nothing, check kernel-metadata.json, and that kaggle is up to date",
    401: "Kaggle does not know these credentials: run `kaggle auth login`, or make a new token",
    403: "Kaggle forbids it: check that the owner is you and, for a competition, that you accepted its rules",
    404: "Kaggle knows nothing of that name: check owner and slug",
}


def open_client() -> Any:
    """An authenticated `KaggleApi`. Raises `UserError` where it is missing or has no credentials."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):  # its help, of ten lines
            from kaggle.api.kaggle_api_extended import KaggleApi  # type: ignore[import-not-found,import-untyped,unused-ignore]

            api = KaggleApi()
            api.authenticate()
    except ModuleNotFoundError as error:
        raise UserError(f"{NO_CLIENT} ({error.name} is missing)") from None
    except SystemExit:
        raise UserError(NO_CREDENTIALS) from None
    except Exception as error:
        raise failure(error, "logging in") from error
    return api


def owner_of(api: Any) -> str:
    """The account that the client is logged in as."""
    if not (name := api.get_config_value(api.CONFIG_NAME_USER)):
        raise UserError("the kaggle client does not say whose account it uses: add --owner NAME")
    return str(name)


def patiently(
    call: Callable[[], T], doing: str, *, tries: int = TRIES, sleep: Callable[[float], None] = time.sleep
) -> T:
    """The call's result; sent again where Kaggle is busy (429, as long as it says), broken (5xx) or out of reach.

    For calls that do no harm when they are done twice. Raises `UserError`.
    """
    for number in range(1, tries + 1):
        try:
            return call()
        except Exception as error:
            pause = _pause(error, number)
            if pause is None or number == tries:
                raise failure(error, doing, tries=number) from error
            log.info("%s: %s; again in %.0f s", doing, _reason(error), pause)
            sleep(pause)
    raise AssertionError("unreachable")


def once(call: Callable[[], T], doing: str, check: str, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """The call's result; sent again only where it certainly had no effect (429, or no connection came about).

    Raises `UserError`, which says to `check` where it is not known whether Kaggle has done it.
    """
    for number in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            pause = _pause(error, number)
            if pause is None:
                raise failure(error, doing) from error
            if status_of(error) != 429 and not _never_connected(error):
                raise UserError(f"{doing}: {_reason(error)}: it is not known whether it was done: {check}") from error
            if number == TRIES:
                raise failure(error, doing, tries=number) from error
            log.info("%s: %s; again in %.0f s", doing, _reason(error), pause)
            sleep(pause)
    raise AssertionError("unreachable")


def failure(error: Exception, doing: str, *, tries: int = 1) -> UserError:
    """The error as one line: what was being done, what went wrong, what to do."""
    if isinstance(error, UserError):
        return error
    status = status_of(error)
    if status is None and not _is_network(error):
        return UserError(f"{doing}: the kaggle client says: {_line(error)}")
    again = f", {tries} times" if tries > 1 else ""
    return UserError(f"{doing}: {_reason(error)}{again}: {_remedy(error, status)}")


def said_line(text: str) -> str:
    """` (...)` with the last line of what the client printed, without addresses; empty where it printed nothing."""
    lines = text.strip().splitlines()
    return f" ({_line(lines[-1])})" if lines else ""


def _remedy(error: Exception, status: int | None) -> str:
    if status is None:
        return "is this machine connected? try again"
    if status == 429:
        wait = _retry_after(error)
        return f"wait {wait:.0f} s and try again" if wait else "wait some minutes and try again"
    return REMEDIES.get(status, "Kaggle is in trouble: try again later")


def _pause(error: Exception, number: int) -> float | None:
    """Seconds to wait before the next try; None where trying again is of no use."""
    status = status_of(error)
    if status is not None and status != 429 and status < 500:
        return None
    if status is None and not _is_network(error):
        return None
    asked = _retry_after(error) if status == 429 else None
    pause = FIRST_PAUSE * 2 ** (number - 1) if asked is None else asked
    return pause if pause <= LONGEST_PAUSE else None


def _response(error: BaseException | None) -> Any:
    """What Kaggle answered, None if nothing; the client hides some refusals behind a ValueError that guesses at the reason."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return response
        error = error.__context__
    return None


def status_of(error: Exception) -> int | None:
    """The HTTP status, or the code that stands in a body of status 200; None where Kaggle did not answer."""
    response = _response(error)
    if response is None or response.status_code >= 400:
        return None if response is None else int(response.status_code)
    try:
        return int(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return None


def _retry_after(error: Exception) -> float | None:
    """Seconds that the answer's header asks for, a number or a date."""
    value = _response(error).headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _is_network(error: Exception) -> bool:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout  # type: ignore[import-untyped,unused-ignore]

    return isinstance(error, (ConnectionError, ChunkedEncodingError, Timeout))


def _never_connected(error: Exception) -> bool:
    from requests.exceptions import ConnectionError, ConnectTimeout  # type: ignore[import-untyped,unused-ignore]
    from urllib3.exceptions import MaxRetryError, NewConnectionError  # type: ignore[import-not-found,unused-ignore]

    inner = error.args[0] if error.args else None
    refused = isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError)
    return isinstance(error, ConnectTimeout) or (isinstance(error, ConnectionError) and refused)


def _reason(error: Exception) -> str:
    status = status_of(error)
    if status is not None:
        return f"Kaggle answered {status} ({_message(error)})"
    return f"Kaggle cannot be reached ({type(error).__name__})"


def _message(error: Exception) -> str:
    """Kaggle's own words, where it has some."""
    response = _response(error)
    try:
        return _line(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason or "no reason given"


def _line(error: object) -> str:
    """On one line, without addresses: those of files carry a signature."""
    text = re.sub(r" for url: \S+|https?://\S+|with url: \S+", "", " ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
