"""Bytes on disk of what a training writes, and whether they fit where it writes them.

A checkpoint holds the weights, in the precision that they are trained in, and Adam's state. Of each parameter that is:

- under DeepSpeed's ZeRO, whose optimizer has a float32 copy of the weights and two float32 moments (ZeRO, arXiv 1910.02054,
  section 3.1), 4 + 4 + 4 bytes in the shards of all processes, and the weights, gathered (`zero3_save_16bit_model`), 2 bytes
  in bfloat16, 4 in float32: 97 GB for 6.91e9 parameters in bfloat16;
- without, where weights are float32 and the optimizer's, too, 4 bytes and two moments of 4: 83 GB.

Trainer deletes the oldest checkpoint only once the newest is written, so that `keep` checkpoints need room for one more.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.recipes.disk_full import is_disk_full
from sctir_kaggle.recipes.train.trainer import ResumableSettings, last_checkpoint, say
from sctir_kaggle.types import UserError


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes of a checkpoint and of the finished model, without the kilobytes of the tokenizer and of the logs."""

    checkpoint: int
    model: int

    @classmethod
    def of(cls, parameters: int, *, zero: bool, half: bool) -> Stored:
        """Those of a model: trained by DeepSpeed's ZeRO or not, with weights of 16 bits or of 32.

        >>> Stored.of(6_910_365_696, zero=True, half=True)
        Stored(checkpoint=96745119744, model=13820731392)
        """
        weights = 2 if half else 4
        optimizer = 12 if zero else 8
        return cls((weights + optimizer) * parameters, weights * parameters)

    def peak(self, keep: int, saves: float = math.inf) -> float:
        """The most that `keep` checkpoints and the model take at one time, in a training that saves `saves` times.

        Either one checkpoint more than are kept, while that one is being written, or the kept ones and the model.
        """
        return max(min(keep + 1, saves) * self.checkpoint, min(keep, saves) * self.checkpoint + self.model)

    def still_needed(self, keep: int, saves: float, there: int) -> float:
        """Free bytes that a training needs which finds `there` bytes of its own earlier checkpoints."""
        first = min(saves, 1) * self.checkpoint  # nothing is deleted before it is written
        return max(first, self.model, self.peak(keep, saves) - there)


def check_disk(trainer: Any, settings: ResumableSettings) -> None:
    """Print what the training will write and what is free. Raises `UserError`, in the first process, where it cannot fit."""
    if not trainer.is_world_process_zero():
        return
    stored, saves = stored_by(trainer), saves_of(trainer, settings)
    there = sum(map(_size_of, settings.output.glob("checkpoint-*[0-9]")))
    needed = stored.still_needed(settings.keep, saves, there)
    free = free_bytes(settings.output)
    kept = f"{size(stored.checkpoint)} a checkpoint, up to {min(settings.keep + 1, saves)} at a time (keep: {settings.keep})"
    found = f"{size(needed)} for checkpoints and model ({kept})"
    if needed <= free:
        say(trainer, f"disk: needs {found}; {size(free)} are free")
        return
    advice = "free some, or set output to another disk"
    least = stored.still_needed(1, saves, there)
    if settings.keep > 1 and least <= free:
        advice += f", or keep to 1, which needs {size(least)}"
    raise UserError(f"{settings.output} has {size(free)} of free disk, and this training needs {found}: {advice}")


def stored_by(trainer: Any) -> Stored:
    """What a trainer writes of its model, from the number of its parameters and how it trains them."""
    from torch import nn

    model: nn.Module = trainer.model
    counted = {
        id(one): int(getattr(one, "ds_numel", one.numel())) for one in model.parameters()
    }  # ZeRO-3 leaves 0 of it
    zero = bool(trainer.is_deepspeed_enabled)
    return Stored.of(sum(counted.values()), zero=zero, half=zero and bool(trainer.args.bf16))


def saves_of(trainer: Any, settings: ResumableSettings) -> int:
    """How often a training saves a checkpoint: every `save_every` steps, at each validation, and at the end."""
    args = trainer.args
    total = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    rows = len(trainer.train_dataset) * getattr(args, "num_generations", 1)  # those of RL are problems
    steps = args.max_steps if args.max_steps > 0 else math.ceil(rows * args.num_train_epochs / total)
    at = set(range(settings.save_every, steps + 1, settings.save_every)) | {steps}
    if getattr(settings, "validate", None) is not None:
        every = int(getattr(settings, "validate_every"))  # noqa: B009
        at |= set(range(every, steps + 1, every))
    return len(at)


@contextmanager
def full_disk_in_one_line(settings: ResumableSettings) -> Iterator[None]:
    """Turn the many errors of writing to a full disk into a `UserError` that says where the training will go on."""
    try:
        yield
    except Exception as error:
        free = free_bytes(settings.output)
        if not is_disk_full(error, free):
            raise
        last = last_checkpoint(settings.output)
        goes_on = f"goes on from {last}, which is whole" if last else "starts anew: no checkpoint was whole"
        raise UserError(
            f"the disk of {settings.output} is full ({size(free)} are free); free some and start the same command again: "
            f"it {goes_on}"
        ) from error


def free_bytes(folder: Path) -> int:
    """What is free to this user where `folder` is, or would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def size(count: float) -> str:
    """Format bytes in decimal units, as disks are sold.

    >>> size(96_745_119_744), size(2_500_000), size(900)
    ('96.7 GB', '2.5 MB', '0.9 kB')
    """
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if count >= one:
            return f"{count / one:,.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
