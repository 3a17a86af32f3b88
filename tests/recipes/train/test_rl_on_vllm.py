"""RL with the candidates of vLLM, in its CPU build: tokens, probabilities, and a whole run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the engine needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.recipes.train.rl import rl
from tests.support.rl_support import Step, sampled, settings
from tests.support.vllm_support import Engines, needs_vllm


@pytest.fixture(scope="module")
def trl() -> None:
    pytest.importorskip("trl", reason="RL needs the training stack: pip install 'sctir-kaggle[recipes]'")


@needs_vllm
@pytest.mark.usefixtures("trl")
def test_a_run_goes_on_after_its_checkpoint_and_samples_from_each_steps_weights(
    engines: Engines, tmp_path: Path
) -> None:
    """An engine that kept the first step's weights had ratios from 0.1 to 1.6 at the second, down to 5e-17 at the third."""
    engines.close()  # a process has one at a time
    chosen = {"engine": "vllm", "save_every": 1, "learning_rate": 1e-3, "schedule": "constant", "checkpointing": True}
    rl(settings(tmp_path, steps=2, **chosen))
    assert (tmp_path / "checkpoint-2").is_dir()
    rl(settings(tmp_path, steps=3, **chosen))
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert line["candidates/turns"] > 1
        assert line["sampling/importance_sampling_ratio/min"] == pytest.approx(1, abs=1e-2)
        assert line["sampling/importance_sampling_ratio/max"] == pytest.approx(1, abs=1e-2)
    assert not distributed_is_open()


def distributed_is_open() -> bool:
    from torch import distributed

    return bool(distributed.is_initialized())


@pytest.fixture(scope="module", params=["grpo", "rloo"])
def step(
    request: pytest.FixtureRequest, trl: None, engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Step]:
    engines.close()
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
