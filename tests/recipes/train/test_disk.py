"""What a training writes to disk, against the files of real ones; a disk that is too small; one that gets full."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sctir_kaggle.recipes.disk_full import is_disk_full
from sctir_kaggle.recipes.settings import CONFIGS, read_settings, run_recipe
from sctir_kaggle.recipes.train import disk
from sctir_kaggle.recipes.train.disk import Stored, saves_of, size
from sctir_kaggle.recipes.train.trainer import last_checkpoint
from sctir_kaggle.types import UserError
from tests.support.sft_support import MODEL, changes, data

Usage = namedtuple("Usage", "total used free")

ROOT = Path(__file__).resolve().parents[3]
RECIPES = pytest.mark.recipes
STORED = Stored(checkpoint=12_000_000, model=4_000_000)


def train(model: Path, output: Path, *, steps: int = 8, **others: Any) -> Path:
    """A stage of a few steps, with a checkpoint every second one."""
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.train.sft import SFT, train

    output.parent.mkdir(exist_ok=True)
    settings = changes(model, data(output.parent), output, **{"steps": steps, "save_every": 2} | others)
    return train(read_settings(SFT, CONFIGS / "stage2_tir.yaml", settings))


def larger(folder: Path) -> Path:
    """A random Llama of 1.6 million parameters, beside which a tokenizer of 56 kB is little."""
    pytest.importorskip("torch", reason="a model needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.tiny.data import Shape, new_model
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer, save_tokenizer

    tokenizer = load_transformers_tokenizer(MODEL)
    new_model(Shape(layers=4, width=160, heads=4, inner=448, context=512), tokenizer).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def parameters_of(model: Path) -> int:
    from safetensors.torch import load_file

    return sum(tensor.numel() for tensor in load_file(model / "model.safetensors").values())


def test_a_checkpoint_of_the_7b_model_under_zero_3_is_97_gb() -> None:
    """12 bytes a parameter of float32 weights and Adam, and 2 of weights in bfloat16."""
    stored = Stored.of(6_910_365_696, zero=True, half=True)
    assert size(stored.checkpoint) == "96.7 GB"
    assert stored.checkpoint == 14 * 6_910_365_696
    assert size(stored.peak(keep=2)) == "290.2 GB"


@RECIPES
def test_a_real_training_writes_what_was_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real checkpoints and a real model; three are there while the third is written, and two before and after."""
    import transformers.trainer

    trainer: Any = transformers.trainer
    model, seen = larger(tmp_path / "large"), list[int]()
    rotate = trainer.rotate_checkpoints

    def watched(**how: Any) -> None:
        seen.append(sum(map(bytes_of, Path(how["output_dir"]).glob("checkpoint-*"))))
        rotate(**how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "rotate_checkpoints", watched)
        made = train(model, tmp_path / "out", keep=2)
    stored = Stored.of(parameters_of(model), zero=False, half=False)
    for checkpoint in (tmp_path / "out").glob("checkpoint-*"):
        assert bytes_of(checkpoint) == pytest.approx(stored.checkpoint, rel=0.02)
    assert bytes_of(made) == pytest.approx(stored.model, rel=0.02)
    assert seen == pytest.approx([stored.checkpoint * count for count in (1, 2, 3, 3)], rel=0.02)
    assert max(seen) == pytest.approx(stored.peak(keep=2), rel=0.02)
    said = f"disk: needs {size(stored.peak(2))} for checkpoints and model ({size(stored.checkpoint)} a checkpoint, up to 3 at"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keep", "saves", "there", "expected"),
    [
        (2, 10, 0, 36_000_000),  # three checkpoints while one is saved
        (1, 10, 0, 24_000_000),
        (2, 2, 0, 28_000_000),  # two, and the model
        (2, 1, 0, 16_000_000),
        (2, 10, 24_000_000, 12_000_000),  # two of an earlier run, one of which goes when a third is written
        (2, 10, 36_000_000, 12_000_000),  # an earlier run that died between writing and deleting
        (1, 10, 60_000_000, 12_000_000),
    ],
)
def test_it_needs_room_for_one_more_than_it_keeps(keep: int, saves: int, there: int, expected: int) -> None:
    assert STORED.still_needed(keep, saves, there) == expected


@RECIPES
def test_a_disk_that_is_too_small_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"bytes": 0}
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(0, 0, free["bytes"]))  # type: ignore[attr-defined]
    one = Stored.of(parameters_of(MODEL), zero=False, half=False)
    for free["bytes"], advice in (
        (int(2.5 * one.checkpoint), rf"or keep to 1, which needs {size(2 * one.checkpoint)}"),
        (one.checkpoint, r"free some, or set output to another disk$"),
    ):
        with pytest.raises(UserError, match=advice) as raised:
            train(MODEL, tmp_path / "out")
        assert f"this training needs {size(3 * one.checkpoint)} for checkpoints and model" in str(raised.value)
        assert "\n" not in str(raised.value)
    assert last_checkpoint(tmp_path / "out") is None
    free["bytes"] = int(2.5 * one.checkpoint)
    train(MODEL, tmp_path / "out", keep=1, steps=2)


@RECIPES
@pytest.mark.slow
def test_a_disk_that_gets_full_loses_nothing_and_says_where_it_goes_on(tmp_path: Path) -> None:
    """The kernel has no space left for the weights, or the optimizer's state, of the second checkpoint."""
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("a small disk needs a mount namespace, which this user may not make")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.support.small_disk", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"full"')]
    for name, line in zip(("weights", "optimizer"), lines, strict=True):
        output = tmp_path / "small" / name
        assert re.fullmatch(
            rf"the disk of {output} is full \(.* are free\); free some and start the same command again: it goes on from "
            rf"{output / 'checkpoint-2'}, which is whole",
            line["full"],
        )
        assert line["weights"] == pytest.approx(line["expected"], rel=0.02)
        assert f"goes on from {output / 'checkpoint-2'}" in done.stdout


def test_a_failed_write_of_torch_counts_only_where_the_disk_is_full() -> None:
    error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5312 vs 5204")
    assert is_disk_full(error, free=0)
    assert not is_disk_full(error, free=10**9)
    assert not is_disk_full(error)
    assert not is_disk_full(ValueError("no"), free=0)
    caused = RuntimeError("cannot save")
    caused.__cause__ = OSError(28, "No space left on device")
    assert is_disk_full(caused, free=10**9)


def test_every_recipe_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def writes() -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with pytest.raises(SystemExit) as ended:
        run_recipe(writes)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the disk is full: No space left on device; free some and start the same command again\n"
    )
    with pytest.raises(ZeroDivisionError):
        run_recipe(lambda: print(1 / 0))


def test_what_is_stored_follows_the_settings() -> None:
    plain, zero = (Stored.of(1000, zero=zero, half=False) for zero in (False, True))
    assert (plain.checkpoint, zero.checkpoint) == (12_000, 16_000)
    assert replace(plain, model=0).peak(keep=1) == 24_000


def test_a_checkpoint_is_saved_every_so_many_steps_at_validations_and_at_the_end() -> None:
    """80 problems with 4 candidates each, twice, in steps of 8 x 2 x 2: 20 steps."""
    shape = {"per_device_train_batch_size": 8, "world_size": 2, "gradient_accumulation_steps": 2}
    args = SimpleNamespace(**shape, max_steps=-1, num_train_epochs=2, num_generations=4)
    trainer = SimpleNamespace(args=args, train_dataset=range(80))
    plain: Any = SimpleNamespace(save_every=6)
    validated: Any = SimpleNamespace(save_every=6, validate=Path("p.csv"), validate_every=5)
    assert saves_of(trainer, plain) == 4  # 6, 12, 18, 20
    assert saves_of(trainer, validated) == 7  # 5, 10, 15
    args.max_steps = 5
    assert saves_of(trainer, plain) == 1
