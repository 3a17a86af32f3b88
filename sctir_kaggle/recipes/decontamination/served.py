"""Embeddings from an OpenAI-compatible `/v1/embeddings`, several batches of texts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.decontamination.endpoint import Endpoint

if TYPE_CHECKING:
    from sctir_kaggle.recipes.decontamination.near import Embed, Vectors


def served(base_url: str, model: str, *, batch: int = 64) -> Embed:
    """Asks `model` at `base_url` with `batch` texts a request. Raises `EngineError` where it cannot serve."""

    async def ask(texts: Sequence[str]) -> list[list[float]]:
        parts = [texts[start : start + batch] for start in range(0, len(texts), batch)]
        async with Endpoint(base_url, at_once=16) as endpoint:
            replies = await asyncio.gather(*(endpoint.embeddings(model, part) for part in parts))
        return [vector for reply in replies for vector in reply]

    def embed(texts: Sequence[str]) -> Vectors:
        import numpy as np

        return np.asarray(asyncio.run(ask(texts)), dtype=np.float32)

    return embed
