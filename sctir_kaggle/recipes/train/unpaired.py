"""Labelled candidates as batches for TRL's KTOTrainer: only tokens that the model wrote count in a log-probability.

TRL's own collator counts everything behind the prompt, so tool outputs too: the model would be rewarded for what the
sandbox printed. This one masks them in the matched and in the mismatched sequences alike. Nothing is cut: what is too long
is left out beforehand, but for mismatched sequences, which serve the estimate of the KL term alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.rendering import Row, encode_segments
from sctir_kaggle.recipes.train.preferences import Preference

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

Columns = dict[str, Any]
"""`prompt_ids`; `completion_ids` and `learned`, of one length; `label`. With the mismatched completion, those of `KL_` too."""

EITHER = ("", "KL_")
"""The prefixes of the matched and of the mismatched completion."""


def encode_preference(preference: Preference, tokenizer: PreTrainedTokenizerFast) -> Row:
    """Token ids, and for each whether the model wrote it. The end of the sequence is there only where it wrote that."""
    ids, learned = encode_segments(preference.segments, tokenizer)
    return (ids, learned) if preference.ended else (ids[:-1], learned[:-1])


def columns(preference: Preference, tokenizer: PreTrainedTokenizerFast) -> Columns:
    """One candidate: the prompt up to the first token that the model wrote, then the rest with its mask."""
    ids, learned = encode_preference(preference, tokenizer)
    start = learned.index(True) if True in learned else len(learned)
    return {
        "prompt_ids": list(ids[:start]),
        "completion_ids": list(ids[start:]),
        "learned": [int(one) for one in learned[start:]],
        "label": preference.desirable,
    }


def encoded(
    preferences: Iterable[Preference], tokenizer: PreTrainedTokenizerFast, *, longest: int
) -> tuple[list[Columns], int]:
    """The candidates of at most `longest` tokens in which the model wrote something, and how many were left out."""
    kept, left_out = [], 0
    for preference in preferences:
        row = columns(preference, tokenizer)
        if row["completion_ids"] and len(row["prompt_ids"]) + len(row["completion_ids"]) <= longest:
            kept.append(row)
        else:
            left_out += 1
    return kept, left_out


def mismatched(rows: Sequence[Columns], *, batch: int, seed: int) -> list[Columns]:
    """In random order, each with the completion of its neighbour in the same batch of `batch`, for the KL term.

    Shuffled, since in the order of a journal neighbours belong to one problem, and a completion would be matched after all.
    A last batch of one is left out: it has no neighbour.
    """
    shuffled = list(rows)
    Random(seed).shuffle(shuffled)
    paired: list[Columns] = []
    for start in range(0, len(shuffled), batch):
        part = shuffled[start : start + batch]
        if len(part) > 1:
            paired += [_with(row, other) for row, other in zip(part, [part[-1], *part], strict=False)]
    return paired


def _with(row: Columns, other: Columns) -> Columns:
    return {**row, "KL_completion_ids": other["completion_ids"], "KL_learned": other["learned"]}


@dataclass(frozen=True, slots=True)
class Collator:
    """Rows of `mismatched` as tensors of shape (rows, longest of them), padded on the right."""

    pad: int
    longest: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """What KTOTrainer asks for, under its names; `completion_mask` is 1 on tokens that the model wrote."""
        import torch

        batch = {"label": torch.tensor([row["label"] for row in rows])}
        for prefix in EITHER:
            ids = [[*row["prompt_ids"], *row[f"{prefix}completion_ids"]] for row in rows]
            masks = [[0] * len(row["prompt_ids"]) + list(row[f"{prefix}learned"]) for row in rows]
            batch[f"{prefix}input_ids"] = self._padded(ids, self.pad)
            batch[f"{prefix}attention_mask"] = self._padded([[1] * len(one) for one in ids], 0)
            batch[f"{prefix}completion_mask"] = self._padded(masks, 0)
        for name in {"ref_logps", "ref_KL_logps"} & rows[0].keys():  # computed before the training, if asked for
            batch[name] = torch.tensor([row[name] for row in rows])
        return batch

    def _padded(self, rows: Sequence[Sequence[int]], value: int) -> Tensor:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        cut = [torch.tensor(row[: self.longest], dtype=torch.int64) for row in rows]
        return pad_sequence(cut, batch_first=True, padding_value=value)
