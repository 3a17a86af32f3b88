"""Batches of labelled candidates for TRL's KTOTrainer, in which only tokens that the model wrote count.

TRL's own collator counts every token after the prompt, tool outputs too: the model would be rewarded for what the sandbox
printed. This one masks those in matched and mismatched sequences alike. Nothing is cut: candidates that are too long are
left out beforehand, except that mismatched sequences, which only serve the estimate of the KL term, are cut.
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
"""A candidate with P prompt and C completion tokens: `prompt_ids` [P], `completion_ids` and `learned` (0 or 1) [C], `label`
(bool). With the mismatched completion of K tokens, `KL_completion_ids` and `KL_learned` [K] too."""

EITHER = ("", "KL_")
"""The prefixes of the matched and of the mismatched completion."""


def encode_preference(preference: Preference, tokenizer: PreTrainedTokenizerFast) -> Row:
    """Token ids [P + C], and for each whether the model wrote it [P + C]; EOS only where the model wrote it."""
    ids, learned = encode_segments(preference.segments, tokenizer)
    return (ids, learned) if preference.ended else (ids[:-1], learned[:-1])


def columns(preference: Preference, tokenizer: PreTrainedTokenizerFast) -> Columns:
    """Split one candidate into its prompt [P], up to the first token that the model wrote, and the rest with its mask [C]."""
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
    """Encode the candidates of at most `longest` tokens (P + C) with C > 0; return them and how many were left out."""
    kept, left_out = [], 0
    for preference in preferences:
        row = columns(preference, tokenizer)
        if row["completion_ids"] and len(row["prompt_ids"]) + len(row["completion_ids"]) <= longest:
            kept.append(row)
        else:
            left_out += 1
    return kept, left_out


def mismatched(rows: Sequence[Columns], *, batch: int, seed: int) -> list[Columns]:
    """Shuffle the rows and give each the completion of its neighbour in the same batch of `batch` rows, for the KL term.

    They are shuffled because neighbours in a journal belong to one problem, whose completion would be a match after all. A
    last batch of one row is left out: it has no neighbour.
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
    """Pad the rows of `mismatched` on the right into tensors of shape [rows, longest row], cut at `longest` tokens.

    `pad` is the padding token's id. `label` is bool [rows]; all others are int64.
    """

    pad: int
    longest: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the batch under KTOTrainer's names; `completion_mask` is 1 on tokens that the model wrote.

        For the matched sequences, and with the prefix `KL_` for the mismatched: `input_ids`, `attention_mask`,
        `completion_mask`, int64 [rows, tokens]. `ref_logps` [rows] where they were computed before.
        """
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
