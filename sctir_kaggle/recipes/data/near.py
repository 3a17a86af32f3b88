"""Cosine distance from a text's embedding to the nearest validation item's.

The embeddings come from a sentence-transformers model (a folder or a name at the Hub) or from an OpenAI-compatible
`/v1/embeddings`. `TfIdf` needs no model, and is **not** the same thing: it counts the words that two texts share, and
sees neither synonyms nor another wording, nor does the limit of 0.15 mean the same with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle.engines.openai_client import Client
from sctir_kaggle.engines.openai_server import Server, server_at
from sctir_kaggle.recipes.data.overlap import Item, words_of
from sctir_kaggle.types import EngineError, UserError, one_line

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
        said = one_line(error, limit=200)
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


AT_ONCE = 16
"""Requests in flight at an embeddings server."""


def served(base_url: str, model: str, *, batch: int = 64) -> Embed:
    """Ask `model` at `base_url` with `batch` texts per request. Raises `EngineError` where it cannot serve."""
    server = server_at(base_url)

    async def ask(texts: Sequence[str]) -> list[list[float]]:
        # A client belongs to one event loop, and each call below has its own.
        client, limit = Client(None, slots=AT_ONCE, stall=300.0), asyncio.Semaphore(AT_ONCE)

        async def part(start: int) -> list[list[float]]:
            async with limit:
                return await _embeddings(client, server, model, texts[start : start + batch])

        try:
            parts = await asyncio.gather(*map(part, range(0, len(texts), batch)))
        finally:
            await client.close()
        return [vector for vectors in parts for vector in vectors]

    def embed(texts: Sequence[str]) -> Vectors:
        import numpy as np

        return np.asarray(asyncio.run(ask(texts)), dtype=np.float32)

    return embed


async def _embeddings(client: Client, server: Server, model: str, texts: Sequence[str]) -> list[list[float]]:
    """One request: a vector per text, in order."""
    body = {"model": model, "input": list(texts), "encoding_format": "float"}
    reply = await client.post(server, "/v1/embeddings", body)
    try:
        data = sorted(reply["data"], key=lambda item: item["index"])
        vectors = [list(map(float, item["embedding"])) for item in data]
    except (KeyError, TypeError, ValueError):
        raise EngineError(f"{server.url}: no embeddings in its reply: {str(reply)[:200]}") from None
    if len(vectors) != len(texts):
        raise EngineError(f"{server.url}: {len(vectors)} embeddings for {len(texts)} texts; lower `batch`")
    return vectors
