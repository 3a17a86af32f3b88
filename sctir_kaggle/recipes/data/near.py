"""Cosine distance from a text's embedding to the nearest validation item's.

The embeddings come from a sentence-transformers model (a folder or a name at the Hub) or from an OpenAI-compatible
`/v1/embeddings`. `TfIdf` needs no model, and is **not** the same thing: it counts the words that two texts share, and
sees neither synonyms nor another wording, nor does the limit of 0.15 mean the same with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle.engines.openai_client import MAY_PASS
from sctir_kaggle.engines.openai_server import LONGEST_PAUSE, seconds_to_wait, server_at
from sctir_kaggle.recipes.data.overlap import Item, words_of
from sctir_kaggle.types import EngineError, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Embed = Callable[[Sequence[str]], "Vectors"]
"""Maps texts to vectors [texts, dimensions] of any norm; they are normalised here."""


class Nearness(Protocol):
    """A measure of distance to the validation items."""

    def nearest(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """For each text the id of the nearest item and its cosine distance, 0 (the same direction) to 2."""
        ...


class Embeddings:
    """Nearness by an embedding model. Memory: the items' vectors, and texts x items float32 distances a call."""

    def __init__(self, embed: Embed, items: Sequence[Item]) -> None:
        self._embed, self._ids = embed, [item.id for item in items]
        self._items = _unit(embed([item.text for item in items]))

    def nearest(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """See `Nearness`."""
        return _nearest(_unit(self._embed(texts)) @ self._items.T, self._ids)


class TfIdf:
    """Nearness by shared words, weighted by rarity among the items (scikit-learn's smooth idf)."""

    def __init__(self, items: Sequence[Item]) -> None:
        try:
            from sklearn.feature_extraction.text import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
                HashingVectorizer,
                TfidfTransformer,
            )
        except ImportError:
            raise UserError(
                "embedder tfidf needs scikit-learn, which is not installed: pip install 'sctir-kaggle[data]'"
            ) from None
        self._ids = [item.id for item in items]
        self._count = HashingVectorizer(analyzer=words_of, n_features=2**20, alternate_sign=False, norm=None)
        self._weigh = TfidfTransformer(sublinear_tf=True)
        self._items = self._weigh.fit_transform(self._count.transform([item.text for item in items])).T.tocsr()

    def nearest(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """See `Nearness`."""
        similarity = self._weigh.transform(self._count.transform(texts)) @ self._items
        return _nearest(similarity.toarray(), self._ids)


def sentence_transformer(model: str, *, batch: int = 64) -> Embed:
    """Load a sentence-transformers model, a folder or a name on the Hub; it embeds `batch` texts a forward pass."""
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UserError(
            "embedder sentence-transformers is not installed: pip install sentence-transformers, "
            "or --set embedder=endpoint (a server), tfidf (shared words, no model) or none"
        ) from None
    try:
        loaded = SentenceTransformer(model)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"no embedding model at {model!r} ({said}); --set model=FOLDER, or a name at the Hub") from None

    def embed(texts: Sequence[str]) -> Vectors:
        vectors: Vectors = loaded.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_numpy=True)
        return vectors

    return embed


def _unit(vectors: Any) -> Vectors:
    """Normalise the rows [n, dimensions]; a zero row stays zero, so that it is at distance 1 from everything."""
    import numpy as np

    rows = np.asarray(vectors, dtype=np.float32)
    unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def _nearest(similarity: NDArray[Any], ids: Sequence[str]) -> list[tuple[str, float]]:
    best = similarity.argmax(axis=1)
    return [(ids[item], 1.0 - float(row[item])) for row, item in zip(similarity, best, strict=True)]


PAUSE = 0.5
"""Seconds before the second try; doubled before each further one."""


class Endpoint:
    """A client of an OpenAI-compatible server, an async context manager; at most `at_once` requests are in flight.

    A request is tried `tries` times, for `seconds` each. The key is `OPENAI_API_KEY` of the environment, if set.
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
        """Return a vector for each text, in order. Raises `EngineError` for a reply of another shape."""
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
        """POST to /v1/`path`; return the JSON of the reply. Raises `EngineError` for a refusal, and after the last try."""
        async with self._gate:
            for number in range(self._tries):
                done, reply, asked_for = await self._try(path, body)
                if done:
                    return reply
                if number + 1 < self._tries:
                    await asyncio.sleep(min(asked_for or PAUSE * 2.0**number, LONGEST_PAUSE))
        raise EngineError(f"{self._server.url}/v1/{path}: given up after {self._tries} tries; the last: {reply}")

    async def _try(self, path: str, body: Mapping[str, Any]) -> tuple[bool, Any, float | None]:
        """Try once: (whether it succeeded, the reply or the error, the pause in seconds that the server asked for)."""
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


def served(base_url: str, model: str, *, batch: int = 64) -> Embed:
    """Embed with `model` at `base_url`, `batch` texts a request. Raises `EngineError` where it cannot serve."""

    async def ask(texts: Sequence[str]) -> list[list[float]]:
        parts = [texts[start : start + batch] for start in range(0, len(texts), batch)]
        async with Endpoint(base_url, at_once=16) as endpoint:
            replies = await asyncio.gather(*(endpoint.embeddings(model, part) for part in parts))
        return [vector for reply in replies for vector in reply]

    def embed(texts: Sequence[str]) -> Vectors:
        import numpy as np

        return np.asarray(asyncio.run(ask(texts)), dtype=np.float32)

    return embed
