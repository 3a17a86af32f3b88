"""The official kaggle client: logging in, retrying its requests, and turning its errors into one line each.

The client finds its credentials by itself; this package neither reads nor prints them. Importing it authenticates, which
with an API token is a network request, and without credentials it prints a help text and ends the process. Both are caught.
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

Sleep = Callable[[float], None]
"""Waits for some seconds; tests pass one that returns at once."""

TRIES = 5
"""Attempts for a request that may be repeated."""

FIRST_PAUSE = 2.0
"""Seconds before the second attempt; each later pause is twice as long."""

LONGEST_PAUSE = 300.0
"""Seconds; a longer Retry-After is reported to the user instead of waited for."""

MISSING = (403, 404)
"""Status codes for an object that does not exist: Kaggle answers 403 for private objects of other accounts, existing or not."""

RUN_AGAIN = "run the command again: it first looks whether it was done"
"""The usual advice after a request whose fate is unknown."""

NO_CLIENT = "the kaggle client is not installed: pip install 'sctir-kaggle[kaggle]'"
NO_CREDENTIALS = (
    "the kaggle client found no credentials that work: run `kaggle auth login`, or put a new token of "
    "kaggle.com/settings/api into KAGGLE_API_TOKEN, and try again"
)

REMEDIES = {
    400: "fix what it says; if it says nothing, check kernel-metadata.json, and that the kaggle client is up to date",
    401: "Kaggle does not know these credentials: run `kaggle auth login`, or make a new token",
    403: "Kaggle forbids it: check that the owner is you and, for a competition, that you accepted its rules",
    404: "Kaggle has nothing of that name: check owner and slug",
}


def open_client() -> Any:
    """Return an authenticated `KaggleApi`. Raises `UserError` if it is not installed or has no valid credentials."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):  # without credentials it prints ten lines of help
            from kaggle.api.kaggle_api_extended import KaggleApi  # type: ignore[import-not-found,import-untyped,unused-ignore]

            api = KaggleApi()
            api.authenticate()
    except ModuleNotFoundError as error:
        raise UserError(f"{NO_CLIENT} ({error.name} is missing)") from None
    except SystemExit:
        raise UserError(NO_CREDENTIALS) from None
    except Exception as error:
        raise as_user_error(error, "logging in") from error
    return api


def owner_of(api: Any) -> str:
    """Return the name of the account that the client is logged in with."""
    if not (name := api.get_config_value(api.CONFIG_NAME_USER)):
        raise UserError("the kaggle client does not say whose account it uses: add --owner NAME")
    return str(name)


def retry(call: Callable[[], T], doing: str, *, tries: int = TRIES, sleep: Sleep = time.sleep) -> T:
    """Return the result of an idempotent call, repeated on 429 (after Retry-After), 5xx and network errors.

    `doing` is the beginning of every message, such as "listing the files of owner/slug". Raises `UserError`.
    """
    for attempt in range(1, tries + 1):
        try:
            return call()
        except Exception as error:
            pause = _pause(error, attempt)
            if pause is None or attempt == tries:
                raise as_user_error(error, doing, tries=attempt) from error
            log.info("%s: %s; again in %.0f s", doing, _reason(error), pause)
            sleep(pause)
    raise AssertionError("unreachable")


def retry_or_none(call: Callable[[], Any], doing: str, *, sleep: Sleep = time.sleep) -> Any:
    """As `retry`, but return None if Kaggle has no such object."""
    try:
        return retry(call, doing, sleep=sleep)
    except UserError as error:
        if status_of(error) in MISSING:
            return None
        raise


def call_once(call: Callable[[], T], doing: str, check: str, *, sleep: Sleep = time.sleep) -> T:
    """Return the result of a call that must not happen twice, such as a push or a submission.

    It is repeated only if it certainly had no effect: on 429, or if no connection was made. Raises `UserError`; if it is
    unknown whether Kaggle carried the call out, the message tells the user to `check`.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            pause = _pause(error, attempt)
            if pause is None:
                raise as_user_error(error, doing) from error
            if status_of(error) != 429 and not _never_connected(error):
                raise UserError(f"{doing}: {_reason(error)}: it is not known whether it was done: {check}") from error
            if attempt == TRIES:
                raise as_user_error(error, doing, tries=attempt) from error
            log.info("%s: %s; again in %.0f s", doing, _reason(error), pause)
            sleep(pause)
    raise AssertionError("unreachable")


def as_user_error(error: Exception, doing: str, *, tries: int = 1) -> UserError:
    """Turn an error of the client into one line: what was being done, what went wrong, what to do."""
    if isinstance(error, UserError):
        return error
    status = status_of(error)
    if status is None and not _is_network(error):
        return UserError(f"{doing}: the kaggle client says: {_one_line(error)}")
    again = f", {tries} times" if tries > 1 else ""
    return UserError(f"{doing}: {_reason(error)}{again}: {_remedy(error, status)}")


def status_of(error: Exception) -> int | None:
    """Return the HTTP status, or the `code` in the body of an answer with status 200; None if Kaggle did not answer."""
    response = _response(error)
    if response is None or response.status_code >= 400:
        return None if response is None else int(response.status_code)
    try:
        return int(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return None


def last_line_of(printed: str) -> str:
    """Return ` (...)` with the last line that the client printed, without URLs; empty if it printed nothing."""
    lines = printed.strip().splitlines()
    return f" ({_one_line(lines[-1])})" if lines else ""


def _pause(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None if another attempt is pointless."""
    status = status_of(error)
    if status is not None and status != 429 and status < 500:
        return None
    if status is None and not _is_network(error):
        return None
    asked = _retry_after(error) if status == 429 else None
    pause = FIRST_PAUSE * 2 ** (attempt - 1) if asked is None else asked
    return pause if pause <= LONGEST_PAUSE else None


def _response(error: BaseException | None) -> Any:
    """Kaggle's HTTP response, or None.

    The client hides some refusals behind a ValueError that guesses at the reason, so the chain of contexts is searched.
    """
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return response
        error = error.__context__
    return None


def _retry_after(error: Exception) -> float | None:
    """Seconds of the Retry-After header, which holds a number or a date."""
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
    if status is None:
        return f"Kaggle cannot be reached ({type(error).__name__})"
    response = _response(error)
    try:
        message = _one_line(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = response.reason or "no reason given"
    return f"Kaggle answered {status} ({message})"


def _remedy(error: Exception, status: int | None) -> str:
    if status is None:
        return "is this machine connected? try again"
    if status == 429:
        wait = _retry_after(error)
        return f"wait {wait:.0f} s and try again" if wait else "wait some minutes and try again"
    return REMEDIES.get(status, "Kaggle is in trouble: try again later")


def _one_line(error: object) -> str:
    """The text on one line, without URLs: those of uploaded and downloaded files carry a signature."""
    text = re.sub(r" for url: \S+|https?://\S+|with url: \S+", "", " ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
