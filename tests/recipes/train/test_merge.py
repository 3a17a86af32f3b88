"""Merging: what is asked of mergekit, and real merges of the embedded model with models of its shape."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train.merge import MergeSettings, merge, plan
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
        ({"weights": (1.0,)}, "weights are 1, models 2"),
        ({"method": "ties"}, "base is None; the method ties needs base"),
        ({"base": "c"}, "base is c; the method linear has no base"),
        ({"method": "ties", "base": "c", "density": 0.0}, "density is 0.0"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings(tmp_path, **changes)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("merge_*.yaml")), ids=lambda file: file.stem)
def test_the_files_of_the_package_are_whole(file: Path) -> None:
    assert plan(read_settings(MergeSettings, file))["models"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with other weights: each one a little off."""
    import torch
    from transformers import AutoModelForCausalLM

    pytest.importorskip("mergekit", reason="merging needs recipes/requirements-mergekit.txt")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(EMBEDDED_MODEL, folder, dirs_exist_ok=True)
    model: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
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


@pytest.mark.recipes
def test_a_merged_model_solves(other: Path, tmp_path: Path) -> None:
    from sctir_kaggle.recipes.train.validation import solve_all

    merge(settings(tmp_path, models=(str(EMBEDDED_MODEL), str(other)), weights=(0.9, 0.1)))
    problems = read_problems(HELD_OUT, limit=4)
    results = asyncio.run(solve_all(tmp_path, problems, SolverConfig(candidates=4, stop="none")))
    assert any(trace.turns[0].execution for result in results for trace in result.traces)
    assert len(results) == 4
