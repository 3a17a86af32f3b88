"""A real pretrained model in vLLM's CPU build: SmolLM2-135M-Instruct answers as in the transformers engine, and solves."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from sctir_kaggle import Problem, Solver, SolverConfig
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, Control, Engine, Prompt, SamplingParams
from tests.support.smollm2 import smollm2
from tests.support.vllm_support import Engines, ask_all, needs_vllm, run

GREEDY = SamplingParams(temperature=0, max_tokens=24)
COUNTRIES = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo"}


@pytest.fixture(scope="module")
def model() -> Path:
    return smollm2()


def question(country: str) -> Prompt:
    text = f"What is the capital of {country}?"
    return Control("<|im_start|>user\n"), text, Control("<|im_end|>\n<|im_start|>assistant\n")


def answers(engine: Engine, name: str) -> Sequence[Completion]:
    """The greedy completions of all questions at once; time and memory are printed (`-rP` shows them)."""
    started = time.monotonic()
    said = ask_all(engine, [(question(country), GREEDY) for country in COUNTRIES])
    seconds, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {sum(one.tokens for one in said) / seconds:.0f} tokens/s, {peak:.1f} GiB at most so far")
    return said


@needs_vllm
def test_it_knows_capitals_and_says_them_as_in_the_transformers_engine(model: Path, engines: Engines) -> None:
    from sctir_kaggle.engines.transformers import TransformersEngine

    with closing(TransformersEngine.load(model, slots=4, device="cpu")) as other:
        expected = answers(other, "transformers, float32")
    started = time.monotonic()
    engine = engines.load(model, dtype="float32", context_length=1024)
    print(f"vLLM starts in {time.monotonic() - started:.0f} s")
    said = answers(engine, "vLLM, float32")
    for ours, theirs, capital in zip(said, expected, COUNTRIES.values(), strict=True):
        assert capital in ours.text
        assert ours.token_ids[:4] == theirs.token_ids[:4]
    same = sum(ours.token_ids == theirs.token_ids for ours, theirs in zip(said, expected, strict=True))
    assert same >= 3, "rounding may turn one greedy choice of a pair that is nearly tied, not most"


@needs_vllm
def test_the_solver_asks_it_in_its_own_chat_template(model: Path, engines: Engines) -> None:
    engine = engines.load(model, dtype="float32", context_length=1024)
    dialect = choose("chat", engine.tokenizer, model="smollm2", turns=1)
    assert (dialect.turn_end, dialect.stop_token_ids) == ("<|im_end|>", (2,))
    config = SolverConfig(candidates=4, turns=1, max_tokens=64, stop="none")
    with Sandbox(workers=1) as sandbox:
        result = run(Solver(engine, sandbox, config, dialect=dialect).solve(Problem("p", "What is 2 + 2?", 4)))
    written = [trace.turns[0].completion for trace in result.traces]
    assert len(written) == 4
    assert len({one.text for one in written}) > 1, "candidates are sampled with seeds of their own"
    assert all(one.text and "<|im_end|>" not in one.text for one in written)
    assert any(one.ended_by_token for one in written), "it ends a turn with its own token"
