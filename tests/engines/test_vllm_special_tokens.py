"""Special tokens through vLLM: what ended a turn is sent again as it was sampled, and found in the prefix cache.

The model is a random Llama whose tokenizer has the special tokens of ChatML with tools and some like harmony's.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.types import Completion, Control, Prompt, SamplingParams
from tests.support.special_model import WORDS, misread, write_checkpoint
from tests.support.vllm_support import Engines, ask, ask_all, inner, needs_vllm

BLOCK = 32
"""Tokens; the smallest that the CPU build has."""

TURNS = 4
FORMATS: dict[str, tuple[list[str | Control], Control, Control]] = {
    "numina": (
        [Control("### Problem: "), "{problem}", Control("\n### Solution: ")],
        Control("\n```output\n"),
        Control("\n```\n"),
    ),
    "chatml tools": (
        [Control("<|im_start|>user\n"), "{problem}", Control("<|im_end|>\n<|im_start|>assistant\n<tool_call>\n")],
        Control("\n<|im_start|>user\n<tool_response>\n"),
        Control("\n</tool_response><|im_end|>\n<|im_start|>assistant\n"),
    ),
    "harmony": (
        [
            Control("<|start|>user<|message|>"),
            "{problem}",
            Control("<|end|><|start|>assistant<|channel|>analysis<|message|>"),
        ],
        Control("<|start|>python to=assistant<|channel|>analysis<|message|>"),
        Control("<|end|><|start|>assistant<|channel|>analysis to=python<|message|>"),
    ),
}
ENDS = {"numina": [], "chatml tools": ["<|im_end|>", "</tool_call>"], "harmony": ["<|call|>", "<|return|>", "<|end|>"]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("special"))


@pytest.fixture
def engine(engines: Engines, checkpoint: Path) -> VLLMEngine:
    return engines.load(checkpoint, slots=16, options={"block_size": BLOCK, "max_num_batched_tokens": 8192})


def _output(draw: random.Random) -> str:
    """Outputs of programs; some spell special tokens."""
    return " ".join(draw.choices([*WORDS, "<|im_end|>", "<|call|>", "</tool_response>"], k=draw.randrange(1, 30)))


def _params(engine: VLLMEngine, name: str, turn: int, candidate: int) -> SamplingParams:
    ends = tuple(place for place in map(engine.tokenizer.id_of, ENDS[name]) if place is not None)
    return SamplingParams(
        temperature=1.0,
        max_tokens=40 + 7 * candidate,
        seed=100 * candidate + turn,
        stop_token_ids=ends,
        stop=("@@", "7 $"),
    )


@needs_vllm
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_sent_again_is_found_in_the_prefix_cache_but_for_the_last_block(engine: VLLMEngine, name: str) -> None:
    head, before, after = FORMATS[name]
    draw = random.Random(name)
    prompts: list[Prompt] = [
        tuple(part if isinstance(part, Control) else f"Find {number} of {_output(draw)}." for part in head)
        for number in range(8)
    ]
    sent = cached = ended = 0
    known: list[tuple[int, ...]] = [()] * len(prompts)
    for turn in range(TURNS):
        said = ask_all(engine, [(prompt, _params(engine, name, turn, place)) for place, prompt in enumerate(prompts)])
        for place, completion in enumerate(said):
            ids = engine.tokenizer.encode(prompts[place])
            assert ids[: len(known[place])] == known[place], "what was sampled is sent otherwise"
            full = max(0, len(known[place]) - 1) // BLOCK * BLOCK  # the token sampled last has not run yet
            sent += full
            cached += min(completion.cached_tokens, full)
            ended += completion.ended_by_token
            known[place] = (*ids, *completion.token_ids)
            bridge = (before, _output(draw), after)
            prompts[place] = (*prompts[place], completion.token_ids, *bridge)
    assert sent > 8 * BLOCK * TURNS
    assert cached >= 0.98 * sent, f"{cached} of {sent} tokens in full blocks"
    assert ended >= (8 if ENDS[name] else 0)


@needs_vllm
def test_a_token_that_was_asked_to_end_it_is_the_reason_and_the_checkpoints_own_is_none(engine: VLLMEngine) -> None:
    whole = _sampled(engine, SamplingParams(temperature=1.0, max_tokens=60, seed=5))
    token = whole.token_ids[9]
    stopped = _sampled(engine, SamplingParams(temperature=1.0, max_tokens=60, seed=5, stop_token_ids=(token,)))
    first = whole.token_ids.index(token)
    assert stopped.token_ids == whole.token_ids[: first + 1]
    assert (stopped.stop_reason, stopped.ended_by_token) == (token, True)
    assert stopped.text == engine.tokenizer.decode(whole.token_ids[:first])
    own = _until(engine, lambda said: said.finish_reason == "stop")
    assert (own.stop_reason, own.token_ids[-1]) == (None, engine.tokenizer.id_of("<|im_end|>"))


def _sampled(engine: VLLMEngine, params: SamplingParams) -> Completion:
    return ask(engine, (Control("<|im_start|>user\n"), "Hi", Control("<|im_end|>\n")), params)


def _until(engine: VLLMEngine, condition: Any) -> Completion:
    """The first of many seeds whose completion is such a one."""
    params = SamplingParams(temperature=1.0, max_tokens=80)
    prompt = (Control("<|im_start|>user\n"), "Hi")
    said = ask_all(engine, [(prompt, replace(params, seed=seed)) for seed in range(24)])
    return next(completion for completion in said if condition(completion))


@needs_vllm
@pytest.mark.parametrize("token", ["</tool_call>", "<|end|>", "<|call|>"])
def test_a_stop_string_made_of_a_special_token_is_seen(engine: VLLMEngine, token: str) -> None:
    params = SamplingParams(temperature=1.0, max_tokens=80)
    requests = [((Control("<|start|>"), "Hi"), replace(params, seed=seed)) for seed in range(24)]
    whole = ask_all(engine, requests)
    stopped = ask_all(engine, [(prompt, replace(own, stop=(token,))) for prompt, own in requests])
    hits = 0
    for free, cut in zip(whole, stopped, strict=True):
        if token in free.text:
            hits += 1
            assert cut.stop_reason == token
            assert cut.text == free.text[: free.text.index(token) + len(token)]
            assert cut.token_ids == free.token_ids[: len(cut.token_ids)]
    assert hits, "the random model never says it"


@needs_vllm
def test_samplers_beyond_top_p_reach_vllm(engine: VLLMEngine) -> None:
    greedy = SamplingParams(temperature=0, max_tokens=30)
    alone = _sampled(engine, greedy).token_ids
    for narrowed in ({"top_k": 1}, {"min_p": 1.0}):
        assert _sampled(engine, SamplingParams(temperature=1.0, max_tokens=30, seed=1, **narrowed)).token_ids == alone
    penalized = _sampled(engine, replace(greedy, repetition_penalty=1.9)).token_ids
    assert len(set(penalized)) > len(set(alone))


@needs_vllm
def test_the_options_are_said_in_the_description(engine: VLLMEngine) -> None:
    assert json.loads(str(engine.describe()["options"])) == {"block_size": BLOCK, "max_num_batched_tokens": 8192}
    assert inner(engine).vllm_config.scheduler_config.max_num_batched_tokens == 8192


@needs_vllm
def test_the_tokenizer_reads_outputs_without_special_tokens(engine: VLLMEngine) -> None:
    ids = engine.tokenizer.encode(("a <|call|> b",))
    assert not set(ids) & set(engine.tokenizer.added_tokens.values())
    assert isinstance(engine.tokenizer, Tokenizer)


@needs_vllm
def test_a_tokenizer_that_transformers_misreads_is_put_right_for_vllm(
    engines: Engines, checkpoint: Path, tmp_path: Path
) -> None:
    folder = misread(checkpoint, tmp_path / "misread")
    if not Tokenizer.load(folder).notice:
        pytest.skip("the installed transformers reads it rightly")
    engine = engines.load(folder, slots=16)
    assert "wrongly" in str(engine.describe()["tokenizer"])
    requests = [(("So we ",), SamplingParams(temperature=1.0, max_tokens=60, seed=seed)) for seed in range(16)]
    stops = [(prompt, replace(own, stop=(" ", "\n"))) for prompt, own in requests]
    for free, cut in zip(ask_all(engine, requests), ask_all(engine, stops), strict=True):
        ends = [free.text.index(space) + 1 for space in (" ", "\n") if space in free.text]
        assert cut.text == free.text[: min(ends, default=None)]
    assert any(" " in completion.text for completion in ask_all(engine, stops))
