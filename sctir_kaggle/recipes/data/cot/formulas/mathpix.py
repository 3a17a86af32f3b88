"""Read pages by Mathpix's API, as the original did: POST v3/text with a page's image, an answer in Mathpix Markdown.

From https://docs.mathpix.com: reference/post-v3-text (request, answer), reference/error-handling (failures have status 200 and
an `error_info`, but for 401 and 429), reference/limits-and-quotas (2 MB for an image in base64). Each page is paid for, so
that single pages are sent, and not the document by v3/pdf. Keys are the environment's MATHPIX_APP_ID and MATHPIX_APP_KEY.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.data.cot.formulas.backend import Answer, Recognized
from sctir_kaggle.recipes.data.cot.records import Rejected
from sctir_kaggle.types import EngineError, UserError

if TYPE_CHECKING:
    import httpx
    from PIL.Image import Image

URL = "https://api.mathpix.com"

KEYS = ("MATHPIX_APP_ID", "MATHPIX_APP_KEY")

REQUEST = {
    "formats": ["text"],
    "math_inline_delimiters": ["$", "$"],
    "math_display_delimiters": ["$$", "$$"],
    "rm_spaces": True,
}

MOST = 2_000_000
"""Most characters of an image in base64."""

BUSY = ("http_max_requests", "sys_exception", "connection_closed")
"""Failures that may pass, by their `error_info.id`."""


class _Failed(Exception):
    """The server did not answer for a page, after all tries."""


@dataclass(frozen=True, slots=True)
class Mathpix:
    """Sends `batch` pages at a time. A busy or failing server is asked again, `tries` times in all, with growing `pause`."""

    app_id: str
    app_key: str
    url: str = URL
    tries: int = 5
    pause: float = 2.0
    batch: int = 8

    @classmethod
    def open(cls, url: str | None = None) -> Mathpix:
        """Take the keys from the environment. Raises `UserError` where one is missing, httpx is, or `url` is no address."""
        try:
            import httpx
        except ImportError:
            raise UserError("httpx is not installed: pip install 'sctir-kaggle[data]'") from None
        app_id, app_key = (os.environ.get(name, "") for name in KEYS)
        if not (app_id and app_key):
            raise UserError(f"Mathpix needs keys: export {KEYS[0]}=... {KEYS[1]}=...")
        url = (url or URL).rstrip("/")
        try:
            valid = httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
        except httpx.InvalidURL:
            valid = False
        if not valid:
            raise UserError(f"{url} is no address; --set formula_url=https://HOST")
        return cls(app_id, app_key, url)

    def read(self, pages: Sequence[Image]) -> list[Answer]:
        """The answers in order; an `EngineError` where the server refuses the keys, or answers for none of the pages."""
        import httpx

        headers = {"app_id": self.app_id, "app_key": self.app_key}
        with httpx.Client(headers=headers, timeout=120) as client, ThreadPoolExecutor(self.batch) as pool:
            found = list(pool.map(lambda page: self._read(client, page), pages))
        gone = all(isinstance(one, _Failed) for one in found)
        return [_ended(one, gone) if isinstance(one, _Failed) else one for one in found]

    def _read(self, client: httpx.Client, page: Image) -> Answer | _Failed:
        try:
            answer = self._post(client, {"src": _source(page), **REQUEST})
        except (EngineError, _Failed) as error:
            return error
        if reason := answer.get("error"):
            return Rejected(f"Mathpix: {_line(str(reason))}")
        text, sure = answer.get("text"), answer.get("confidence_rate", answer.get("confidence"))
        if not isinstance(text, str):
            return Rejected(f"Mathpix: an answer without a text: {str(answer)[:120]!r}")
        return Recognized(text, float(sure) if isinstance(sure, int | float) else None)

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        said = ""
        for attempt in range(self.tries):
            wait = self.pause * 2**attempt
            try:
                response = client.post(f"{self.url}/v3/text", json=body)
            except httpx.RequestError as error:
                said = f"{type(error).__name__} {error}"
            else:
                if response.status_code in (401, 403):
                    raise EngineError(f"Mathpix refuses the keys {' and '.join(KEYS)}: {_line(response.text)}")
                answer = _object(response)
                if response.status_code < 500 and _id(answer) not in BUSY and response.status_code != 429:
                    return answer
                said = str(answer.get("error", ""))
                wait = _seconds(response.headers.get("retry-after"), wait)
            if attempt + 1 < self.tries:
                time.sleep(wait)
        raise _Failed(f"Mathpix at {self.url}, {self.tries} requests for a page: {_line(said)}")


def _ended(failed: _Failed, gone: bool) -> Rejected | EngineError:
    return EngineError(f"{failed}; start the step again later") if gone else Rejected(str(failed))


def _source(page: Image) -> str:
    """The page as a data URI: PNG where it is small enough, else JPEG, made smaller until it is."""
    if len(encoded := _encoded(page, "png")) <= MOST:
        return f"data:image/png;base64,{encoded}"
    page = page.convert("RGB")
    while len(encoded := _encoded(page, "jpeg", quality=85)) > MOST:
        page = page.resize((page.width * 3 // 4, page.height * 3 // 4))
    return f"data:image/jpeg;base64,{encoded}"


def _encoded(page: Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    page.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def _object(response: httpx.Response) -> dict[str, Any]:
    """The answer; one that is no JSON object, or has a status of failure, as an answer with an `error`."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {"error": f"status {response.status_code}, no JSON object: {response.text[:80]}"}
    if response.status_code >= 400:
        return {**answer, "error": f"status {response.status_code} {answer.get('error', '')}".rstrip()}
    return answer


def _line(text: str) -> str:
    return " ".join(text.split())[:160]


def _id(answer: dict[str, Any]) -> str:
    info = answer.get("error_info")
    return str(info.get("id", "")) if isinstance(info, dict) else ""


def _seconds(text: str | None, default: float) -> float:
    try:
        return min(120.0, max(0.0, float(text))) if text is not None else default
    except ValueError:  # a date
        return default
