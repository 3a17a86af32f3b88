"""Rows that are held out of a fine-tuning, and the loss on them at the end of each epoch.

Held out are the split `test` of the training's data sets, files, or a share of the rows, by a hash of the problem. Rows of a
held-out problem are never trained on. The loss is the plain cross-entropy over the same blocks and labels as in training: the
mean over all learned tokens, also where the training smooths its labels.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.recipes.rows import KINDS, read_rows, write_rows
from sctir_kaggle.recipes.train.packing import read_data
from sctir_kaggle.text import visible
from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    from transformers import TrainerCallback

HeldOut = Literal["test"] | float | tuple[str, ...] | None
"""`test`: that split of the training's data sets. A number: that share of the rows. Else as `data`, with the split `test`."""

LOSSES = "held_out.jsonl"
"""The file of the losses in a training's output, a line for each time: step, epoch, loss, tokens, seconds."""


def check_held_out(held_out: HeldOut) -> None:
    """Raise `UserError` for a share that holds out nothing or everything."""
    if isinstance(held_out, float) and not 0 < held_out < 1:
        raise UserError(f"held_out is {held_out:g}; a share is above 0 and below 1, and null holds nothing out")


def sources_of(data: Sequence[str], held_out: HeldOut) -> tuple[str, ...]:
    """The files and data sets that are held out whole; none for a share, or where `data` has no data set with splits."""
    if held_out == "test":
        return tuple(name for name in data if not name.endswith(KINDS))
    return held_out if isinstance(held_out, tuple) else ()


def split_rows(data: Sequence[str], held_out: HeldOut, folder: Path) -> tuple[str, str] | None:
    """Write the rows of `data` to two files below `folder`, once: those to train on, and those held out.

    Return the files' names, None where nothing is held out. A row whose problem is held out, but for spaces, is not among
    those to train on. Raises `UserError` where a source cannot be read, or one of the files would be empty.
    """
    sources = sources_of(data, held_out)
    if not sources and not isinstance(held_out, float):
        return None
    place = folder / f"split-{_key(data, held_out)}"
    train, test, counts = place / "train.jsonl.gz", place / "held-out.jsonl.gz", place / "counts.json"
    if not counts.exists():  # written last
        share = held_out if isinstance(held_out, float) else 0.0
        rows = _test_rows(sources) if sources else (row for row in read_data(data) if is_held_out(row, share))
        held = write_rows(test, map(dict, rows))
        known = {_problem(row) for row in _test_rows([str(test)])}
        kept = write_rows(train, (dict(row) for row in read_data(data) if _problem(row) not in known))
        if not held or not kept:
            raise UserError(f"held_out is {held_out}: {held} rows are held out, and {kept} are left to train on")
        counts.write_text(json.dumps({"train": kept, "held_out": held}), encoding="utf-8")
    return str(train), str(test)


def is_held_out(row: Mapping[str, Any], share: float) -> bool:
    """Whether a row is in the share, by a hash of its problem: the same in every run, and for all traces of a problem."""
    digest = hashlib.blake2b(_problem(row).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _problem(row: Mapping[str, Any]) -> str:
    """The problem's text, that of the field, else of the first message, with single spaces."""
    messages = row.get("messages") or [{}]
    return " ".join(visible(str(row.get("problem") or messages[0].get("content") or "")).split())


def _test_rows(sources: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of files, and of the split `test` of data sets on the Hub or in folders."""
    for name in sources:
        yield from read_rows(Path(name)) if name.endswith(KINDS) else _read_test(name)


def _read_test(name: str) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset

    try:
        rows: Any = load_dataset(name, split="test")
    except (OSError, ValueError) as error:
        reason = one_line(error, first=True)
        raise UserError(
            f"cannot load the split test of {name}: {reason}; set held_out to a file of rows "
            f"({', '.join(KINDS)}), to a share of the rows such as 0.01, or to null"
        ) from None
    for number, row in enumerate(rows):
        yield {"id": f"{name}:test:{number}", **row}


def _key(data: Sequence[str], held_out: HeldOut) -> str:
    """A hash of all that changes the split: names and files. Data sets on the Hub count as fixed."""
    names = [*data, *sources_of(data, held_out)]
    files = [file.stat() if (file := Path(name)).is_file() else None for name in names]
    stamps = [(stat.st_size, stat.st_mtime_ns) if stat else None for stat in files]
    return hashlib.blake2b(json.dumps([list(data), held_out, stamps]).encode(), digest_size=6).hexdigest()


def held_out_loss(trainer: Any, blocks: Any, batch: int) -> tuple[float, int]:
    """The mean cross-entropy over all learned tokens of `blocks` (`packing.Packed`), and their number.

    Every process must call it. Batches go to the processes in turn; where they do not come out even, the rest run a batch
    that does not count, since under ZeRO-3 a forward pass needs all of them. The random state is not touched.
    """
    import torch

    rank, processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    starts = range(0, len(blocks), batch)
    total = torch.zeros(2, dtype=torch.float64, device=trainer.args.device)
    trainer.model_wrapped.eval()
    try:
        for first in range(0, len(starts), processes):
            mine = first + rank
            start = starts[mine] if mine < len(starts) else 0
            rows = [blocks[index] for index in range(start, min(start + batch, len(blocks)))]
            loss, count = trainer.cross_entropy(trainer.data_collator(rows))
            if mine < len(starts):
                total += torch.stack([loss.double(), count.double()])
    finally:
        trainer.model_wrapped.train()
    loss, count = trainer.accelerator.reduce(total, reduction="sum").tolist()
    return loss / count, int(count)


def held_out_callback(trainer: Any, blocks: Any, batch: int, output: Path) -> TrainerCallback:
    """The callback that takes the loss at the end of each epoch and of the training, and logs it as `eval_loss`.

    It does so before that step's checkpoint is saved: whoever goes on from there finds it in the log, and whoever goes on
    from an earlier one takes it anew.
    """
    from transformers import TrainerCallback

    class HeldOutLoss(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not (state.epoch == round(state.epoch) or state.global_step >= state.max_steps):
                return
            started = time.monotonic()
            loss, tokens = held_out_loss(trainer, blocks, batch)
            trainer.log_apart({"eval_loss": loss})
            if state.is_world_process_zero:
                line = {"step": state.global_step, "epoch": state.epoch, "loss": loss, "tokens": tokens}
                _note(output / LOSSES, line | {"seconds": round(time.monotonic() - started, 3)})

    return HeldOutLoss()


def _note(path: Path, line: Mapping[str, Any]) -> None:
    """Append `line`, in place of those of this step or later, which a killed run has left."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [one for one in lines if _step(one) < line["step"]]
    part = path.with_name(f".{path.name}")
    part.write_text("".join(f"{one}\n" for one in [*kept, json.dumps(line)]), encoding="utf-8")
    part.replace(path)


def _step(line: str) -> int:
    return int(json.loads(line)["step"])
