"""The estimate's formulas against what PyTorch counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sctir_kaggle.recipes
from sctir_kaggle.recipes.train.estimate import Machine, Stage, cost, implied_mfu, memory, operations_a_token, report

SMALL = Machine(layers=3, width=96, inner=200, vocabulary=500, gpus=2, batch=1)


def llama(machine: Machine, device: str) -> Any:
    torch = pytest.importorskip("torch", reason="a model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": machine.width, "intermediate_size": machine.inner, "num_hidden_layers": machine.layers}
    make: Any = LlamaConfig
    config = make(**sizes, vocab_size=machine.vocabulary, num_attention_heads=4, tie_word_embeddings=False)
    config._attn_implementation = "eager"
    with torch.device(device):
        return LlamaForCausalLM(config)


@pytest.mark.parametrize("machine", [SMALL, Machine()], ids=["small", "7B"])
def test_the_parameters_are_those_of_the_model(machine: Machine) -> None:
    assert llama(machine, "meta").num_parameters() == machine.parameters


def test_the_7b_model_has_the_published_size() -> None:
    assert 6.9e9 < Machine().parameters < 7.0e9


def test_operations_are_those_that_pytorch_counts() -> None:
    """A forward and a backward pass over one trace, matrix products counted one by one."""
    model = llama(SMALL, "cpu")
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    length = 64
    ids = torch.arange(length)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    expected = length * operations_a_token(SMALL, Stage("", 1, length, length, 1))
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


def test_hours_are_operations_over_what_the_gpus_do() -> None:
    machine = replace(SMALL, peak=1e9, mfu=0.5)
    stage = Stage("", rows=1000, length=50.0, block=100, epochs=2)
    found = cost(machine, stage)
    assert found.steps == 1000 * 50 * 2 / (2 * 1 * 100)
    assert found.hours * 3600 == pytest.approx(found.operations / 1e9)
    assert found.operations == pytest.approx(100_000 * operations_a_token(machine, stage))


def test_zero_3_shares_out_16_bytes_a_parameter() -> None:
    machine = Machine()
    states = list(memory(machine, machine.stages[0]).values())[:3]
    assert sum(states) * machine.gpus == pytest.approx(16 * machine.parameters)
    alone = list(memory(replace(machine, gpus=1), machine.stages[0]).values())
    assert sum(alone) > 80 * 2**30 > sum(memory(machine, machine.stages[0]).values())


def test_the_estimate_agrees_with_the_published_hours_at_a_credible_share_of_the_peak() -> None:
    machine = Machine()
    assert 0.1 < implied_mfu(machine) < 0.6
    hours = sum(cost(replace(machine, mfu=implied_mfu(machine)), stage).hours for stage in machine.stages)
    assert hours == pytest.approx(machine.published_hours)


def test_the_report_says_what_is_assumed() -> None:
    text = report(Machine(cot_tokens=500.0))
    assert "| 1: CoT | 860,000 | 500 | 1,290e6 |" in text
    assert "tokens a row (assumed)" in text
    assert "Published: 10 hours for both." in text


def test_the_readme_of_the_recipes_shows_this_estimate() -> None:
    assert report(Machine()) in (Path(sctir_kaggle.recipes.__file__).parent / "README.md").read_text()
