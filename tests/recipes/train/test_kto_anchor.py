"""The moving anchor of KTO: the average that it is, what it changes, and that a resumed training goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train import kto as recipe
from sctir_kaggle.recipes.train.kto import KTO, kto, make_trainer, trainer_config
from sctir_kaggle.recipes.train.kto_anchor import load_anchor, save_anchor
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError
from tests.recipes.train.test_kto import rewards, settings

pytestmark = pytest.mark.recipes

RATE = 0.1
LEARNING = {"learning_rate": 1e-3, "schedule": "constant"}


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}


def furthest(first: dict[str, Any], second: dict[str, Any]) -> float:
    assert first.keys() == second.keys()
    return float(max((first[name] - second[name]).abs().max().item() for name in first))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_anchor_is_the_moving_average_of_the_policies(run: Path, tmp_path: Path, precision: str) -> None:
    from safetensors.torch import load_file

    kto(settings(run, tmp_path, steps=3, save_every=1, keep=3, anchor=RATE, precision=precision, **LEARNING))
    expected = start = weights(EMBEDDED_MODEL)
    for step in (1, 2, 3):
        checkpoint = tmp_path / f"checkpoint-{step}"
        policy = weights(checkpoint)
        expected = {name: (1 - RATE) * weight + RATE * policy[name] for name, weight in expected.items()}
        saved = load_file(checkpoint / "anchor" / "model.safetensors")
        assert {str(weight.dtype) for weight in saved.values()} == {"torch.float32"}
        assert furthest(saved, expected) < 1e-6
    assert furthest(expected, start) > 1e-4
    assert furthest(expected, policy) > 1e-4


@pytest.mark.slow
def test_the_loss_is_beside_the_anchor(run: Path, tmp_path: Path) -> None:
    """The first step has the same reference; later the policy is nearer to an anchor than to what it began as."""
    both = [settings(run, tmp_path / str(rate), anchor=rate, steps=4, **LEARNING) for rate in (None, 0.9)]
    for one in both:
        kto(one)
    fixed, moving = (rewards(one.output) for one in both)
    assert float(fixed[0]["loss"]) == pytest.approx(float(moving[0]["loss"]), abs=1e-5)
    # all steps and both kinds: what the model's candidates of this run were decides how far a single mean moves
    distance = [sum(abs(float(row[kind])) for row in one for kind in ("chosen", "rejected")) for one in (fixed, moving)]
    assert distance[1] < 0.7 * distance[0]


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_writes_an_anchor_ends_like_one_that_is_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"steps": 4, "save_every": 2, "anchor": 0.5, **LEARNING}
    kto(settings(run, tmp_path / "whole", **chosen))

    def killed(trainer: Any) -> None:
        save_anchor(trainer)
        if trainer.state.global_step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "save_anchor", killed)
    with pytest.raises(KeyboardInterrupt):
        kto(settings(run, tmp_path / "cut", **chosen))
    assert (tmp_path / "cut" / "checkpoint-4" / "anchor").is_dir()
    monkeypatch.undo()
    kto(settings(run, tmp_path / "cut", **chosen))
    for part in ("model", "checkpoint-4", "checkpoint-4/anchor"):
        assert furthest(weights(tmp_path / "whole" / part), weights(tmp_path / "cut" / part)) < 1e-6
    points = [[row["step"] for row in rewards(tmp_path / name)] for name in ("whole", "cut")]
    assert points[0] == points[1]


def test_a_run_is_not_resumed_with_the_other_kind_of_reference(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(UserError, match=r"checkpoint-2 is of a run without an anchor, and anchor is 0\.1; choose"):
        load_anchor(tmp_path / "checkpoint-2", RATE)
    (tmp_path / "checkpoint-2" / "anchor").mkdir()
    with pytest.raises(UserError, match="checkpoint-2 is of a run with an anchor, and anchor is None; choose another"):
        load_anchor(tmp_path / "checkpoint-2", None)
    assert load_anchor(None, RATE) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["anchor=0"], "anchor is 0.0; it must be above 0 and below 1, or null"),
        (["anchor=1"], "anchor is 1.0; it must be above 0 and below 1, or null"),
        (["anchor=0.01", "reference_first=true"], "anchor is 0.01 and reference_first true; a reference that moves"),
        (["anchor=often"], "--set anchor=often: 'often' is not float or null"),
        (["ancor=0.01"], "--set ancor=0.01: no such field; did you mean anchor"),
    ],
)
def test_what_does_not_go_together_is_one_line(changes: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        read_settings(KTO, CONFIGS / "kto.yaml", changes)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sharding", ["DEEPSPEED", "FSDP"])
def test_sharded_weights_are_refused(
    sharding: str, stack: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{sharding}", "true")
    with pytest.raises(UserError, match=r"anchor is 0\.01, which needs the whole model in float32 .*set anchor=null"):
        trainer_config(settings(tmp_path, tmp_path / "out", anchor=0.01))


def test_a_reference_that_is_given_is_used(run: Path, tmp_path: Path, tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    other = auto.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    with torch.no_grad():
        other.lm_head.weight.mul_(0.5)
    chosen = settings(run, tmp_path, anchor=RATE)
    trainer: Any = make_trainer(chosen, trainer_config(chosen), tokenizer, other)
    assert trainer.accelerator.unwrap_model(trainer.ref_model) is other
    assert trainer.model.dtype == other.dtype == torch.float32


def test_in_bfloat16_an_anchor_would_mostly_stand_still(stack: None) -> None:
    """A hundred steps towards a policy that is 1 % away: why sharded training, whose weights are bfloat16, is refused."""
    import torch
    from trl.trainer.callbacks import SyncRefModelCallback

    torch.manual_seed(0)
    start = 0.05 * torch.randn(100, 100)
    policy = start + 0.0005 * torch.randn(100, 100)
    share, still = {}, {}
    for dtype in (torch.float32, torch.bfloat16):
        models: list[Any] = [torch.nn.Linear(100, 100, bias=False) for _ in range(2)]
        for model, weight in zip(models, (policy, start), strict=True):
            model.weight.data = weight.to(dtype, copy=True)
        for _ in range(100):
            SyncRefModelCallback._sync_target_model(*models, 0.01)
        way, moved = policy.to(dtype).double() - start.to(dtype), models[1].weight.data.double() - start.to(dtype)
        share[dtype] = float((moved * way).sum() / (way * way).sum())
        still[dtype] = float((moved == 0).double().mean())
    assert share[torch.float32] == pytest.approx(1 - 0.99**100, abs=1e-3)
    assert still[torch.float32] < 0.01
    assert share[torch.bfloat16] < 0.2
    assert still[torch.bfloat16] > 0.8
