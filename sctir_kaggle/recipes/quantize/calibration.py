"""What the quantizer sees the model read: training rows of stage 2, token for token as in training and inference.

Covered: which rows, in which order, and how long. Not covered: whether they are like the problems to come.
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
    """Samples as token ids; of the rows that were read, and how many samples were cut at the longest length."""

    samples: tuple[tuple[int, ...], ...]
    rows: int
    cut: int

    @property
    def tokens(self) -> int:
        """Of all samples."""
        return sum(map(len, self.samples))

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of the ids: the model card says which samples these were."""
        return hashlib.blake2b(json.dumps(self.samples).encode(), digest_size=6).hexdigest()


def calibration(settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast) -> Calibration:
    """The first `samples` traces after a shuffle, rendered as in training and cut to the length or the context.

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
    """At most `count` rows as tokens, in an order that `seed` gives; as in training, rows without a trace are passed over.

    The order is not that of another library under the same seed.
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
    """The most tokens that the checkpoint's config promises positions for."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 4096)
