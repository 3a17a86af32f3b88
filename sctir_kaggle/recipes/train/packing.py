"""Pack rows into blocks of tokens: traces side by side, each with its own positions, so that none sees another.

A trace longer than a block is split into pieces (`splitting`), each a trace of its own from then on. A block is a row of a
data set, with lists of one length L <= `block`: `input_ids`, `labels` (-100 where nothing is learned)
and `positions`, which restart at 0 with each trace. Those positions confine attention to a trace: transformers builds its
mask from them (eager, sdpa), flash attention cuts the sequence there, if a batch is one row. Not covered: attention that
ignores positions (ALiBi, linear).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.recipes.rendering import encode_row
from sctir_kaggle.recipes.rows import KINDS, read_rows
from sctir_kaggle.recipes.tokenizer import encoder_of
from sctir_kaggle.recipes.train.splitting import Piece, split
from sctir_kaggle.types import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The label of a token that is not learned: PyTorch's cross-entropy ignores it by default."""

CHUNK = 20_000
"""Rows that are packed together: few enough for memory, many enough to fill the blocks well."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How traces become blocks of at most `block` tokens."""

    block: int = 2048
    how: Literal["split", "whole", "wrapped"] = "split"
    """What happens to a trace longer than a block: split at its turns' ends with its context kept (`splitting`), or dropped
    (`whole`). `wrapped` cuts traces of any length where a block ends."""
    learn: Literal["written", "all"] = "written"
    """Take the loss on what the model writes only, or on the problem and on what code printed too."""


@dataclass(slots=True)
class Packed:
    """Blocks (a `datasets.Dataset`), and what they were made of.

    `counts`: `rows`; `traces` of which at least a part is in a block; dropped rows, `too long` and with `no trace`; traces that
    were `split`, the `pieces` made of them, and those `cut short`, which lost their end; `tokens` in blocks, and those of them
    that are `repeated`, as a piece's context; `learned` tokens, and those `dropped` that would have been.
    """

    blocks: Any
    counts: Counter[str]

    @property
    def full(self) -> float:
        """The share of places that hold a token, were every block padded to the longest."""
        return self.counts["tokens"] / max(1, len(self.blocks) * self.counts["longest block"])


def pack(rows: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast, packing: Packing) -> Packed:
    """Pack the rows with TRL's bin packing ("bfd": best fit, decreasing) or, `wrapped`, in one stream that is cut.

    A block has `input_ids`, `labels` and `positions`, int32 lists of one length of at most `packing.block`. Raises
    `UserError` where no trace is left.
    """
    from datasets import concatenate_datasets
    from trl import pack_dataset

    counts: Counter[str] = Counter()
    encoded, strategy = _encoded(rows, tokenizer, packing, counts), "wrapped" if packing.how == "wrapped" else "bfd"
    parts = []
    while chunk := list(islice(encoded, CHUNK)):
        part: Any = pack_dataset(_table(chunk), packing.block, strategy, {"batch_size": CHUNK})
        parts.append(part.select_columns(["input_ids", "labels", "positions"]))
    if not parts:
        raise UserError(
            f"no trace of {counts['rows']} rows is left ({_dropped(counts)}); a larger block takes longer ones"
        )
    blocks = concatenate_datasets(parts)
    counts["longest block"] = max(map(len, blocks["input_ids"]))
    return Packed(blocks, counts)


def _encoded(
    rows: Iterable[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast, packing: Packing, counts: Counter[str]
) -> Iterator[dict[str, Sequence[int]]]:
    for row in rows:
        counts["rows"] += 1
        try:
            ids, learned = encode_row(row, tokenizer)
        except UserError:
            counts["no trace"] += 1
            continue
        flags = learned if packing.learn == "written" else (True,) * len(ids)
        pieces = _pieces(learned, flags, packing)
        masks = [piece.mask(flags) for piece in pieces]
        kept = sum(map(sum, masks))
        counts.update({"learned": kept, "dropped": sum(flags) - kept, "traces" if pieces else "too long": 1})
        if len(pieces) > 1 or (pieces and kept < sum(flags)):
            repeated = sum(piece.head + piece.new - piece.start for piece in pieces)
            counts.update(
                {"split": 1, "pieces": len(pieces), "repeated": repeated, "cut short": int(kept < sum(flags))}
            )
        for piece, mask in zip(pieces, masks, strict=True):
            tokens = piece.of(ids)
            counts["tokens"] += len(tokens)
            labels = [token if flag else IGNORED for token, flag in zip(tokens, mask, strict=True)]
            yield {"input_ids": tokens, "labels": labels, "positions": range(len(tokens))}


def _pieces(written: Sequence[bool], learned: Sequence[bool], packing: Packing) -> list[Piece]:
    """The pieces of a trace that are packed; none where it is dropped."""
    if packing.how == "split":
        return split(written, learned, packing.block)
    return [Piece.whole(len(written))] if packing.how == "wrapped" or len(written) <= packing.block else []


def _table(chunk: Sequence[Mapping[str, Sequence[int]]]) -> Any:
    import numpy as np
    from datasets import Dataset

    return Dataset.from_dict({name: [np.array(row[name], np.int32) for row in chunk] for name in chunk[0]})


def _dropped(counts: Counter[str]) -> str:
    return f"{counts['too long']} too long, {counts['no trace']} without a trace"


def load_packed(
    data: Sequence[str], tokenizer: PreTrainedTokenizerFast, packing: Packing, *, folder: Path
) -> tuple[Packed, str]:
    """The blocks of these data sets, packed once and cached in `folder`; and a line that counts them. Shapes as `pack`'s."""
    from datasets import load_from_disk

    place = folder / f"blocks-{_key(data, tokenizer, packing)}"
    if not (place / "counts.json").exists():  # written last
        packed = pack(read_data(data), tokenizer, packing)
        packed.blocks.save_to_disk(place)
        (place / "counts.json").write_text(json.dumps(packed.counts), encoding="utf-8")
    counts = Counter(json.loads((place / "counts.json").read_text(encoding="utf-8")))
    packed = Packed(load_from_disk(str(place)), counts)
    return packed, f"{summary(counts)}, {len(packed.blocks)} blocks, {packed.full:.1%} full"


def summary(counts: Counter[str]) -> str:
    """The counts of `Packed` on one line."""
    split_ = (
        f"{counts['split']} split into {counts['pieces']} pieces ({counts['cut short']} cut short), "
        if counts["split"]
        else ""
    )
    share = counts["dropped"] / max(1, counts["learned"] + counts["dropped"])
    return (
        f"{counts['traces']} traces of {counts['rows']} rows ({_dropped(counts)}), {split_}{counts['tokens']} tokens, "
        f"{counts['repeated']} of them repeated, {counts['learned']} learned, {counts['dropped']} ({share:.2%}) dropped"
    )


def read_data(data: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of files (`rows.py`) and of data sets on the Hub, one source after the other."""
    for name in data:
        yield from read_rows(Path(name)) if name.endswith(KINDS) else _read_hub(name)


def _read_hub(name: str) -> Iterator[Mapping[str, Any]]:
    """Rows of the split `train` of a data set on the Hub, or of a folder with a copy."""
    from datasets import load_dataset

    try:
        rows: Any = load_dataset(name, split="train")
    except (OSError, ValueError) as error:  # ConnectionError and "not found" are OSErrors
        reason = one_line(error, first=True)
        raise UserError(f"cannot load {name}: {reason}; give a file of rows ({', '.join(KINDS)})") from None
    for number, row in enumerate(rows):
        yield {"id": f"{name}:{number}", **row}


def _key(data: Sequence[str], tokenizer: PreTrainedTokenizerFast, packing: Packing) -> str:
    """A hash of all that changes a block: files, tokenizer, prompt texts, packing. Data sets on the Hub count as fixed."""
    files = [Path(name) for name in data]
    stamps = [(file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None for file in files]
    parts = [
        list(data),
        stamps,
        encoder_of(tokenizer).fingerprint,
        NUMINA.fingerprint,
        repr(packing),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Collator:
    """Collate blocks into a batch without an attention mask: `position_ids` mark where a trace begins.

    `input_ids`, `labels` and `position_ids` are int64 of shape [blocks, longest block], or [1, all tokens] where `flat`,
    which flash attention needs. Padding has position 0 everywhere, so each padding token is a trace by itself. Without
    `isolate` positions run through a block, and later traces attend to earlier ones.
    """

    pad: int
    isolate: bool = True
    flat: bool = False

    def __call__(self, blocks: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
        """Return the batch; see the class for its shapes."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        made: dict[str, Tensor] = {}
        for name, column, filler in self._columns(blocks):
            tensors = [torch.tensor(list(values), dtype=torch.long) for values in column]
            joined = [torch.cat(tensors)] if self.flat else tensors
            made[name] = pad_sequence(joined, batch_first=True, padding_value=filler)
        if (
            self.isolate
        ):  # the loss shifts labels by one: the last token of a trace must not predict the next trace's first
            made["labels"][made["position_ids"] == 0] = IGNORED
        return made

    def _columns(self, blocks: Sequence[Mapping[str, Sequence[int]]]) -> Iterator[tuple[str, list[Sequence[int]], int]]:
        yield "input_ids", [block["input_ids"] for block in blocks], self.pad
        yield "labels", [block["labels"] for block in blocks], IGNORED
        through = [range(len(block["input_ids"])) for block in blocks]
        yield "position_ids", [block["positions"] for block in blocks] if self.isolate else list(through), 0
