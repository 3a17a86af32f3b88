"""The estimate's formulas against what PyTorch counts, and against the files of a real quantized model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sctir_kaggle.recipes
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.train.costs import (
    BLOCK_BYTES,
    Machine,
    Stage,
    cost,
    implied_mfu,
    logits_in_one_piece,
    memory,
    operations_a_token,
    quantization_hours,
    quantization_memory,
    quantized_bytes,
    tokens_a_second,
)
from sctir_kaggle.recipes.train.disk import Stored
from sctir_kaggle.recipes.train.estimate import disk, report

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
    expected = length * operations_a_token(SMALL, length)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False)
    assert counter.get_total_flops() == pytest.approx(length * operations_a_token(SMALL, length, passes=1), rel=0.01)


def test_hours_are_operations_over_what_the_gpus_do() -> None:
    machine = replace(SMALL, peak=1e9, mfu=0.5)
    stage = Stage("", rows=1000, length=50.0, epochs=2, longest=100, batch=1)
    found = cost(machine, stage)
    assert found.steps == 1000 * 50 * 2 / (2 * 1 * 100)
    assert found.hours * 3600 == pytest.approx(found.operations / 1e9)
    assert found.operations == pytest.approx(100_000 * operations_a_token(machine, 50.0))
    assert found.sampling == 0
    kto = replace(stage, forward=3, slots=10)
    assert cost(machine, kto).operations == pytest.approx(2 * found.operations)  # six passes a token instead of three
    assert cost(machine, kto).steps == 1000 * 2 / (2 * 1)  # a candidate is a row
    assert cost(machine, kto).sampling * 3600 == pytest.approx(50_000 / (2 * tokens_a_second(machine, kto)))
    assert cost(machine, replace(kto, accumulate=5)).steps == 1000 * 2 / (2 * 5)


def test_sampling_is_bound_by_the_bytes_that_it_reads() -> None:
    """All weights once for each token of all sequences, and the keys and values of half of their length."""
    machine = replace(SMALL, bandwidth=1e6, bandwidth_share=0.5)
    stage = Stage("", rows=1, length=60.0, epochs=1, longest=100, batch=1, slots=10)
    read = 2 * SMALL.parameters + 10 * (2 * 2 * SMALL.layers * SMALL.width) * 30
    assert tokens_a_second(machine, stage) == pytest.approx(10 * 0.5e6 / read)


def test_zero_3_shares_out_16_bytes_a_parameter() -> None:
    machine = Machine()
    states = list(memory(machine, machine.stages[0]).values())[:3]
    assert sum(states) * machine.gpus == pytest.approx(16 * machine.parameters)
    alone = list(memory(replace(machine, gpus=1), machine.stages[0]).values())
    assert sum(alone) > 80 * 2**30 > sum(memory(machine, machine.stages[0]).values())


def slot_bytes(machine: Machine) -> int:
    """Keys and values of 4,096 positions in bfloat16, as the engine's slots have them."""
    return 2 * machine.layers * machine.width * 4096 * 2


def test_a_gpu_holds_what_its_rows_need() -> None:
    machine = Machine()
    cot, tir, kto, rl = (memory(machine, stage) for stage in machine.stages)
    tokens = 4 * 2048
    assert cot["activations kept"] == 30 * tokens * 4096 * 2
    assert cot["activations of a layer"] == 34 * tokens * 4096
    assert cot["activations kept"] == 2 * tir["activations kept"] == kto["activations kept"]  # 8 candidates of 1,024
    assert (cot["reference model, bfloat16"], kto["reference model, bfloat16"]) == (0, 2 * machine.parameters / 8)
    assert rl["gathered weights"] == 2 * machine.parameters
    assert rl["keys and values"] == 16 * slot_bytes(machine)
    assert kto["keys and values"] == cot["keys and values"] == 0  # KTO's candidates are sampled before it
    assert sum(rl.values()) < 80 * 2**30
    assert logits_in_one_piece(machine, machine.stages[0]) == 10 * tokens * 102_400


def test_the_disk_of_a_stage_is_one_checkpoint_more_than_it_keeps_and_its_rows() -> None:
    machine = Machine()
    stored = Stored.of(machine.parameters, zero=True, half=True)
    cot, tir, kto, rl = (disk(machine, stage) for stage in machine.stages)
    assert cot["packed rows"] == 12 * 860_000 * 450
    assert cot["a checkpoint"] == tir["a checkpoint"] == stored.checkpoint == 14 * machine.parameters
    assert cot["at most, while saving"] == 3 * stored.checkpoint + cot["packed rows"]
    assert kto["at most, while saving"] == rl["at most, while saving"] == 3 * stored.checkpoint


@pytest.mark.recipes
def test_a_packed_token_takes_12_bytes_on_disk(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="packing needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
    from sctir_kaggle.recipes.train.packing import Packing, load_packed
    from tests.support.sft_support import MODEL, data

    file = data(tmp_path, 2000)
    packed, _ = load_packed((str(file),), load_transformers_tokenizer(MODEL), Packing(1024), folder=tmp_path)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*.arrow"))
    assert written == pytest.approx(BLOCK_BYTES * packed.counts["tokens"], rel=0.02)


def test_a_real_quantized_model_takes_what_is_said() -> None:
    """The embedded model's 8-bit GPTQ checkpoint, by GPTQModel."""
    machine = Machine(layers=4, width=128, inner=512, vocabulary=1024)
    for folder, expected in (("model", 2 * machine.parameters), ("model-gptq", quantized_bytes(machine))):
        assert (ASSETS / folder / "model.safetensors").stat().st_size == pytest.approx(expected, rel=0.01)


def test_quantization_takes_a_layer_on_the_gpu_and_the_published_time() -> None:
    machine = Machine()
    host, *on_gpu = quantization_memory(machine).values()
    assert host == 2 * machine.parameters
    assert sum(on_gpu) == 2 * machine.layer + 4 * 4096 * 11_008 + 8 * 11_008**2 + 4 * 256 * 1024 * 4096
    assert quantization_hours(replace(machine, layers=machine.layers)) * 60 == pytest.approx(
        10 * machine.parameters / 7.1e9
    )


def test_the_estimate_agrees_with_the_published_hours_at_a_credible_share_of_the_peak() -> None:
    machine = Machine()
    assert 0.1 < implied_mfu(machine) < 0.6
    hours = sum(cost(replace(machine, mfu=implied_mfu(machine)), stage).hours for stage in machine.stages[:2])
    assert hours == pytest.approx(machine.published_hours)


def test_the_report_says_what_is_assumed() -> None:
    text = report(Machine(cot_tokens=500.0))
    assert "| 1: CoT | 860,000 | 500 | 1,290e6 |" in text
    assert "tokens a row (assumed)" in text
    assert "Published: 10 hours for stages 1 and 2." in text


def test_the_readme_of_the_recipes_shows_this_estimate() -> None:
    assert report(Machine()) in (Path(sctir_kaggle.recipes.__file__).parent / "README.md").read_text()
