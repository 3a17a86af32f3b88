"""A training on a disk that gets full: `python -m tests.support.small_disk FOLDER`, in a mount namespace of its own.

Mounts a small disk below FOLDER. For each of two amounts that are left, with which the weights or the optimizer's state of the
second checkpoint do not fit, it prints how the training ended, frees the disk, and prints how the same training goes on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.train import sft
from sctir_kaggle.recipes.train.disk import Stored, check_disk
from sctir_kaggle.types import UserError
from tests.support.sft_support import changes, data, tiny


def main(folder: Path) -> None:
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(small)], check=True)
    recipe: Any = sft
    model, file = tiny(folder / "tiny"), data(folder)
    stored = Stored.of(sum(one.numel() for one in _parameters(model)), zero=False, half=False)
    for name, left in (("weights", 1.2 * stored.checkpoint), ("optimizer", 1.8 * stored.checkpoint)):
        filler = small / "filler"

        def check_and_fill(trainer: Any, settings: Any, left: float = left, filler: Path = filler) -> None:
            check_disk(trainer, settings)
            filler.write_bytes(bytes(int(shutil.disk_usage(small).free - left)))

        output = small / name
        settings = read_settings(
            sft.SFT, CONFIGS / "stage2_tir.yaml", changes(model, file, output, steps=4, save_every=2)
        )
        recipe.check_disk = check_and_fill
        try:
            said = str(sft.train(settings))
        except UserError as error:
            said = str(error)
        filler.unlink()
        recipe.check_disk = check_disk
        made = sft.train(settings)
        weights = (made / "model.safetensors").stat().st_size
        print(json.dumps({"full": said, "weights": weights, "expected": stored.model}), file=sys.stderr)
        shutil.rmtree(output)


def _parameters(model: Path) -> list[Any]:
    from safetensors.torch import load_file

    return list(load_file(model / "model.safetensors").values())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
