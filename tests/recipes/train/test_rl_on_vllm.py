"""RL with the candidates of vLLM, in its CPU build: the weights in training are what samples, at every step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the engine needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.recipes.train.live_engine import LiveEngine, Sampled
from sctir_kaggle.recipes.train.live_vllm import LiveVLLM
from sctir_kaggle.recipes.train.rl import rl
from sctir_kaggle.types import EngineError
from tests.support.rl_support import ROWS, Step, change, sampled, settings
from tests.support.vllm_support import GREEDY, MODEL, ask_all, needs_vllm, prompts

GREEDILY = [(prompt, replace(GREEDY, max_tokens=100)) for prompt in prompts(6)]
SAMPLES = [(prompt, replace(GREEDY, max_tokens=100, temperature=0.8, seed=at)) for at, prompt in enumerate(prompts(6))]


@pytest.fixture(scope="module")
def engine() -> Iterator[LiveVLLM]:
    started = start()
    try:
        yield started
    finally:
        started.close()


def start() -> LiveVLLM:
    return LiveVLLM.start(str(MODEL), slots=6, context_length=None, dtype="float32", memory=0.3, sleeps=True)


@pytest.fixture
def model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(MODEL, dtype=torch.float32).eval()


def by_transformers(model: Any, engine: LiveVLLM, requests: Any) -> dict[str, Sampled]:
    live = LiveEngine(model, engine.tokenizer, slots=6)
    try:
        ask_all(live, requests)
    finally:
        live.close()
    return live.sampled


def difference(one: Sampled, model: Any, temperature: float) -> float:
    """The greatest of a token's log-probability from that of a plain forward of the model."""
    import torch

    ids = torch.tensor([*one.prompt, *one.ids])
    with torch.no_grad():
        logs = (model(input_ids=ids[None]).logits[0, :-1] / temperature).log_softmax(-1)
    own = logs.gather(1, ids[1:, None])[len(one.prompt) - 1 :, 0]
    return float((own - torch.tensor(one.log_probabilities)).abs().max())


@needs_vllm
def test_it_samples_from_the_weights_that_it_took_last(engine: LiveVLLM, model: Any) -> None:
    """The same prompts, so that a key or a value of the old weights, left in the prefix cache, would show."""
    greedy = []
    for seed in (None, 1, 2):
        if seed is not None:
            change(model, seed=seed)
        engine.take(model.named_parameters())
        said = ask_all(engine, GREEDILY)
        greedy.append(engine.sampled.copy())
        assert [one.cached_tokens for one in said] == [0] * len(said)
        expected = by_transformers(model, engine, GREEDILY)
        assert {name: one.ids for name, one in greedy[-1].items()} == {name: one.ids for name, one in expected.items()}
        assert max(difference(one, model, 1.0) for one in greedy[-1].values()) < 1e-4
    assert len({tuple(one.log_probabilities for one in found.values()) for found in greedy}) == 3


@needs_vllm
def test_the_log_probabilities_are_of_the_sampling_and_of_every_sampled_token(engine: LiveVLLM, model: Any) -> None:
    engine.take(model.named_parameters())
    said = ask_all(engine, SAMPLES)
    assert len(engine.sampled) == len(said)
    for completion, one in zip(said, engine.sampled.values(), strict=True):
        assert len(one.ids) == len(one.log_probabilities)
        assert difference(one, model, 0.8) < 1e-4
        assert difference(one, model, 1.0) > 1e-2
        assert engine.tokenizer.decode(one.ids).startswith(completion.text)  # nothing of a stop string's token is cut


@needs_vllm
def test_a_name_that_vllm_does_not_know_is_one_line(engine: LiveVLLM, model: Any) -> None:
    weight = dict(model.named_parameters())["lm_head.weight"]
    with pytest.raises(EngineError, match="vLLM did not take the weights in training: ") as error:
        engine.take([("model.layers.99.mlp.down_proj.weight", weight)])
    assert "\n" not in str(error.value)
    engine.take(model.named_parameters())
    assert ask_all(engine, GREEDILY[:1])[0].text == by_text(model, engine)


def by_text(model: Any, engine: LiveVLLM) -> str:
    live = LiveEngine(model, engine.tokenizer, slots=1)
    try:
        return ask_all(live, GREEDILY[:1])[0].text
    finally:
        live.close()


@pytest.fixture(scope="module", params=["grpo", "rloo"])
def step(request: pytest.FixtureRequest, engine: LiveVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Step]:
    pytest.importorskip("trl", reason="RL needs the training stack: pip install 'sctir-kaggle[recipes]'")
    engine.close()  # a process has one at a time
    with sampled(tmp_path_factory.mktemp(request.param), method=request.param, engine="vllm") as made:
        yield made


@needs_vllm
def test_the_trainer_gets_the_tokens_that_vllm_sampled(step: Step) -> None:
    step.check_tokens()


@needs_vllm
def test_the_probabilities_of_vllm_are_those_of_the_training(step: Step) -> None:
    """In float32. The ratios by which candidates weigh are then close to 1, and the gradient is the plain one."""
    assert step.greatest_difference() < 1e-3
    logged = step.trainer._metrics["train"]
    for name in ("min", "max"):
        [ratio] = logged[f"sampling/importance_sampling_ratio/{name}"]
        assert ratio == pytest.approx(1, abs=1e-2)
    step.check_gradient(tolerance=1e-2)


@needs_vllm
def test_a_run_learns_and_goes_on(step: Step, tmp_path: Path) -> None:
    pass
