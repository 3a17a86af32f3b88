"""vLLM with the weights of a model in training: what it samples, and with which log-probabilities."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the engine needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.engines.vllm_loop import EngineLoop
from sctir_kaggle.recipes.train.live_engine import LiveEngine, Sampled
from sctir_kaggle.recipes.train.live_vllm import LiveVLLM
from sctir_kaggle.types import EngineError
from tests.support.rl_support import change
from tests.support.vllm_support import GREEDY, MODEL, Engines, ask_all, inner, needs_vllm, prompts, run

GREEDILY = [(prompt, replace(GREEDY, max_tokens=80, seed=at)) for at, prompt in enumerate(prompts(4))]
"""Each has a seed of its own, since `LiveEngine` tells requests apart by it."""

SAMPLES = [(prompt, replace(params, temperature=0.8)) for prompt, params in GREEDILY]


@pytest.fixture(scope="module")
def engine(engines: Engines) -> Iterator[LiveVLLM]:
    engines.close()  # a process has one at a time
    started = start()
    try:
        yield started
    finally:
        started.close()


def start(model: Path = MODEL) -> LiveVLLM:
    return LiveVLLM.start(str(model), slots=6, context_length=None, dtype="float32", memory=0.3, sleeps=True)


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
    for seed in (None, 1):
        if seed is not None:
            change(model, seed=seed)
        engine.take(model.named_parameters())
        said = ask_all(engine, GREEDILY)
        greedy.append(engine.sampled.copy())
        assert [one.cached_tokens for one in said] == [0] * len(said)
        expected = by_transformers(model, engine, GREEDILY)
        assert {name: one.ids for name, one in greedy[-1].items()} == {name: one.ids for name, one in expected.items()}
        assert max(difference(one, model, 1.0) for one in greedy[-1].values()) < 1e-4
    assert len({tuple(one.log_probabilities for one in found.values()) for found in greedy}) == 2


@needs_vllm
def test_the_log_probabilities_are_those_at_the_temperature(engine: LiveVLLM, model: Any) -> None:
    engine.take(model.named_parameters())
    ask_all(engine, SAMPLES)
    assert len(engine.sampled) == len(SAMPLES)
    for one in engine.sampled.values():
        assert len(one.log_probabilities) == len(one.ids)
        assert difference(one, model, 0.8) < 1e-4
        assert difference(one, model, 1.0) > 1e-2


@needs_vllm
def test_the_record_has_the_token_that_a_stop_string_cut(engine: LiveVLLM, model: Any) -> None:
    engine.take(model.named_parameters())
    prompt = GREEDILY[0][0]
    [whole] = ask_all(engine, [(prompt, replace(GREEDY, stop=(), max_tokens=60))])
    ids = engine.sampled["p/0/0"].ids
    stops = [whole.text[start : start + 3] for start in range(0, len(whole.text) - 3, 4)]
    cut = ask_all(engine, [(prompt, replace(GREEDY, max_tokens=60, stop=("@never@", stop))) for stop in stops])
    records = [engine.sampled[f"p/{place}/0"].ids for place in range(len(stops))]
    assert all(one == ids[: len(one)] for one in records)
    assert sum(said.token_ids != one for said, one in zip(cut, records, strict=True)) > 5


@needs_vllm
def test_a_name_that_vllm_does_not_know_is_one_line(engine: LiveVLLM, model: Any) -> None:
    weight = dict(model.named_parameters())["lm_head.weight"]
    with pytest.raises(EngineError, match="vLLM did not take the weights in training: ") as error:
        engine.take([("model.layers.99.mlp.down_proj.weight", weight)])
    assert "\n" not in str(error.value)
    engine.take(model.named_parameters())
    ask_all(engine, GREEDILY)
    assert max(difference(one, model, 1.0) for one in engine.sampled.values()) < 1e-4


@needs_vllm
def test_it_takes_weights_after_requests_that_were_cancelled(engine: LiveVLLM, model: Any) -> None:
    """As those are that have not ended after the seconds of a step: vLLM keeps its prefix cache while one runs."""
    engine.take(model.named_parameters())

    async def cancelled() -> None:
        endless = replace(GREEDY, stop=(), stop_token_ids=(), max_tokens=1500, temperature=1.5)
        work = [asyncio.create_task(engine.generate(prompt, endless, request_id="p")) for prompt, _ in GREEDILY]
        while not inner(engine).has_unfinished_requests():
            await asyncio.sleep(0.001)
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.to_thread(engine.take, model.named_parameters())

    run(cancelled())
    assert engine.sampled == {}
    ask_all(engine, GREEDILY)
    assert max(difference(one, model, 1.0) for one in engine.sampled.values()) < 1e-4


@needs_vllm
def test_a_dead_one_is_not_built_again(engine: LiveVLLM, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next would sample from random weights."""
    engine.take(model.named_parameters())

    def dies() -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(inner(engine), "step", dies)
    for _ in range(2):
        with pytest.raises(EngineError, match="vLLM died: RuntimeError: out of memory"):
            ask_all(engine, GREEDILY[:1])
    with pytest.raises(EngineError, match="did not take the weights in training: EngineError: vLLM died"):
        engine.take(model.named_parameters())
    assert engine.describe()["restarts"] == 0


@needs_vllm
def test_tied_and_biased_layers_are_copied_too(engine: LiveVLLM, tmp_path: Path) -> None:
    """On a CPU vLLM packs the weights of its layers, an output layer that is the embedding's too."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    engine.close()
    shutil.copytree(MODEL, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    config = LlamaConfig.from_pretrained(
        MODEL, num_hidden_layers=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, initializer_range=0.2
    )
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config).float().eval()
    model.save_pretrained(tmp_path)
    tied = start(tmp_path)
    try:
        for seed in (1, 2):
            change(model, seed=seed)
            with torch.no_grad():
                for name, weights in model.named_parameters():
                    weights.add_(torch.randn_like(weights) if name.endswith("bias") else 0)
            tied.take(model.named_parameters())
            ask_all(tied, SAMPLES)
            assert max(difference(one, model, 0.8) for one in tied.sampled.values()) < 1e-3
    finally:
        tied.close()


class Asleep:
    """Plays a vLLM on a GPU, and writes down what is asked of it."""

    model_config = SimpleNamespace(get_vocab_size=lambda: 8, enable_sleep_mode=True)

    def __init__(self, *, cached: bool = False) -> None:
        self.said: list[object] = []
        self.cached = cached

    def wake_up(self, tags: list[str]) -> None:
        self.said.append(("wake up", *tags))

    def sleep(self, level: int) -> None:
        self.said.append(("sleep", level))

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        self.said.append((method, [name for name, _ in kwargs["weights_iterator"]]))

    def apply_model(self, work: object) -> None:
        pass

    def reset_prefix_cache(self) -> bool:
        self.said.append("reset")
        return not self.cached


def played(engine: Asleep) -> LiveVLLM:
    loop = EngineLoop(lambda: engine, lambda engine: None)
    loop.wait_until_started()
    tokenizer: Any = None
    return LiveVLLM(loop, tokenizer, {}, loop.close)


def test_on_a_gpu_it_wakes_for_the_weights_then_for_the_cache_and_sleeps_after_the_step() -> None:
    """The order that vLLM documents for RL: https://docs.vllm.ai/en/latest/features/sleep_mode/."""
    import torch

    inside = Asleep()
    engine = played(inside)
    engine.take([("lm_head.weight", torch.zeros(1, requires_grad=True))])
    engine.rest()
    weights = [("wake up", "weights"), ("reload_weights", ["lm_head.weight"]), ("wake up", "kv_cache")]
    assert inside.said == [*weights, "reset", ("sleep", 2)]
    engine.close()
    with pytest.raises(
        EngineError, match="vLLM did not take the weights in training: EngineError: the engine is closed"
    ):
        engine.take([])


def test_a_prefix_cache_that_stays_is_an_error() -> None:
    engine = played(Asleep(cached=True))
    with pytest.raises(EngineError, match="RuntimeError: its prefix cache is in use"):
        engine.take([])
    engine.close()


@needs_vllm
def test_a_process_with_a_process_group_is_refused(engine: LiveVLLM, tmp_path: Path) -> None:
    from torch import distributed

    engine.close()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", world_size=1, rank=0)
    try:
        with pytest.raises(EngineError, match="start it by python -m, not by accelerate launch"):
            start()
    finally:
        distributed.destroy_process_group()
