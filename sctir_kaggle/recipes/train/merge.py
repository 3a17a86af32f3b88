"""Merge checkpoints of one shape with mergekit: `python -m sctir_kaggle.recipes.train.merge --config merge_ties.yaml`.

The winners tried DARE, TIES and WARP on pairs of SFT and KTO, and of SFT and DeepSeekMath, and submitted none of them; no value
of theirs is published. Covered: DARE (https://arxiv.org/abs/2311.03099), TIES (https://arxiv.org/abs/2306.01708), the weighted
mean of weights, and of WARP (https://arxiv.org/abs/2406.16768) the two stages that merge: the third, the moving average as the
anchor of the training, is `anchor` in kto.yaml. Not covered: models of different shapes.
Needs `requirements-mergekit.txt`; no GPU.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import checkpoint_errors
from sctir_kaggle.types import UserError, one_line

NEEDS_BASE = {"ties", "dare_ties", "dare_linear", "warp"}
"""Methods that merge what each model changed of a common base."""

SPARSE = NEEDS_BASE - {"warp"}
"""Methods that keep a share of these changes only, the `density`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeSettings:
    """What to merge, and how; names and meanings are mergekit's. Raises `UserError` on a value outside its limits."""

    method: Literal["linear", "ties", "dare_ties", "dare_linear", "warp"]

    models: tuple[str, ...]
    """Checkpoints: folders, or names at the Hub."""

    output: Path
    """The folder that gets the merged checkpoint; the tokenizer is that of the base, or of the first model."""

    base: str | None = None
    """The checkpoint that the models were fine-tuned from; `linear` has none."""

    weights: tuple[float, ...] = ()
    """One a model; empty: equal ones with sum 1."""

    density: float = 1.0
    """The share of a model's changes that is kept: the largest (TIES), or random ones (DARE)."""

    eta: float = 1.0
    """How far WARP's result goes from the base to the merged models: 0 is the base, 1 leaves this interpolation out."""

    normalize: bool = True
    """Whether weights are divided by their sum. WARP always does."""

    dtype: str = "bfloat16"
    """What is written; mergekit computes in float32."""

    seed: int = 42
    """Seed of the random changes that DARE drops."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise UserError(f"models are {', '.join(self.models) or 'none'}; a merge needs at least two")
        if len(set(self.models)) < len(self.models):
            raise UserError(f"models are {', '.join(self.models)}; name each once, and give its part in weights")
        if self.method == "warp" and self.base in self.models:
            raise UserError(f"base is {self.base}, which is among the models: it changed nothing that WARP could merge")
        if self.weights and len(self.weights) != len(self.models):
            raise UserError(f"weights are {len(self.weights)}, models {len(self.models)}; give one each, or none")
        if (self.method in NEEDS_BASE) != bool(self.base):
            verb = "needs" if self.method in NEEDS_BASE else "has no"
            raise UserError(f"base is {self.base}; the method {self.method} {verb} base")
        if not 0 < self.density <= 1:
            raise UserError(f"density is {self.density}; it must be above 0 and at most 1")
        if self.density < 1 and self.method not in SPARSE:
            raise UserError(f"density is {self.density}; the method {self.method} keeps all changes")
        if not 0 <= self.eta <= 1:
            raise UserError(f"eta is {self.eta}; it must be from 0, the base, to 1, the merged models")
        if self.method == "warp" and any(weight <= 0 for weight in self.weights):
            raise UserError(f"weights are {', '.join(map(str, self.weights))}; WARP's must be above 0")
        if self.eta < 1 and self.method != "warp":
            raise UserError(f"eta is {self.eta}; only WARP interpolates towards the base")
        if (self.output / "config.json").exists():
            raise UserError(f"{self.output} holds a model; choose another output")


def main() -> None:
    """Run the command."""
    settings = settings_of_command(MergeSettings, __doc__)
    merge(settings)
    print(f"{settings.output}: {settings.method} of {', '.join(settings.models)}")


def plan(settings: MergeSettings) -> dict[str, Any]:
    """The merge as mergekit's configuration; not for WARP, which is several (`warp_plans`)."""
    weights = settings.weights or (1 / len(settings.models),) * len(settings.models)
    changes = {"density": settings.density} if settings.method in SPARSE else {}
    made = _plan(settings.method, settings.models, weights, settings.base, **changes)
    made["parameters"] = {"normalize": settings.normalize}
    return {**made, "out_dtype": settings.dtype}


def warp_plans(settings: MergeSettings, folder: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """WARP's merges one after the other, as mergekit's configuration and the folder that each is written to.

    Spherical interpolation of the task vectors d = model - base, tensor by tensor (the paper's equation of SLERP):
    base + sin((1 - t) w) / sin(w) d_1 + sin(t w) / sin(w) d_2 with w the angle between d_1 and d_2. Of more than two models
    each is merged into the result of those before it with t its share of the weights so far: 1/m for the m-th of equal ones.
    At last the interpolation towards the initialization, (1 - eta) base + eta merged. What lies between is float32 in `folder`.
    """
    assert settings.base is not None  # checked by the settings
    weights = settings.weights or (1.0,) * len(settings.models)
    merged, total = settings.models[0], weights[0]
    steps: list[dict[str, Any]] = []
    for number, (model, weight) in enumerate(zip(settings.models[1:], weights[1:], strict=True), 1):
        steps.append(_plan("nuslerp", (merged, model), (total, weight), settings.base))
        merged, total = str(folder / str(number)), total + weight
    if settings.eta < 1:
        steps.append(_plan("linear", (settings.base, merged), (1 - settings.eta, settings.eta), None))
    for number, step in enumerate(steps, 1):
        last = number == len(steps)
        yield {**step, "out_dtype": settings.dtype if last else "float32"}, folder / str(number)


def _plan(
    method: str, models: tuple[str, ...], weights: tuple[float, ...], base: str | None, **parameters: float
) -> dict[str, Any]:
    made = {
        "merge_method": method,
        "models": [
            {"model": model, "parameters": {"weight": weight, **parameters}}
            for model, weight in zip(models, weights, strict=True)
        ],
        "dtype": "float32",
    }
    return {**made, "base_model": base} if base else made


def merge(settings: MergeSettings) -> None:
    """Write the merged checkpoint, with a copy of the tokenizer, to `settings.output`: whole, or not at all.

    Raises `UserError` before anything is merged where models are of different shapes, one is not there, or the tokenizer; and
    where what mergekit reads or writes fails, as on a full disk.
    """
    try:
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions
    except ImportError:
        raise UserError(
            "merging needs mergekit: pip install -r the package's recipes/requirements-mergekit.txt"
        ) from None

    models = [*([settings.base] if settings.base else []), *settings.models]
    for model in models:
        if not Path(model).is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            raise UserError(f"{model} is not there; a model is a checkpoint's folder, or owner/name at the Hub")
    check_shapes(models)
    check_tokenizer(models[0])
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    options = MergeOptions(random_seed=settings.seed, write_model_card=False, copy_tokenizer=True, quiet=True)
    with (
        _failing_in_one_line(settings.output),
        tempfile.TemporaryDirectory(dir=settings.output.parent, prefix=f".{settings.output.name}.") as made,
    ):
        folder = Path(made)
        plans = warp_plans(settings, folder) if settings.method == "warp" else [(plan(settings), folder / "1")]
        for configuration, written in plans:
            run_merge(MergeConfiguration.model_validate(configuration), str(written), options)
        if settings.output.is_dir():  # without a model, as the settings have checked
            shutil.copytree(written, settings.output, dirs_exist_ok=True)
        else:
            written.rename(settings.output)


@contextmanager
def _failing_in_one_line(output: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"the merge failed, and nothing was written to {output}: {one_line(error)}") from None


def check_tokenizer(model: str) -> None:
    """Raise `UserError` where a folder has no tokenizer that the engines can read: mergekit would merge without one.

    Names at the Hub are not looked at.
    """
    if Path(model).is_dir():
        with checkpoint_errors(model):
            Tokenizer.load(model)


def check_shapes(models: list[str]) -> None:
    """Raise `UserError` for the first weight that has another shape, or is not there, in a folder than in the first one.

    Names at the Hub are not looked at.
    """
    first, *others = [(model, shapes(Path(model))) for model in models if Path(model).is_dir()] or [("", {})]
    for model, found in others:
        for name in sorted(first[1].keys() | found.keys()):
            ours, theirs = (f"{one.get(name, 'not there')}" for one in (first[1], found))
            if ours != theirs:
                raise UserError(
                    f"{name} is {ours} in {first[0]} and {theirs} in {model}: models of one shape can be merged"
                )


def shapes(model: Path) -> dict[str, list[int]]:
    """The shape of each weight in a folder, from the headers of its safetensors files.

    Such a file begins with the length of a JSON header, 8 bytes, little-endian; see huggingface.co/docs/safetensors.
    """
    files = sorted(model.glob("*.safetensors"))
    if not files:
        raise UserError(f"{model} has no *.safetensors; it is no checkpoint that can be merged")
    found = {}
    for file in files:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        found.update({name: one["shape"] for name, one in header.items() if name != "__metadata__"})
    return found


if __name__ == "__main__":
    run_recipe(main)
