"""compressed-tensors W8A16, as llm-compressor wrote it, in vLLM: against transformers, the original and the GPTQ twin.

llm-compressor does not install beside vLLM's CPU build: `tests/recipes/quantize/test_compressed.py` writes the checkpoint to
$SCTIR_W8A16_TWIN in an environment of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.quantize.likeness import Likeness
from sctir_kaggle.recipes.rendering import Row
from tests.support.quantize_support import MODEL, unseen_rows
from tests.support.vllm_support import GREEDY, Engines, ask_all, needs_vllm, prompts, twin

pytestmark = pytest.mark.vllm

ROUNDING, EIGHT_BITS = 1e-5, 1e-4
"""Bounds of a KL divergence, nats a token: of half precision alone (measured: 2e-7), of eight bits (at most 8e-6)."""


@pytest.fixture(scope="module")
def compressed() -> Path:
    folder = os.environ.get("SCTIR_W8A16_TWIN")
    if not folder or not (Path(folder) / "config.json").is_file():
        pytest.skip("SCTIR_W8A16_TWIN names no checkpoint: tests/recipes/quantize/test_compressed.py writes one there")
    return Path(folder)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return unseen_rows(8)


@dataclass(frozen=True, slots=True)
class Served:
    """What vLLM says of its format; greedy completions; log probabilities [learned, vocabulary] of each row."""

    format: str
    texts: tuple[str, ...]
    logs: Sequence[Any]


@pytest.fixture(scope="module")
def served(compressed: Path, rows: list[Row], engines: Engines) -> Mapping[str, Served]:
    from tests.support.vllm_cpu import gptq_kernel
    from tests.support.vllm_logprobs import learned_logprobs

    def serve(folder: Path) -> Served:
        engine = engines.load(folder, slots=10, options={"max_logprobs": -1})
        texts = tuple(said.text for said in ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)]))
        return Served(str(engine.describe()["quantization"]), texts, learned_logprobs(engine, rows))

    gptq_kernel.register()
    return {"gptq in vllm": serve(twin()), "w8a16 in vllm": serve(compressed)}


@pytest.fixture(scope="module")
def read(compressed: Path, rows: list[Row], served: Mapping[str, Served]) -> Mapping[str, Sequence[Any]]:
    """Log probabilities [learned, vocabulary] of each row, by each checkpoint in vLLM and in transformers."""
    import torch

    from sctir_kaggle.recipes.quantize.compare import load_model

    found: dict[str, Sequence[Any]] = {name: one.logs for name, one in served.items()}
    for name, folder in (("original", MODEL), ("w8a16", compressed)):
        model = load_model(folder, device="cpu")
        with torch.inference_mode():
            found[name] = [
                model(torch.tensor([ids[:-1]])).logits[0][torch.tensor(learned[1:])].log_softmax(-1)
                for ids, learned in rows
            ]
    return found


def likeness(read: Mapping[str, Sequence[Any]], rows: Sequence[Row], one: str, other: str) -> Likeness:
    import torch

    from sctir_kaggle.recipes.quantize.compare import trace_of

    tokens = [torch.tensor(ids[1:])[torch.tensor(learned[1:])] for ids, learned in rows]
    return Likeness(tuple(map(trace_of, read[one], read[other], tokens)))


@needs_vllm
@pytest.mark.parametrize(
    ("one", "other", "bound"),
    [
        ("w8a16", "w8a16 in vllm", ROUNDING),
        ("original", "w8a16", EIGHT_BITS),
        ("original", "w8a16 in vllm", EIGHT_BITS),
        ("gptq in vllm", "w8a16 in vllm", EIGHT_BITS),
    ],
)
def test_distributions_of_the_next_token_agree(
    read: Mapping[str, Sequence[Any]], rows: list[Row], one: str, other: str, bound: float
) -> None:
    found = likeness(read, rows, one, other)
    print(f"{one} -> {other}: {found.tokens} tokens, {found.divergence}, {found.agreement}, {found.ratio}")
    assert found.tokens > 500
    assert found.divergence.value < bound, found.divergence
    assert found.agreement.value > 0.99, found.agreement
    assert found.ratio.value == pytest.approx(1, abs=0.01)


@needs_vllm
def test_vllm_reads_its_format_and_writes_with_it_what_the_gptq_twin_writes(served: Mapping[str, Served]) -> None:
    gptq, compressed = served["gptq in vllm"], served["w8a16 in vllm"]
    assert "gptq" in gptq.format
    assert "compressed-tensors" in compressed.format
    agreeing = sum(ours == theirs for ours, theirs in zip(compressed.texts, gptq.texts, strict=True))
    assert agreeing >= 8, f"{agreeing} of 10 greedy completions are the GPTQ twin's"
