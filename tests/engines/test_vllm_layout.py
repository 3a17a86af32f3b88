"""vLLM on several GPUs: the room of each layout against numbers worked out by hand, and which layout is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.engines.gpus import GPU
from sctir_kaggle.engines.vllm_layout import (
    OVERHEAD,
    TOKENS,
    Checkpoint,
    Layout,
    choose_layout,
    environments,
    read_checkpoint,
)
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.types import EngineError

T4 = GPU(15 << 30)

SEVEN_B = Checkpoint(
    weight_bytes=7_900_000_000,
    layers=30,
    hidden_size=4096,
    intermediate_size=11008,
    heads=32,
    kv_heads=32,
    head_dim=128,
    context_length=4096,
    group_size=128,
)
"""DeepSeekMath-7B in 8 bits."""

GROUPED = replace(SEVEN_B, kv_heads=4)
"""The same with grouped-query attention: an eighth of the cache."""


def test_a_token_of_a_7b_takes_491520_bytes_of_cache() -> None:
    assert SEVEN_B.kv_bytes() == 2 * 30 * 32 * 128 * 2 == 491_520
    assert SEVEN_B.kv_bytes(2) == 245_760
    assert SEVEN_B.kv_bytes(number_bytes=4) == 983_040


def test_gpus_that_outnumber_the_heads_keep_one_each() -> None:
    grouped = replace(SEVEN_B, kv_heads=2, group_size=0)
    assert [grouped.kv_bytes(parts) for parts in (1, 2, 4, 8)] == [2 * 30 * heads * 128 * 2 for heads in (2, 1, 1, 1)]


def test_the_cache_holds_what_weights_and_overhead_leave() -> None:
    one, both = (
        choose_layout(SEVEN_B, [T4, T4], candidates=48, layout=layout) for layout in asked("replicas", "tensor")
    )
    assert one.kv_tokens == (int(0.9 * (15 << 30)) - OVERHEAD - 7_900_000_000) // 491_520
    assert both.kv_tokens == (int(0.9 * (15 << 30)) - OVERHEAD - 3_950_000_000) // 245_760
    assert 36_500 < both.kv_tokens < 37_500
    assert (one.tokens_wanted, both.tokens_wanted) == (24 * TOKENS, 48 * TOKENS)
    assert (one.kv_bytes, both.kv_bytes) == (491_520, 491_520), "a replica's, over all its GPUs"


def asked(*layouts: Layout) -> tuple[Layout, ...]:
    return layouts


@pytest.mark.parametrize(
    ("checkpoint", "gpus", "candidates", "shape"),
    [
        (GROUPED, 1, 48, (1, 1)),
        (GROUPED, 2, 48, (2, 1)),
        (SEVEN_B, 2, 16, (2, 1)),  # 8 candidates each: 8,192 of 10,366 tokens
        (SEVEN_B, 2, 32, (1, 2)),  # 16 each would not fit, 32 on both do
        (SEVEN_B, 2, 48, (1, 2)),  # nor do 48 on both: still the larger cache
        (replace(GROUPED, weight_bytes=14_000_000_000, group_size=0), 4, 48, (2, 2)),
        (replace(GROUPED, weight_bytes=28_000_000_000, group_size=0), 4, 48, (1, 4)),
    ],
)
def test_replicas_where_each_gpu_holds_its_candidates_else_the_fewest_gpus_that_do(
    checkpoint: Checkpoint, gpus: int, candidates: int, shape: tuple[int, int]
) -> None:
    plan = choose_layout(checkpoint, [T4] * gpus, candidates=candidates)
    assert (plan.replicas, plan.tensor_parallel) == shape


def test_a_layout_whose_cache_is_shorter_than_one_context_is_out() -> None:
    narrow = [GPU(12_500_000_000)] * 2
    assert choose_layout(SEVEN_B, narrow, candidates=2, layout="replicas").kv_tokens == 3763
    assert choose_layout(SEVEN_B, narrow, candidates=2).tensor_parallel == 2
    assert choose_layout(SEVEN_B, narrow, candidates=2, context_length=2048).tensor_parallel == 1


def test_smaller_numbers_in_the_cache_and_a_larger_share_of_the_gpu_make_room() -> None:
    plan = choose_layout(SEVEN_B, [T4, T4], candidates=32)
    halved = choose_layout(SEVEN_B, [T4, T4], candidates=32, number_bytes=1)
    assert (plan.replicas, halved.replicas) == (1, 2)
    assert choose_layout(SEVEN_B, [T4, T4], candidates=48, memory=0.95).kv_tokens > plan.kv_tokens


def test_the_layout_can_be_asked_for() -> None:
    for layout, replicas in zip(asked("replicas", "tensor"), (2, 1), strict=True):
        plan = choose_layout(SEVEN_B, [T4, T4], candidates=48, layout=layout)
        assert (plan.replicas, plan.reason) == (replicas, "as asked for")


def test_what_fits_nowhere_is_left_to_vllm_and_said() -> None:
    plan = choose_layout(replace(SEVEN_B, weight_bytes=60_000_000_000), [T4, T4], candidates=48)
    assert (plan.tensor_parallel, plan.kv_tokens, plan.fits) == (2, 0, False)
    assert "expect vLLM to refuse" in str(plan)


@pytest.mark.parametrize(
    ("checkpoint", "gpus", "largest"),
    [
        (SEVEN_B, 1, (1, 1)),
        (SEVEN_B, 2, (1, 2)),
        (SEVEN_B, 3, (1, 2)),  # 32 heads are not divided by 3; the third GPU stays idle
        (SEVEN_B, 4, (2, 2)),  # 11008 rows over 4 GPUs cut a group of 128
        (replace(SEVEN_B, group_size=0), 4, (1, 4)),
        (replace(SEVEN_B, group_size=-1), 4, (1, 4)),
        (replace(SEVEN_B, heads=28, kv_heads=4, group_size=0), 4, (1, 4)),
        (replace(SEVEN_B, heads=14, kv_heads=2, group_size=0), 4, (2, 2)),
        (replace(SEVEN_B, heads=24, kv_heads=8, group_size=0), 3, (1, 2)),
    ],
)
def test_the_model_is_split_into_whole_heads_and_whole_groups(
    checkpoint: Checkpoint, gpus: int, largest: tuple[int, int]
) -> None:
    plan = choose_layout(checkpoint, [T4] * gpus, candidates=48, layout="tensor")
    assert (plan.replicas, plan.tensor_parallel) == largest


def test_the_smallest_gpu_counts() -> None:
    plan = choose_layout(SEVEN_B, [T4, GPU(80 << 30)], candidates=48, layout="replicas")
    assert plan.kv_tokens == choose_layout(SEVEN_B, [T4, T4], candidates=48, layout="replicas").kv_tokens


def test_a_plan_reads_as_a_line_with_its_reason() -> None:
    line = str(choose_layout(SEVEN_B, [T4, T4], candidates=48))
    assert line.startswith("1 replica of 2 GPUs in tensor parallel: 4.0 GB of weights a GPU, 491,520 bytes")
    assert "49,152 wanted (preemption expected); chosen: no layout holds" in line
    assert str(choose_layout(GROUPED, [T4, T4], candidates=48)).startswith("2 replicas of 1 GPU: 7.9 GB")


def test_a_checkpoint_is_read_from_its_folder() -> None:
    read = read_checkpoint(ASSETS / "model-gptq")
    assert (read.layers, read.heads, read.kv_heads, read.head_dim, read.hidden_size) == (4, 4, 4, 32, 128)
    assert read.weight_bytes == (ASSETS / "model-gptq" / "model.safetensors").stat().st_size
    assert read.context_length == 2048
    assert read.group_size > 0
    assert read_checkpoint(ASSETS / "model").group_size == 0


def test_a_config_may_leave_out_what_follows_from_the_rest(tmp_path: Path) -> None:
    config: dict[str, Any] = json.loads((ASSETS / "model" / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    for name in ("head_dim", "num_key_value_heads"):
        del config[name]
    for stored in (config, {"text_config": config}):
        (tmp_path / "config.json").write_text(json.dumps(stored))
        read = read_checkpoint(tmp_path)
        assert (read.weight_bytes, read.head_dim, read.kv_heads) == (1000, 32, 4)


def test_a_folder_that_says_too_little_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    config = json.loads((ASSETS / "model" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=r"no \*\.safetensors.*layout='replicas'"):
        read_checkpoint(tmp_path)
    del config["num_hidden_layers"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"0")
    with pytest.raises(EngineError, match="num_hidden_layers"):
        read_checkpoint(tmp_path)


def test_each_replica_sees_its_own_gpus() -> None:
    four = [GPU(15 << 30, name=str(index)) for index in range(4)]
    seen = [each["CUDA_VISIBLE_DEVICES"] for each in environments(four, 4, 1)]
    assert seen == ["0", "1", "2", "3"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments(four, 2, 2)] == ["0,1", "2,3"]
    assert environments(four[:3], 1, 2) == [{"CUDA_VISIBLE_DEVICES": "0,1"}]


def test_on_a_cpu_the_replicas_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert [each["OMP_NUM_THREADS"] for each in environments([None] * 2, 2, 1)] == ["3", "3"]
    assert [each["OMP_NUM_THREADS"] for each in environments([None] * 8, 8, 1)] == ["1"] * 8
