"""The slots of a validation are as many as fit into the free memory, counted against what an engine really takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.types import UserError
from tests.support.sft_support import MODEL, tiny

pytestmark = pytest.mark.recipes
pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")

from sctir_kaggle.recipes.train.validation_slots import MOST, SHARE, slot_bytes, slots_that_fit  # noqa: E402

GIB = 2**30


def seven_billion(**changes: Any) -> Any:
    """DeepSeekMath-7B's configuration."""
    from transformers import LlamaConfig

    sizes: dict[str, Any] = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 30,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "vocab_size": 102400,
        "tie_word_embeddings": False,
    }
    return LlamaConfig(**sizes | changes)


def test_the_slots_of_the_7b_model_would_not_fit_beside_its_training(tmp_path: Path) -> None:
    config = seven_billion()
    each, positions = slot_bytes(config, 2)
    assert (each, positions) == (2 * 30 * 32 * 128 * 4096 * 2, 4096)
    assert 96 * each > 80 * GIB  # 180 GiB: more than an H100 has
    config.save_pretrained(tmp_path)
    found = slots_that_fit(tmp_path, wanted=400, free=120 * GIB)  # on a CPU, in float32
    weights = 4 * 6_910_365_696
    assert found.weights == weights
    assert found.number == int(SHARE * (120 * GIB - weights)) // (2 * each) < MOST
    assert str(found) == "22 slots of 3.75 GiB (4096 positions) beside 25.7 GiB of weights: 120 GiB are free on the CPU"


def test_fewer_heads_and_a_window_make_a_slot_smaller() -> None:
    grouped = seven_billion(num_key_value_heads=8, head_dim=64)
    assert slot_bytes(grouped, 4)[0] == 2 * 30 * 8 * 64 * 4096 * 4
    grouped.sliding_window = 1024
    assert slot_bytes(grouped, 4) == (2 * 30 * 8 * 64 * 1024 * 4, 1024)


def test_a_slot_is_what_the_engine_allocates_for_a_full_context(tmp_path: Path) -> None:
    """The cache of a real engine, once a sequence has run to the end of the context."""
    import torch
    from transformers import AutoModelForCausalLM

    from sctir_kaggle.engines.slots import Slots

    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny(tmp_path)).eval()
    each, positions = slot_bytes(model.config, 4)
    slots = Slots(model, slots=3, context_length=positions)
    slots.open(0, [int(token) for token in torch.arange(positions) % 100])
    slots.prefill()
    stored = sum(tensor.numel() * tensor.element_size() for layer in slots._layers for tensor in layer.store)
    assert stored == 3 * each


def test_no_more_than_there_are_candidates_or_than_help() -> None:
    assert slots_that_fit(MODEL, wanted=5).number == 5
    assert slots_that_fit(MODEL, wanted=5000, free=64 * GIB).number == MOST


def test_where_not_one_fits_it_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"validation has room for 0 slots of .* set validate to null") as raised:
        slots_that_fit(MODEL, wanted=5, free=2**20)
    assert "\n" not in str(raised.value)
