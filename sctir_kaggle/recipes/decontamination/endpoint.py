"""One server of embeddings with OpenAI's API. What writes text is `engines/openai_chat.py`.

Covered: statuses and broken connections that may pass are tried again after what the server asks for, or a pause that
doubles; the API key is in no message. Not covered: a shared rate limit, several servers, counting costs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from sctir_kaggle.engines.openai_client import MAY_PASS
from sctir_kaggle.engines.openai_server import LONGEST_PAUSE, seconds_to_wait, server_at
from sctir_kaggle.types import EngineError

PAUSE = 0.5
"""Seconds before the second try."""


class Endpoint:
    """`tries` a request in all, each of at most `seconds`; `at_once` requests run. An async context manager.

    The key is `OPENAI_API_KEY` of the environment, where it is set.
    """

    def __init__(self, base_url: str, *, tries: int = 6, seconds: float = 300.0, at_once: int = 64) -> None:
        try:
            import httpx
        except ImportError:
            raise EngineError("httpx is not installed: pip install 'sctir-kaggle[data]'") from None
        self._server, self._tries = server_at(base_url), tries
        self._gate = asyncio.Semaphore(at_once)
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            auth=self._server.auth,
            timeout=httpx.Timeout(seconds, connect=10, pool=None),
            limits=httpx.Limits(max_connections=at_once),
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},  # never through a proxy
        )

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        await self._http.aclose()

    async def embeddings(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector a text, in order."""
        reply = await self.post("embeddings", {"model": model, "input": list(texts), "encoding_format": "float"})
        try:
            data = sorted(reply["data"], key=lambda item: item["index"])
            vectors = [list(map(float, item["embedding"])) for item in data]
        except (KeyError, TypeError, ValueError):
            raise EngineError(f"{self._server.url}: no embeddings in its reply: {str(reply)[:200]}") from None
        if len(vectors) != len(texts):
            raise EngineError(f"{self._server.url}: {len(vectors)} embeddings for {len(texts)} texts; lower `batch`")
        return vectors

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that /v1/`path` answers with. Raises `EngineError` for a refusal, and after the last try."""
        async with self._gate:
            for number in range(self._tries):
                done, reply, asked_for = await self._try(path, body)
                if done:
                    return reply
                if number + 1 < self._tries:
                    await asyncio.sleep(min(asked_for or PAUSE * 2.0**number, LONGEST_PAUSE))
        raise EngineError(f"{self._server.url}/v1/{path}: given up after {self._tries} tries; the last: {reply}")

    async def _try(self, path: str, body: Mapping[str, Any]) -> tuple[bool, Any, float | None]:
        """Whether it is answered; the answer, or else what failed; the seconds that the server asked for."""
        import httpx

        url = f"{self._server.url}/v1/{path}"
        try:
            response = await self._http.post(url, json=body)
            if response.status_code == 200:
                return True, response.json(), None
        except (httpx.RequestError, ValueError) as error:
            return False, f"{type(error).__name__}: {' '.join(str(error).split())}", None
        said = " ".join(response.text.split()).replace(self._key or "\0", "***")[:300]
        if response.status_code not in MAY_PASS:
            hint = ": set OPENAI_API_KEY" if response.status_code in (401, 403) else ""
            raise EngineError(f"{url}: status {response.status_code}: {said}{hint}")
        return False, f"status {response.status_code}: {said}", seconds_to_wait(response.headers.get("retry-after"))
