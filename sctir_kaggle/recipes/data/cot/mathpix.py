"""Read pages by Mathpix's API, as the original did: POST v3/text with the page as an image, an answer in Mathpix Markdown.

https://docs.mathpix.com/reference/post-v3-text. Each page is paid for. Keys are the environment's MATHPIX_APP_ID and
MATHPIX_APP_KEY.
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

from sctir_kaggle.recipes.data.cot.backends import Answer, Options, Recognized
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
    def opened(cls, options: Options) -> Mathpix:
        """Take the keys from the environment. Raises `UserError` where one is missing, or httpx is not installed."""
        keys = [os.environ.get(name, "") for name in KEYS]
        if not all(keys):
            raise UserError(f"Mathpix needs keys: export {KEYS[0]}=... {KEYS[1]}=...")
        try:
            import httpx  # noqa: F401
        except ImportError:
            raise UserError("httpx is not installed: pip install 'sctir-kaggle[data]'") from None
        return cls(*keys, url=(options.url or URL).rstrip("/"))

    def read(self, pages: Sequence[Image]) -> list[Answer]:
        """The answers in order; an `EngineError` where the server does not answer, or refuses the keys."""
        import httpx

        headers = {"app_id": self.app_id, "app_key": self.app_key}
        with httpx.Client(headers=headers, timeout=120) as client, ThreadPoolExecutor(self.batch) as pool:
            return list(pool.map(lambda page: self._read(client, page), pages))

    def _read(self, client: httpx.Client, page: Image) -> Answer:
        file = io.BytesIO()
        page.save(file, "png")
        body = {"src": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", **REQUEST}
        try:
            answer = self._post(client, body)
        except EngineError as error:  # a value, so that the other pages' answers, which are paid for, are kept
            return error
        if reason := answer.get("error"):
            return Rejected(f"Mathpix: {' '.join(str(reason).split())}")
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
            except httpx.InvalidURL as error:
                raise UserError(f"{self.url} is no address: {error}; --set formula_url=http://HOST") from None
            except httpx.RequestError as error:
                said = f"{type(error).__name__} {error}"
            else:
                if response.status_code in (401, 403):
                    raise EngineError(f"Mathpix refuses the keys {' and '.join(KEYS)}: {response.text[:120]}")
                if response.status_code != 429 and response.status_code < 500:
                    return _object(response)
                said = f"status {response.status_code}"
                wait = _seconds(response.headers.get("retry-after"), wait)
            if attempt + 1 < self.tries:
                time.sleep(wait)
        raise EngineError(
            f"Mathpix at {self.url}, {self.tries} requests for a page: {said}; start the step again later"
        )


def _object(response: httpx.Response) -> dict[str, Any]:
    """The answer; one that is no JSON object, or has a status of failure without a reason, as an answer with an error."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {"error": f"status {response.status_code}, no JSON object: {response.text[:80]}"}
    return answer if response.status_code < 400 else {"error": f"status {response.status_code}: {answer}"[:200]}


def _seconds(text: str | None, default: float) -> float:
    try:
        return min(120.0, max(0.0, float(text))) if text is not None else default
    except ValueError:  # a date
        return default
