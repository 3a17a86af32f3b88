"""The embedded model from nothing: its data, its steps, the choice between two models, and the whole way in small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.rows import read_rows
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.tiny import commands
from sctir_kaggle.recipes.tiny.__main__ import gain, helps
from sctir_kaggle.recipes.tiny.problems import held_out
from sctir_kaggle.recipes.tiny.settings import Tiny, keep
from sctir_kaggle.recipes.tiny.steps import Steps
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError


def test_the_packages_problems_are_those_that_it_holds_out() -> None:
    assert [posed.problem for posed in held_out(Tiny().seed)] == read_problems(HELD_OUT)


def test_an_output_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    tiny = Tiny(output=tmp_path / "made", traces=9)
    keep(tiny)
    keep(tiny)
    with pytest.raises(UserError, match=r"of a run with traces=9, start=None: .* another output"):
        keep(replace(tiny, traces=10, start=Path("base")))


@pytest.mark.parametrize("change", [{"traces": 7}, {"seeds": 0}, {"candidates": -1}, {"limit": 1}, {"limit": 51}])
def test_a_setting_outside_its_limits_is_named(change: dict[str, int]) -> None:
    (name,) = change
    with pytest.raises(UserError, match=f"{name} is"):
        Tiny(**change)  # type: ignore[arg-type]


def test_a_few_steps_from_random_weights_are_refused() -> None:
    with pytest.raises(UserError, match="give start too"):
        Tiny(steps=10)


def test_a_step_runs_once_and_says_its_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    listed = ("sctir_kaggle.recipes.data.problem_list", str(tmp_path / "rows.jsonl"), str(made))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "a", "problem": "1 + 1?", "answer": 2}) + "\n")
    first = Steps(tmp_path)
    first.run("list", listed)
    assert "python -m sctir_kaggle.recipes.data.problem_list" in capfd.readouterr().out
    assert made.read_text() == "id,problem,answer\na,1 + 1?,2\n"
    with pytest.raises(UserError, match="another run works in"):
        Steps(tmp_path)
    seconds = first.seconds
    del first
    again = Steps(tmp_path)
    again.run("list", listed)
    assert "list: there already" in capfd.readouterr().out
    assert again.seconds == seconds
    assert "| list |" in again.table()


def test_a_step_that_fails_ends_the_run_with_its_name_and_is_not_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps, made = Steps(tmp_path), tmp_path / "made"
    with pytest.raises(UserError, match="list ended with status 2"):
        steps.run("list", ("sctir_kaggle.recipes.data.problem_list", str(tmp_path / "none.jsonl"), str(made)))
    assert "none.jsonl" in capfd.readouterr().err
    assert steps.seconds == {}


def test_a_replay_goes_on_where_there_is_a_journal(tmp_path: Path) -> None:
    tiny = Tiny(output=tmp_path)
    assert "--resume" not in commands.solve(tiny, "problems.csv", "model", "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("{}\n")
    assert "--resume" in commands.solve(tiny, "problems.csv", "model", "run")


def test_a_model_helps_if_its_gain_is_more_than_two_standard_errors() -> None:
    before = {str(n): 0.5 for n in range(100)}
    clear = {name: share + (0.3 if int(name) % 2 else 0.1) for name, share in before.items()}
    noise = {name: share + (0.3 if int(name) % 2 else -0.29) for name, share in before.items()}
    assert gain(before, clear) == pytest.approx((0.2, 0.1 * (100 / 99) ** 0.5 / 10))
    assert helps(before, clear)[0]
    assert not helps(before, noise)[0]
    assert not helps(before, before)[0]
    assert helps(before, clear)[1] == "single candidates right +20.0 ± 1.0 points (standard error, 100 problems)"


@pytest.mark.parametrize("name", ["stage1", "stage2", "kto", "quantize"])
def test_its_configs_are_read_by_the_recipes(name: str) -> None:
    pytest.importorskip("yaml", reason="settings are YAML: pip install 'sctir-kaggle[recipes]'")
    from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
    from sctir_kaggle.recipes.train.kto import KTO
    from sctir_kaggle.recipes.train.sft import SFT

    kind = {"kto": KTO, "quantize": QuantizeSettings}.get(name, SFT)
    settings: Any = read_settings(kind, CONFIGS / f"tiny_{name}.yaml")
    assert settings.output == Path({"quantize": "model-gptq"}.get(name, name))


@pytest.mark.recipes
def test_the_whole_way_in_small(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the embedded model, which one step at a learning rate of 0 leaves as it is."""
    for library in ("trl", "gptqmodel", "optimum"):
        pytest.importorskip(library, reason="needs the extra `recipes` and requirements-gptqmodel.txt")
    from sctir_kaggle.recipes.tiny.__main__ import make

    tiny = Tiny(
        output=tmp_path / "made", traces=8, steps=1, start=EMBEDDED_MODEL, on_policy=16, candidates=4, seeds=2, limit=4
    )
    make(tiny)
    said = capfd.readouterr().out
    assert len(list(read_rows(tiny.at("cot.jsonl.gz")))) == len(list(read_rows(tiny.at("tir.jsonl.gz"))))
    for name in ("model-cot", "model", "model-gptq"):
        assert (tiny.at(name) / "model.safetensors").exists()
    quantized = json.loads(tiny.at("model-gptq/config.json").read_text())["quantization_config"]
    assert (quantized["bits"], quantized["group_size"], quantized["desc_act"]) == (8, 128, False)
    table = tiny.at("table.md").read_text()
    assert table in said
    assert "| all | " in table
    for row in ("stage 1: CoT, greedy", "stage 2: SC-TIR", "KTO: SC-TIR", "8-bit GPTQ: SC-TIR"):
        assert row in table
    before = {file: file.stat().st_mtime_ns for file in tiny.output.rglob("*.safetensors")}
    monkeypatch.setattr("sctir_kaggle.recipes.tiny.steps.subprocess.run", None)  # nothing is run a second time
    make(tiny)
    assert tiny.at("table.md").read_text() == table
    assert {file: file.stat().st_mtime_ns for file in tiny.output.rglob("*.safetensors")} == before
