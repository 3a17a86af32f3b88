"""The engine's own limit: as many tokens as a run sampled, in one batch without tools.

Defined so: problem after problem, as in that run; for each, all candidates at once, each as one request from the problem's
prompt for exactly as many tokens as that candidate sampled in all of its turns, those that a stop string cut off and ends
of sequences included. So the batch empties as the run's did where a long candidate is left alone, which no loop can mend,
but never waits for code, for the event loop or for a prompt sent again. Same sampling parameters and a seed a request;
text is read out, as vLLM does by default, but no stop strings are looked for, and nothing but the length ends a request.
A shorter context than the run's (no outputs in it) makes it a little too fast: what a run takes longer is a bound on what
its loop costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_loop import Request
from sctir_kaggle.rollout import seed_for
from sctir_kaggle.types import Problem


async def generate_flat(engine: VLLMEngine, problem: Problem, config: SolverConfig, tokens: Mapping[str, int]) -> None:
    """Of one problem: `tokens` says how many for each "{problem.id}/{candidate}"."""
    prompt = engine.tokenizer.encode(render(NUMINA, problem))
    await asyncio.gather(
        *(_generate(engine, f"{candidate}/0", prompt, count, config) for candidate, count in tokens.items() if count)
    )


async def _generate(
    engine: VLLMEngine, request_id: str, prompt: tuple[int, ...], count: int, config: SolverConfig
) -> None:
    """Past `VLLMEngine.generate`, which has no way to go on after an end of sequence."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    engine._loop.submit(Request(request_id, prompt, _exactly(count, config, request_id), future))
    await future


def _exactly(count: int, config: SolverConfig, request_id: str) -> Any:
    import vllm  # type: ignore[import-not-found,unused-ignore]
    from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found,unused-ignore]

    return vllm.SamplingParams(
        n=1,
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=count,
        ignore_eos=True,
        seed=seed_for(config.seed, request_id),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
