"""The loss on held-out rows: what is held out, that the loss is each trace's own, and that it comes once an epoch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.rows import read_rows, write_rows
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train.held_out import LOSSES, HeldOut, is_held_out, split_rows
from sctir_kaggle.recipes.train.sft import SFT, make_trainer, train, trainer_config
from sctir_kaggle.recipes.train.trainer import last_checkpoint
from sctir_kaggle.types import UserError
from tests.support.sft_support import changes, data, loss_alone, row, rows, tiny

pytestmark = pytest.mark.recipes
pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return tiny(tmp_path_factory.mktemp("tiny"))


def settings_of(*changed: str) -> SFT:
    return read_settings(SFT, CONFIGS / "stage2_tir.yaml", changed)


def problems(file: str) -> list[str]:
    return [one["problem"] for one in read_rows(Path(file))]


def losses(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / LOSSES).read_text().splitlines()]


def logged(checkpoint: Path) -> list[tuple[int, float]]:
    """Steps and held-out losses in the trainer's log."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]


def test_a_share_is_split_off_by_the_problem_and_nothing_is_in_both(tmp_path: Path) -> None:
    given = [row(n, n, n) for n in range(400)]
    given += [row(1000 + n, n, n, " Again.") for n in range(400)]  # a second trace of each problem
    write_rows(tmp_path / "rows.jsonl", given)
    name = str(tmp_path / "rows.jsonl")
    split = split_rows([name], 0.25, tmp_path / "out")
    assert split is not None
    train, test = map(problems, split)
    assert len(train) + len(test) == 800
    assert not set(train) & set(test)
    assert 0.15 < len(test) / 800 < 0.35
    assert sorted(test) == sorted(one["problem"] for one in given if is_held_out(one, 0.25))
    write_rows(tmp_path / "back.jsonl", reversed(given))
    back = split_rows([str(tmp_path / "back.jsonl")], 0.25, tmp_path / "back")
    assert back is not None
    assert sorted(problems(back[1])) == sorted(test)  # whatever their order


def test_a_larger_share_holds_out_what_a_smaller_one_does() -> None:
    given = rows(300)
    small, large = ({one["id"] for one in given if is_held_out(one, share)} for share in (0.1, 0.3))
    assert small < large


def test_rows_whose_problem_is_in_the_held_out_file_are_not_trained_on(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [row(n, n, n) for n in range(10)])
    spaced = row(3, 3, 3) | {"problem": "What is  3 plus 3? "}
    write_rows(tmp_path / "test.jsonl", [spaced, row(99, 50, 50)])
    split = split_rows([str(tmp_path / "rows.jsonl")], (str(tmp_path / "test.jsonl"),), tmp_path / "out")
    assert split is not None
    assert problems(split[0]) == [f"What is {n} plus {n}?" for n in range(10) if n != 3]
    assert len(problems(split[1])) == 2


def test_the_split_test_is_that_of_the_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write_rows(folder / "train.jsonl", [row(n, n, n) for n in range(6)])
    write_rows(folder / "test.jsonl", [row(n, n, 90) for n in range(2)])
    ways: tuple[HeldOut, ...] = ("test", (str(folder),))
    for held_out in ways:
        split = split_rows([str(folder)], held_out, tmp_path / "out")
        assert split is not None
        assert (len(problems(split[0])), problems(split[1])) == (6, ["What is 0 plus 90?", "What is 1 plus 90?"])
    assert split_rows([str(folder / "train.jsonl")], "test", tmp_path / "out") is None  # a file has no splits


@pytest.mark.parametrize(("smoothing", "batch"), [(0.0, 2), (0.1, 3)])
def test_the_loss_is_the_mean_over_the_tokens_of_each_trace_alone(
    model: Path, tmp_path: Path, smoothing: float, batch: int
) -> None:
    """Against plain PyTorch over each held-out trace, unsmoothed, also where the training smooths."""
    from sctir_kaggle.recipes.rendering import encode_row
    from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, load_transformers_tokenizer

    settings = settings_of(*changes(model, data(tmp_path), tmp_path / "out", held_out=0.3, steps=1))
    settings = replace(settings, smoothing=smoothing, batch=batch)
    tokenizer = load_transformers_tokenizer(model, chat_template=CHAT_TEMPLATE)
    trainer, summary = make_trainer(settings, trainer_config(settings), tokenizer)
    trainer.train()
    held = [encode_row(one, tokenizer) for one in rows(60) if is_held_out(one, 0.3)]
    tokens = sum(sum(learned) for _, learned in held)
    expected = sum(float(loss_alone(trainer.model.eval(), one, 0.0).detach()) * sum(one[1]) for one in held) / tokens
    [line] = losses(tmp_path / "out")
    assert (line["step"], line["tokens"]) == (1, tokens)
    assert line["loss"] == pytest.approx(expected, rel=1e-5)
    assert f"held out: {len(held)} traces of {len(held)} rows" in summary


def test_it_comes_once_an_epoch_and_changes_nothing_of_the_training(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    write_rows(tmp_path / "test.jsonl", [row(n, 90 + n, 7) for n in range(5)])
    options: dict[str, Any] = {"steps": "null", "epochs": 2, "save_every": 100}
    file = data(tmp_path, 20)
    watched = train(
        settings_of(*changes(model, file, tmp_path / "watched", held_out=[str(tmp_path / "test.jsonl")], **options))
    )
    plain = train(settings_of(*changes(model, file, tmp_path / "plain", held_out="null", **options)))
    lines = losses(tmp_path / "watched")
    assert [line["epoch"] for line in lines] == [1, 2]
    last = last_checkpoint(tmp_path / "watched")
    assert last is not None
    assert logged(last) == [(line["step"], line["loss"]) for line in lines]
    board = next((tmp_path / "watched" / "runs").rglob("events.out.tfevents.*"))
    assert b"eval/loss" in board.read_bytes()
    first, second = (load_file(path / "model.safetensors") for path in (watched, plain))
    assert all(bool((first[name] == second[name]).all()) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [3, 4, 6])
def test_a_resumed_training_neither_loses_nor_repeats_it(
    model: Path, tmp_path: Path, dies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of four steps, a checkpoint every second one: it dies before, at and after the end of the first."""
    import transformers

    options: dict[str, Any] = {
        "steps": "null",
        "epochs": 2,
        "save_every": 2,
        "held_out": [str(tmp_path / "test.jsonl")],
    }
    write_rows(tmp_path / "test.jsonl", [row(n, 90 + n, 7) for n in range(5)])
    write_rows(tmp_path / "rows.jsonl", [row(n, 10 + n, 10) for n in range(16)])
    given = changes(model, tmp_path / "rows.jsonl", tmp_path / "whole", **options)
    train(settings_of(*given))
    whole = losses(tmp_path / "whole")
    last = last_checkpoint(tmp_path / "whole")
    assert last is not None
    assert [line["epoch"] for line in whole] == [1, 2]
    assert whole[0]["step"] * 2 == whole[1]["step"]
    end = whole[0]["step"]

    class Killed(Exception):
        pass

    step = transformers.trainer_callback.DefaultFlowCallback.on_step_end

    def dying(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if state.global_step == end + dies - 4:
            raise Killed
        return step(self, args, state, control, **kwargs)

    killed = changes(model, tmp_path / "rows.jsonl", tmp_path / "killed", **options)
    with monkeypatch.context() as patch:
        patch.setattr(transformers.trainer_callback.DefaultFlowCallback, "on_step_end", dying)
        with pytest.raises(Killed):
            train(settings_of(*killed))
    train(settings_of(*killed))
    again = last_checkpoint(tmp_path / "killed")
    assert again is not None
    assert logged(again) == logged(last)
    assert [(line["step"], line["loss"]) for line in losses(tmp_path / "killed")] == logged(last)


@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        ("[none.jsonl]", r"cannot open none.jsonl: No such file or directory"),
        ("1.5", r"held_out is 1.5; a share is above 0 and below 1, and null holds nothing out"),
        ("0", r"held_out is 0; a share is above 0"),
        ("1e-12", r"held_out is 1e-12: 0 rows are held out, and 20 are left to train on"),
        ("[wrong.jsonl]", r"wrong.jsonl, line 1: a list; an object with `problem` is needed"),
        (
            "[nobody/nothing]",
            r"cannot load the split test of nobody/nothing: Couldn't reach nobody/nothing \(test\); set",
        ),
        ("{a: 1}", r"--set held_out=\{a: 1\}: .* is not one of test or float or a list of str or null"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(
    tmp_path: Path, held_out: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def unreachable(name: str, split: str) -> None:
        raise ConnectionError(f"Couldn't reach {name} ({split}).\nTry again.")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    (tmp_path / "wrong.jsonl").write_text("[1, 2]\n")
    file = data(tmp_path, 20)
    changed = f"model={tmp_path}", f"data={file}", f"output={tmp_path / 'out'}", f"held_out={held_out}"
    with pytest.raises(UserError, match=said) as raised:
        _split(*changed)
    assert "\n" not in str(raised.value)


def _split(*changed: str) -> None:
    given = settings_of(*changed)
    split_rows(given.data, given.held_out, given.output)
