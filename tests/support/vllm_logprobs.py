"""Distributions of the next token in vLLM, for every token of a text: what a quantized checkpoint is compared by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_loop import Request
from sctir_kaggle.recipes.rendering import Row
from tests.support.vllm_support import run


def learned_logprobs(engine: VLLMEngine, rows: Sequence[Row]) -> list[Any]:
    """Log probabilities of the whole vocabulary at each learned token: a tensor [learned, vocabulary] for each row.

    The engine needs the option `max_logprobs=-1`.
    """
    from vllm import SamplingParams  # type: ignore[import-not-found,unused-ignore]

    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=-1, detokenize=False, flat_logprobs=True)

    async def every() -> list[Any]:
        loop = asyncio.get_running_loop()
        requests = [Request(f"row-{place}", row[0], params, loop.create_future()) for place, row in enumerate(rows)]
        for request in requests:
            engine._loop.submit(request)
        return list(await asyncio.gather(*(request.future for request in requests)))

    return [_learned(output.prompt_logprobs, row) for output, row in zip(run(every()), rows, strict=True)]


def _learned(found: Any, row: Row) -> Any:
    """vLLM lists each token's candidates by rank, the token itself in front; there is none for the first token."""
    import torch

    places = [place for place, learned in enumerate(row[1]) if learned and place]
    parts = [slice(found.start_indices[place], found.end_indices[place]) for place in places]
    size = max(max(found.token_ids[part]) for part in parts) + 1
    logs = torch.full((len(places), size), torch.nan)
    for number, part in enumerate(parts):
        logs[number, torch.tensor(found.token_ids[part])] = torch.tensor(found.logprobs[part])
    assert not logs.isnan().any()
    return logs
