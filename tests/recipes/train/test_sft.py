"""Fine-tuning for real, at tiny size: a stage to its end, killed and resumed, validated, and ZeRO-3 on two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train.disk import Stored
from sctir_kaggle.recipes.train.sft import SFT
from sctir_kaggle.recipes.train.trainer import last_checkpoint
from sctir_kaggle.types import UserError
from tests.support.sft_support import MODEL, changes, data, loss_alone, rows, tiny

RECIPES = pytest.mark.recipes
ROOT = Path(__file__).resolve().parents[3]
SECONDS = 300
SFT_MODULE = "sctir_kaggle.recipes.train.sft"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    import torch

    torch.set_num_threads(1)  # the fastest for so small a model, and others run beside it
    return tiny(tmp_path_factory.mktemp("tiny"))


def train(*settings: str) -> Path:
    from sctir_kaggle.recipes.train.sft import train

    return train(read_settings(SFT, CONFIGS / "stage2_tir.yaml", settings))


def weights(model: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(model / "model.safetensors")


def furthest(a: Path, b: Path) -> float:
    """The largest difference of two checkpoints' weights."""
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first)


def start(*command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[bytes]) -> str:
    try:
        output = process.communicate(timeout=SECONDS)[0].decode()
    finally:
        process.kill()
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.mark.parametrize(
    ("config", "values"),
    [
        ("stage1_cot.yaml", {"block": 2048, "learning_rate": 2e-5, "epochs": 3, "warmup": 0.0, "batch": 4}),
        ("stage2_tir.yaml", {"block": 1024, "learning_rate": 2e-5, "epochs": 4, "warmup": 0.1, "batch": 4}),
    ],
)
def test_the_stages_have_the_winning_values(config: str, values: dict[str, Any]) -> None:
    pytest.importorskip("yaml", reason="settings need the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    settings = read_settings(SFT, CONFIGS / config)
    assert {name: getattr(settings, name) for name in values} == values
    assert (settings.seed, settings.accumulate, settings.checkpointing) == (42, 1, True)
    assert (settings.packing, settings.isolate, settings.learn) == ("split", True, "written")
    assert (settings.log_every, settings.weight_decay, settings.clip, settings.lowest_rate) == (5, 0.0, 1.0, 0.0)
    assert settings.held_out == "test"


@RECIPES
def test_a_log_goes_to_several_places_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.train import trainer

    found = {"tensorboard"}
    monkeypatch.setattr(trainer, "find_spec", lambda name: name if name in found else None)
    base = [f"model={tmp_path}", f"output={tmp_path / 'out'}"]
    for log, expected in (("tensorboard", ["tensorboard"]), ("none", [])):
        settings = read_settings(SFT, CONFIGS / "stage2_tir.yaml", [*base, f"log={log}"])
        assert trainer.training_arguments(settings)["report_to"] == expected
    both = read_settings(SFT, CONFIGS / "stage2_tir.yaml", [*base, "log=[tensorboard, wandb]"])
    with pytest.raises(
        UserError, match=r"log is \[tensorboard, wandb\], and wandb is not installed: pip install wandb"
    ):
        trainer.training_arguments(both)
    found.add("wandb")
    assert trainer.training_arguments(both)["report_to"] == ["tensorboard", "wandb"]
    with pytest.raises(UserError, match=r"log is \[none, wandb\]; none stands alone"):
        trainer.training_arguments(read_settings(SFT, CONFIGS / "stage2_tir.yaml", [*base, "log=[none, wandb]"]))


def test_a_value_outside_its_limits_is_refused() -> None:
    with pytest.raises(UserError, match="batch is 0; it must be at least 1"):
        SFT(model="m", data=("d",), output=Path("o"), batch=0)


def test_only_a_checkpoint_that_was_written_to_its_end_counts(tmp_path: Path) -> None:
    for step, state in ((2, '{"global_step": 2}'), (10, '{"global_'), (9, None), (4, '{"global_step": 4}')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert last_checkpoint(tmp_path / "none") is None


@RECIPES
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_the_traces_one_by_one(model: Path, tmp_path: Path, smoothing: float) -> None:
    """TRL's loss over packed blocks, with checkpointing, against plain PyTorch over each trace alone."""
    import torch

    from sctir_kaggle.recipes.rendering import encode_row
    from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, load_transformers_tokenizer
    from sctir_kaggle.recipes.train.sft import make_trainer, trainer_config

    settings = read_settings(SFT, CONFIGS / "stage2_tir.yaml", changes(model, data(tmp_path), tmp_path / "out"))
    settings = replace(settings, smoothing=smoothing)
    tokenizer = load_transformers_tokenizer(model, chat_template=CHAT_TEMPLATE)
    trainer, _ = make_trainer(settings, trainer_config(settings), tokenizer)
    loaded = trainer.model.train()
    batches = [trainer.data_collator([block]) for block in trainer.train_dataset]
    count = sum(int((batch["labels"] != -100).sum()) for batch in batches)
    with torch.no_grad():
        packed = sum(float(trainer.compute_loss(loaded, dict(batch), num_items_in_batch=count)) for batch in batches)
        alone = [encode_row(row, tokenizer) for row in rows(60)]
        single = sum(float(loss_alone(loaded, row, smoothing)) * sum(row[1]) for row in alone) / count
    assert count == sum(sum(learned) for _, learned in alone)
    assert packed == pytest.approx(single, rel=1e-5)


@pytest.mark.slow
@RECIPES
def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(model: Path, tmp_path: Path) -> None:
    file = data(tmp_path)
    options = {"steps": 12, "save_every": 4}
    killed = changes(model, file, tmp_path / "killed", **options)
    process = start(SFT_MODULE, "--config", "stage2_tir.yaml", "--set", *killed)
    deadline = time.monotonic() + SECONDS
    while last_checkpoint(tmp_path / "killed") is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert last_checkpoint(tmp_path / "killed") is not None
    assert not (tmp_path / "killed" / "model").exists()
    whole = train(*changes(model, file, tmp_path / "whole", **options))
    resumed = train(*killed)
    assert furthest(whole, resumed) == 0.0
    assert furthest(whole, model) > 1e-3
    with pytest.raises(UserError, match=r"checkpoint-12 is of an earlier run; go on with resume: true"):
        train(*killed, "resume=false")


@RECIPES
def test_checkpoints_are_validated_by_the_real_loop(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    validation = {"validate": HELD_OUT, "validate_every": 2, "validate_problems": 3, "validate_candidates": 4}
    trained = train(*changes(MODEL, data(tmp_path), tmp_path / "out", steps=4, learning_rate=1e-6, **validation))
    lines = [json.loads(line) for line in (tmp_path / "out" / "validation.jsonl").read_text().splitlines()]
    assert [(line["step"], line["problems"]) for line in lines] == [(2, 3), (4, 3)]
    assert all(0 < line["single"] <= 1 for line in lines)  # the embedded model, all but unchanged
    board = next((tmp_path / "out" / "runs").rglob("events.out.tfevents.*"))
    assert b"validation/majority" in board.read_bytes()
    assert (trained / "chat_template.jinja").exists()
    assert json.loads((trained / "config.json").read_text())["use_cache"]  # else generation would compute all again


@RECIPES
def test_zero_3_runs_on_two_processes_and_its_checkpoint_loads(model: Path, tmp_path: Path) -> None:
    """Against one process with the same total batch: the same steps, to within the order of the sums."""
    pytest.importorskip("deepspeed", reason="ZeRO-3 needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    import torch
    from transformers import AutoModelForCausalLM

    file, options = data(tmp_path), {"steps": 4, "save_every": 2, "keep": 9, "held_out": 0.3}
    validation = {"validate": HELD_OUT, "validate_every": 4, "validate_problems": 1, "validate_candidates": 2}
    launch = ["accelerate.commands.launch", "--config_file", str(CONFIGS / "accelerate_zero3.yaml")]
    launch += ["--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0", "-m", SFT_MODULE]
    sharded = changes(model, file, tmp_path / "two", **options, **validation)
    process = start(*launch, "--config", "stage2_tir.yaml", "--set", *sharded)
    one = train(*changes(model, file, tmp_path / "one", **options | {"batch": 4}))
    output = finish(process)
    assert "starts" in output
    assert (
        json.loads((tmp_path / "two" / "validation.jsonl").read_text())["step"] == 4
    )  # one validates, the other waits
    losses = [json.loads((tmp_path / run / "held_out.jsonl").read_text()) for run in ("one", "two")]
    assert losses[0]["tokens"] == losses[1]["tokens"]  # three batches of two processes: none is counted twice
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-4)
    shards = sorted((tmp_path / "two" / "checkpoint-4").rglob("*optim_states.pt"))
    assert [path.name[:14] for path in shards] == ["zero_pp_rank_0", "zero_pp_rank_1"]
    auto: Any = AutoModelForCausalLM
    parameters = sum(tensor.numel() for tensor in weights(model).values())
    for shard in shards:  # half of the float32 weights and of Adam's two moments: what the estimate counts
        assert shard.stat().st_size == pytest.approx(12 * parameters / 2, rel=0.05)
    written = [path.stat().st_size for path in (*shards, tmp_path / "two" / "checkpoint-4" / "model.safetensors")]
    assert sum(written) == pytest.approx(Stored.of(parameters, zero=True, half=False).checkpoint, rel=0.05)
    assert "disk: needs" in output
    loaded = [
        auto.from_pretrained(path).eval() for path in (tmp_path / "two" / "checkpoint-4", tmp_path / "two" / "model")
    ]
    ids = torch.tensor([[1, 40, 50, 60]])
    with torch.no_grad():
        first, last = (part(ids).logits for part in loaded)
    torch.testing.assert_close(first, last)
    assert furthest(tmp_path / "two" / "model", one) < 1e-4
    assert furthest(tmp_path / "two" / "model", model) > 1e-3
