"""Merging: what is asked of mergekit, and real merges of the embedded model with models of its shape."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.settings import CONFIGS, read_settings, run_recipe
from sctir_kaggle.recipes.train.merge import MergeSettings, main, merge, plan, warp_plans
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError


def settings(output: Path, **changes: Any) -> MergeSettings:
    given: dict[str, Any] = {"method": "linear", "models": ("a", "b"), "dtype": "float32", **changes}
    return MergeSettings(output=output, **given)


def test_without_weights_all_models_weigh_the_same(tmp_path: Path) -> None:
    asked = plan(settings(tmp_path, models=("a", "b", "c", "d")))
    assert [one["parameters"] for one in asked["models"]] == [{"weight": 0.25}] * 4
    assert "base_model" not in asked


def test_a_density_and_a_base_are_for_methods_that_merge_changes(tmp_path: Path) -> None:
    asked = plan(settings(tmp_path, method="ties", base="c", density=0.2, weights=(1.0, 2.0)))
    assert asked["base_model"] == "c"
    assert [one["parameters"] for one in asked["models"]] == [
        {"weight": 1.0, "density": 0.2},
        {"weight": 2.0, "density": 0.2},
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ("a",)}, "models are a; a merge needs at least two"),
        ({"models": ("a", "a")}, "models are a, a; name each once"),
        ({"method": "warp", "base": "a"}, "base is a, which is among the models"),
        ({"weights": (1.0,)}, "weights are 1, models 2"),
        ({"method": "ties"}, "base is None; the method ties needs base"),
        ({"base": "c"}, "base is c; the method linear has no base"),
        ({"method": "ties", "base": "c", "density": 0.0}, "density is 0.0"),
        ({"density": 0.5}, "density is 0.5; the method linear keeps all changes"),
        ({"method": "warp"}, "base is None; the method warp needs base"),
        ({"method": "warp", "base": "c", "eta": 1.5}, "eta is 1.5; it must be from 0"),
        ({"method": "warp", "base": "c", "weights": (1.0, 0.0)}, "WARP's must be above 0"),
        ({"eta": 0.5}, "eta is 0.5; only WARP interpolates towards the base"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings(tmp_path, **changes)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("merge_*.yaml")), ids=lambda file: file.stem)
def test_the_files_of_the_package_are_whole(file: Path) -> None:
    read = read_settings(MergeSettings, file)
    plans = [one for one, _ in warp_plans(read, Path("made"))] if read.method == "warp" else [plan(read)]
    assert all(one["models"] and one["dtype"] == "float32" for one in plans)
    assert plans[-1]["out_dtype"] == "bfloat16"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with other weights: each one a little off."""
    return changed(tmp_path_factory.mktemp("other"), seed=0)


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `other`, otherwise changed, and in several files with an index."""
    return changed(tmp_path_factory.mktemp("third"), seed=1, max_shard_size="1MB")


def changed(folder: Path, *, seed: int, **options: Any) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    pytest.importorskip("mergekit", reason="merging needs recipes/requirements-mergekit.txt")
    torch.manual_seed(seed)
    shutil.copytree(EMBEDDED_MODEL, folder, dirs_exist_ok=True)
    model: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, **options)
    return folder


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: weight.float() for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


@pytest.mark.recipes
def test_a_linear_merge_is_the_weighted_mean_and_loads_with_its_tokenizer(other: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merge(settings(tmp_path, models=(str(EMBEDDED_MODEL), str(other)), weights=(3.0, 1.0)))
    first, second, merged = (weights(folder) for folder in (EMBEDDED_MODEL, other, tmp_path))
    assert merged.keys() == first.keys()
    assert all((merged[name] - 0.75 * first[name] - 0.25 * second[name]).abs().max() < 1e-5 for name in merged)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() > 1e6
    assert (
        AutoTokenizer.from_pretrained(tmp_path).get_vocab() == AutoTokenizer.from_pretrained(EMBEDDED_MODEL).get_vocab()
    )


@pytest.mark.recipes
def test_ties_keeps_the_largest_changes_alone(other: Path, tmp_path: Path) -> None:
    models = (str(other), str(EMBEDDED_MODEL))  # the second one has no changes
    merge(settings(tmp_path, method="ties", models=models, base=str(EMBEDDED_MODEL), density=0.25))
    base, changed, merged = (weights(folder) for folder in (EMBEDDED_MODEL, other, tmp_path))
    name = "model.layers.0.mlp.up_proj.weight"
    kept = (merged[name] - base[name]).abs() > 1e-6
    change = (changed[name] - base[name]).abs()
    assert kept.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert change[kept].min() >= change[~kept].max() - 1e-4


@pytest.mark.recipes
def test_dare_keeps_random_changes_and_scales_them_up(other: Path, tmp_path: Path) -> None:
    models = (str(other), str(EMBEDDED_MODEL))  # the second one has no changes
    drop = {"method": "dare_linear", "models": models, "base": str(EMBEDDED_MODEL), "density": 0.25, "normalize": False}
    merge(settings(tmp_path, weights=(1.0, 1.0), **drop))
    base, changed, merged = (weights(folder) for folder in (EMBEDDED_MODEL, other, tmp_path))
    name = "model.layers.0.mlp.up_proj.weight"
    change, seen = changed[name] - base[name], merged[name] - base[name]
    kept = seen.abs() > 1e-6
    assert kept.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert (seen[kept] / change[kept]).median().item() == pytest.approx(4, rel=0.05)  # by the norm that is left


def by_hand(first: Any, second: Any, t: float) -> Any:
    """Spherical interpolation, with the angle by the arc tangent instead of the arc cosine."""
    import torch

    one, two = first.flatten().double(), second.flatten().double()
    units = one / one.norm(), two / two.norm()
    angle = 2 * torch.atan2((units[0] - units[1]).norm(), (units[0] + units[1]).norm())
    mixed = (torch.sin((1 - t) * angle) * one + torch.sin(t * angle) * two) / torch.sin(angle)
    return mixed.reshape(first.shape).float()


@pytest.mark.recipes
@pytest.mark.parametrize(("eta", "shares"), [(1.0, (1.0, 1.0)), (0.3, (1.0, 1.0)), (0.6, (1.0, 3.0))], ids=str)
def test_warp_turns_the_changes_of_one_into_those_of_the_other(
    other: Path, third: Path, tmp_path: Path, eta: float, shares: tuple[float, float]
) -> None:
    models = {"models": (str(other), str(third)), "weights": shares, "base": str(EMBEDDED_MODEL)}
    merge(settings(tmp_path, method="warp", eta=eta, **models))
    base, first, second, merged = (weights(folder) for folder in (EMBEDDED_MODEL, other, third, tmp_path))
    assert merged.keys() == base.keys()
    for name, start in base.items():
        mixed = by_hand(first[name] - start, second[name] - start, shares[1] / sum(shares))
        assert (merged[name] - start - eta * mixed).abs().max() < 1e-5, name
    if eta == 1.0:  # the changes keep their length, which the mean of two that are at right angles loses
        name = "model.layers.0.mlp.up_proj.weight"
        kept = (merged[name] - base[name]).norm() / (first[name] - base[name]).norm()
        assert kept.item() == pytest.approx(1, abs=0.02)


@pytest.mark.recipes
def test_warp_merges_more_than_two_one_after_the_other(other: Path, third: Path, tmp_path: Path) -> None:
    fourth = changed(tmp_path / "fourth", seed=2)
    models = tuple(map(str, (other, third, fourth)))
    merge(settings(tmp_path / "merged", method="warp", models=models, base=str(EMBEDDED_MODEL)))
    name = "model.layers.1.mlp.down_proj.weight"
    base, *found, merged = (weights(one)[name] for one in (EMBEDDED_MODEL, other, third, fourth, tmp_path / "merged"))
    expected = by_hand(by_hand(found[0] - base, found[1] - base, 1 / 2), found[2] - base, 1 / 3)
    assert (merged - base - expected).abs().max() < 1e-5
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fourth", "merged"]  # nothing lies about


@pytest.mark.recipes
@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "warp"])
def test_a_model_merged_with_itself_is_itself(other: Path, tmp_path: Path, method: str) -> None:
    based = {} if method == "linear" else {"base": str(EMBEDDED_MODEL)}
    shutil.copytree(other, tmp_path / "twin")
    merge(settings(tmp_path / "merged", method=method, models=(str(other), str(tmp_path / "twin")), **based))
    expected, merged = weights(other), weights(tmp_path / "merged")
    assert all((merged[name] - expected[name]).abs().max() < 1e-5 for name in expected)


@pytest.mark.recipes
def test_models_of_different_shapes_are_refused_in_one_line_before_anything_is_written(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    pytest.importorskip("mergekit", reason="merging needs recipes/requirements-mergekit.txt")
    wider = tmp_path / "wider"
    shutil.copytree(EMBEDDED_MODEL, wider)
    loaded = load_file(wider / "model.safetensors")
    rows, width = loaded["model.embed_tokens.weight"].shape
    loaded["model.embed_tokens.weight"] = torch.zeros(rows + 2, width)
    save_file(loaded, wider / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"model.embed_tokens.weight is \[{rows}, {width}\] in .*\[{rows + 2}, {width}\] in"
    ):
        merge(settings(tmp_path / "merged", models=(str(EMBEDDED_MODEL), str(wider))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no \*\.safetensors"):
        merge(settings(tmp_path / "merged", models=(str(EMBEDDED_MODEL), str(tmp_path / "empty"))))
    assert not (tmp_path / "merged").exists()


@pytest.mark.recipes
def test_a_merge_that_fails_leaves_nothing(other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mergekit.merge

    def full(configuration: Any, folder: str, options: Any) -> None:
        Path(folder).mkdir()
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mergekit.merge, "run_merge", full)
    with pytest.raises(
        UserError, match=r"^the merge failed, and nothing was written to .*merged: .*No space left"
    ) as error:
        merge(settings(tmp_path / "merged", models=(str(EMBEDDED_MODEL), str(other))))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.recipes
@pytest.mark.parametrize("method", ["linear", "warp"])
def test_a_folder_without_a_tokenizer_is_refused(other: Path, third: Path, tmp_path: Path, method: str) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(EMBEDDED_MODEL, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    models, based = (
        ((str(bare), str(other)), {}) if method == "linear" else ((str(other), str(third)), {"base": str(bare)})
    )
    with pytest.raises(UserError, match=r"cannot load .*bare has no usable tokenizer") as error:
        merge(settings(tmp_path / "merged", method=method, models=models, **based))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "merged").exists()


@pytest.mark.recipes
def test_a_folder_that_is_not_there_is_no_name_at_the_hub(other: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="runs/stage2/model is not there; a model is a checkpoint's folder, or owner/name"
    ):
        merge(settings(tmp_path / "merged", models=(str(other), "runs/stage2/model")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("eta=1.5", "eta is 1.5; it must be from 0, the base, to 1, the merged models"),
        ("eta=-0.1", "eta is -0.1; it must be from 0"),
        ("densty=0.5", "--set densty=0.5: no such field; did you mean density"),
        ("method=slerp", "--set method=slerp: 'slerp' is not one of linear, ties, dare_ties, dare_linear, warp"),
    ],
)
def test_a_bad_value_is_one_line_and_exit_status_2(
    change: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["merge", "--config", str(CONFIGS / "merge_warp.yaml"), "--set", change])
    with pytest.raises(SystemExit) as exit:
        run_recipe(main)
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.recipes
def test_a_merged_model_solves(other: Path, tmp_path: Path) -> None:
    from sctir_kaggle.recipes.train.validation import solve_all

    merge(settings(tmp_path, models=(str(EMBEDDED_MODEL), str(other)), weights=(0.9, 0.1)))
    problems = read_problems(HELD_OUT, limit=4)
    results = asyncio.run(solve_all(tmp_path, problems, SolverConfig(candidates=4, stop="none")))
    assert any(trace.turns[0].execution for result in results for trace in result.traces)
    assert len(results) == 4
