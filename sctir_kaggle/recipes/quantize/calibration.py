"""Calibration data for GPTQ: training rows of stage 2, token for token as in training and inference.

Covered: choice, order and length of the rows. Not covered: whether they resemble the problems to come.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.rendering import Row as TokenRow
from sctir_kaggle.recipes.rendering import encode_row
from sctir_kaggle.recipes.train.packing import read_data
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Calibration:
    """Samples as token ids; the number of rows they were drawn from, and of samples that were cut."""

    samples: tuple[tuple[int, ...], ...]
    rows: int
    cut: int

    @property
    def tokens(self) -> int:
        """Tokens of all samples."""
        return sum(map(len, self.samples))

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that identify the samples in the model card."""
        return hashlib.blake2b(json.dumps(self.samples).encode(), digest_size=6).hexdigest()


def calibration(settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast) -> Calibration:
    """The first `samples` traces after a shuffle, rendered as in training, cut at `max_tokens` or the model's context.

    Raises `UserError` where there are too few.
    """
    count, rows = settings.samples, list(read_data(settings.data))
    whole = [ids for ids, _ in shuffled_traces(rows, tokenizer, settings.seed, count)]
    if len(whole) < count:
        raise UserError(
            f"{', '.join(settings.data)}: {len(whole)} traces in {len(rows)} rows, samples is {count}: give more data, or "
            f"--set samples={len(whole)}"
        )
    length = min(settings.max_tokens, context_of(settings.model))
    return Calibration(tuple(ids[:length] for ids in whole), len(rows), sum(len(ids) > length for ids in whole))


def shuffled_traces(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast, seed: int, count: int
) -> list[TokenRow]:
    """At most `count` rows as tokens, shuffled by `seed`; as in training, rows without a trace are skipped.

    The order differs from that of other libraries under the same seed.
    """
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    encoded = (_encoded(rows[place], tokenizer) for place in order)
    return list(islice((row for row in encoded if row is not None), count))


def _encoded(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> TokenRow | None:
    try:
        return encode_row(row, tokenizer)
    except UserError:
        return None


def context_of(model: Path) -> int:
    """The checkpoint's context length in tokens (`max_position_embeddings`)."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 4096)
