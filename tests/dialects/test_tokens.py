"""The transcripts once more in tokens of real tokenizers: what was sampled is what is sent again, and the vote is right."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle import Completion, Problem, Prompt, Rollout, SamplingParams, SolverConfig
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Control, TokenIds
from tests.dialects.test_families import TRANSCRIPTS
from tests.dialects.test_recognition import templated
from tests.real_tokenizers import real

pytestmark = pytest.mark.tokenizers


class Sampled:
    """Writes texts in a tokenizer's tokens as a model would: up to a stop string, else ended by a token."""

    def __init__(self, tokenizer: Tokenizer, texts: tuple[str, ...], end: int) -> None:
        self.tokenizer, self._texts, self._end = tokenizer, list(texts), end
        self.prompts: list[TokenIds] = []
        self.sampled: list[TokenIds] = []

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """The next text."""
        ids = self.tokenizer.encode(prompt)
        written = self.tokenizer.encode_text(Control(self._texts.pop(0)), before=ids[-1])
        text = self.tokenizer.decode(written, before=ids[-1])
        stop = next((stop for stop in params.stop if stop in text), None)
        sampled = written if stop else (*written, self._end)
        said, kept = self.tokenizer.finish(sampled, stop=stop, before=ids[-1], ended=stop is None)
        self.prompts.append(ids)
        self.sampled.append(kept)
        reason = stop or (self._end if self._end in params.stop_token_ids else None)
        return Completion(said, kept, "stop", reason, len(kept), len(ids))


@pytest.mark.parametrize(
    ("choice", "name", "template"),
    [
        ("numina", "deepseek", None),
        ("deepseek-math", "deepseek", None),
        ("qwen2.5-math", "qwen3", None),
        ("openmath-nemotron", "qwen3", None),
        ("qwen3", "qwen3", None),
        ("hermes", "qwen3", "qwen2_5"),
        ("qwen3-coder", "qwen3", "qwen3_5_think"),
        ("gpt-oss", "gptoss", None),
        ("r1", "qwen3", "deepseek_r1_distill"),
        ("chat", "qwen3", None),
        ("chat", "deepseek_v3", None),
        ("chat", "llama3", None),
    ],
)
def test_a_transcript_in_tokens(choice: str, name: str, template: str | None, sandbox: Sandbox, tmp_path: Path) -> None:
    tokenizer = templated(tmp_path, template) if template else Tokenizer.load(real(name))
    dialect = choose(choice, tokenizer, model=name, turns=4)
    texts = TRANSCRIPTS[choice]
    if dialect.thinks_first and choice != "r1":  # its template has opened the thinking
        texts = tuple(f"Hm.\n</think>\n\n{text}" for text in texts)
    end = tokenizer.id_of(dialect.turn_end) if dialect.turn_end else next(iter(tokenizer.end_ids))
    assert end is not None
    engine = Sampled(tokenizer, texts, end)
    rollout = Rollout(
        Problem("p", "Sum 0 to 9."),
        0,
        engine=engine,
        executor=sandbox,
        config=SolverConfig(candidates=1),
        deadline=time.monotonic() + 60,
        dialect=dialect,
    )
    trace = asyncio.run(rollout.run())
    assert (trace.turns[0].execution is not None, trace.answer) == (True, 45)
    first, second = engine.prompts
    assert second[: len(first) + len(engine.sampled[0])] == (*first, *engine.sampled[0])
    assert (engine.sampled[0][-1] == end) == bool(dialect.turn_end)
