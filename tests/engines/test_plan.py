"""One replica a GPU or tensor parallel: the estimate against numbers worked out by hand, and the choice."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.engines import gpus as driver
from sctir_kaggle.engines.gpus import GPU, chosen_of, visible_gpus
from sctir_kaggle.engines.plan import MARGIN, Checkpoint, Plan, choose, read_checkpoint, shapes
from sctir_kaggle.engines.vllm_layout import environments
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.types import EngineError, UserError

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

LISTING = "0, GPU-aa, 15360, 7.5\n1, GPU-bb, 15360, 7.5\n"


def layouts(plan: Plan) -> dict[int, Plan]:
    """The estimate of every layout, by GPUs of a replica."""
    return {each.tensor_parallel: each for each in (plan, *plan.others)}


def test_a_token_of_a_7b_takes_491520_bytes_of_cache() -> None:
    assert SEVEN_B.kv_bytes() == 2 * 30 * 32 * 128 * 2 == 491_520
    assert SEVEN_B.kv_bytes(2) == 245_760
    assert SEVEN_B.kv_bytes(number_bytes=4) == 983_040


def test_gpus_that_outnumber_the_heads_keep_one_each() -> None:
    grouped = replace(SEVEN_B, kv_heads=2, group_size=0)
    assert [grouped.kv_bytes(parts) for parts in (1, 2, 4, 8)] == [2 * 30 * heads * 128 * 2 for heads in (2, 1, 1, 1)]


def test_the_cache_of_two_t4s_in_either_layout() -> None:
    both = layouts(choose(SEVEN_B, [T4, T4], candidates=48))
    assert both[2].kv_tokens == (int(0.9 * (15 << 30)) - 1_500_000_000 - 3_950_000_000) // 245_760
    assert 36_500 < both[2].kv_tokens < 37_500
    assert 760 < both[2].kv_tokens / 48 < 780
    assert both[1].kv_tokens == (int(0.9 * (15 << 30)) - 1_500_000_000 - 7_900_000_000) // 491_520
    assert 0.25 < both[1].kv_tokens / both[2].kv_tokens < 0.35
    assert (both[1].weight_bytes, both[2].weight_bytes) == (7_900_000_000, 3_950_000_000)


def test_preemption_is_expected_where_the_candidates_want_more_than_the_cache_holds() -> None:
    both = layouts(choose(SEVEN_B, [T4, T4], candidates=48, tokens=600))
    assert (both[1].tokens_wanted, both[2].tokens_wanted) == (24 * 600, 48 * 600)
    assert (both[1].preempted, both[2].preempted) == (True, False)


def test_the_seconds_of_a_step_are_traffic_over_bandwidth() -> None:
    plan = layouts(choose(SEVEN_B, [T4, T4], candidates=48, tokens=200))
    assert plan[1].seconds == pytest.approx((7.9e9 + 24 * 200 * 491_520) / 320e9)
    exchanged = 60 * (50e-6 + 48 * 4096 * 2 / 6e9)  # two GPUs send each other what they have, once
    assert plan[2].seconds == pytest.approx((3.95e9 + 48 * 200 * 245_760) / 320e9 + exchanged)


def test_candidates_that_the_cache_does_not_hold_wait_for_the_others() -> None:
    one = choose(SEVEN_B, [T4], candidates=100, tokens=1000)
    assert one.kv_tokens // 1000 == 10
    assert one.seconds == pytest.approx(10 * (7.9e9 + 10 * 1000 * 491_520) / 320e9)


def test_two_t4s_serve_48_candidates_in_tensor_parallel_by_the_estimate() -> None:
    plan = choose(SEVEN_B, [T4, T4], candidates=48)
    assert (plan.replicas, plan.tensor_parallel) == (1, 2)
    assert MARGIN * plan.seconds < plan.others[0].seconds
    assert f"{plan.others[0].seconds / plan.seconds:.1f} times as fast" in plan.reason


def test_a_slow_link_leaves_each_gpu_to_itself() -> None:
    slow = replace(T4, link=1e9)
    assert choose(SEVEN_B, [slow, slow], candidates=48, tokens=200).replicas == 2


def test_tensor_parallel_must_be_faster_by_the_margin() -> None:
    for link in range(5, 100):
        pair = layouts(choose(SEVEN_B, [replace(T4, link=link * 1e8)] * 2, candidates=48, tokens=200))
        picked = choose(SEVEN_B, [replace(T4, link=link * 1e8)] * 2, candidates=48, tokens=200)
        assert (picked.tensor_parallel == 2) == (pair[2].seconds * MARGIN < pair[1].seconds)


def test_a_layout_without_room_for_the_weights_is_out_however_fast() -> None:
    large = replace(SEVEN_B, weight_bytes=14_000_000_000)
    plan = choose(large, [replace(T4, link=1e7)] * 2, candidates=48)
    assert (plan.replicas, plan.tensor_parallel) == (1, 2)
    assert "the only one with room" in plan.reason
    assert plan.others[0].kv_tokens == 0


def test_a_layout_whose_cache_is_shorter_than_one_context_is_out() -> None:
    narrow = [GPU(12_500_000_000, link=1e8)] * 2
    assert layouts(choose(SEVEN_B, narrow, candidates=48))[1].kv_tokens == 3763
    assert choose(SEVEN_B, narrow, candidates=48).tensor_parallel == 2
    assert choose(SEVEN_B, narrow, candidates=48, tokens=100, context_length=2048).tensor_parallel == 1


def test_the_layout_can_be_asked_for() -> None:
    for layout, replicas in (("replicas", 2), ("tensor", 1)):
        plan = choose(SEVEN_B, [T4, T4], candidates=48, layout=layout)  # type: ignore[arg-type]
        assert (plan.replicas, plan.reason) == (replicas, "as asked for")
    with pytest.raises(UserError, match="auto, replicas, tensor"):
        choose(SEVEN_B, [T4], candidates=48, layout="pipeline")  # type: ignore[arg-type]


def test_what_fits_nowhere_is_left_to_vllm_and_said() -> None:
    plan = choose(replace(SEVEN_B, weight_bytes=60_000_000_000), [T4, T4], candidates=48)
    assert plan.tensor_parallel == 2
    assert "expect vLLM to refuse" in str(plan)


@pytest.mark.parametrize(
    ("checkpoint", "gpus", "possible"),
    [
        (SEVEN_B, 1, [(1, 1)]),
        (SEVEN_B, 2, [(2, 1), (1, 2)]),
        (SEVEN_B, 3, [(3, 1), (1, 2)]),  # 32 heads are not divided by 3; the third GPU stays idle
        (SEVEN_B, 4, [(4, 1), (2, 2)]),  # 11008 rows over 4 GPUs cut a group of 128
        (replace(SEVEN_B, group_size=0), 4, [(4, 1), (2, 2), (1, 4)]),
        (replace(SEVEN_B, group_size=-1), 4, [(4, 1), (2, 2), (1, 4)]),
        (replace(SEVEN_B, heads=28, kv_heads=4, group_size=0), 4, [(4, 1), (2, 2), (1, 4)]),
        (replace(SEVEN_B, heads=14, kv_heads=2, group_size=0), 4, [(4, 1), (2, 2)]),
        (replace(SEVEN_B, heads=24, kv_heads=8, group_size=0), 3, [(3, 1), (1, 2)]),
    ],
)
def test_the_model_is_cut_into_whole_heads_and_whole_groups(
    checkpoint: Checkpoint, gpus: int, possible: list[tuple[int, int]]
) -> None:
    assert shapes(checkpoint, gpus) == possible


def test_the_smallest_gpu_counts() -> None:
    plan = choose(SEVEN_B, [T4, GPU(80 << 30)], candidates=48, layout="replicas")
    assert plan.kv_tokens == choose(SEVEN_B, [T4, T4], candidates=48, layout="replicas").kv_tokens


def test_a_plan_reads_as_a_line_a_layout_and_the_reason() -> None:
    lines = str(choose(SEVEN_B, [T4, T4], candidates=48)).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1 replica of 2 GPUs in tensor parallel: 4.0 GB of weights a GPU, 491,520 bytes")
    assert "49,152 wanted (preemption expected)" in lines[0]
    assert lines[1].startswith("2 replicas of 1 GPU: 7.9 GB")
    assert lines[2].startswith("chosen: 1 replica of 2 GPUs in tensor parallel, ")
    assert "not measured" in lines[2]


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"candidates": 1, "tokens": 0}])
def test_a_plan_for_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        choose(SEVEN_B, [T4], **wrong)
    with pytest.raises(UserError, match="0 GPUs"):
        choose(SEVEN_B, [], candidates=1)


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


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1"]),
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        ("GPU-bb, 0", ["GPU-bb", "0"]),
        ("0,-1,1", ["0"]),  # CUDA ends at the first that it does not know
        ("", []),
    ],
)
def test_the_gpus_are_those_that_cuda_would_see(visible: str | None, names: list[str]) -> None:
    found = chosen_of(LISTING, visible)
    assert [gpu.name for gpu in found] == names
    assert all((gpu.memory, gpu.capability) == (15 << 30, (7, 5)) for gpu in found)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(driver, "_QUERY", (str(tmp_path / "nvidia-smi"),))
    assert visible_gpus({}) == []
    monkeypatch.setattr(driver, "_QUERY", ("false",))
    assert visible_gpus({}) == []


def test_the_driver_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def smi(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, LISTING, "")

    monkeypatch.setattr(subprocess, "run", smi)
    assert [gpu.name for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "1"})] == ["1"]
    assert asked[0][0] == "nvidia-smi"


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
