"""The slots of a validation are as many as fit into the free memory, counted against what an engine really takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.types import EngineError, ExecutorError, UserError
from tests.support.sft_support import MODEL, changes, data, tiny

pytestmark = pytest.mark.recipes
pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")

from sctir_kaggle.recipes.train import validation, validation_slots  # noqa: E402
from sctir_kaggle.recipes.train.sft import SFT, train  # noqa: E402
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


def validated(tmp_path: Path) -> list[str]:
    """The changes of a training of two steps that is validated at its end."""
    return changes(
        MODEL,
        data(tmp_path),
        tmp_path / "out",
        **{"steps": 2, "validate": HELD_OUT, "validate_every": 2, "validate_problems": 1, "validate_candidates": 1},
    )


def test_a_validation_without_memory_is_left_out_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is room before the training, and none beside its optimizer's state."""
    free = iter([64 * GIB, 2**20])
    monkeypatch.setattr(validation_slots, "_free_cpu", lambda: next(free))
    made = train(read_settings(SFT, CONFIGS / "stage2_tir.yaml", validated(tmp_path)))
    assert (made / "model.safetensors").exists()
    assert "the validation of step 2 is left out: validation has room for 0 slots of " in capsys.readouterr().out
    assert next(free, None) is None


@pytest.mark.parametrize("error", [EngineError, ExecutorError, UserError])
def test_whatever_fails_in_a_validation_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    def fails(*_: Any) -> None:
        raise error("the reason")

    monkeypatch.setattr(validation, "score_of", fails)
    train(read_settings(SFT, CONFIGS / "stage2_tir.yaml", validated(tmp_path)))
    assert "the validation of step 2 is left out: the reason\n" in capsys.readouterr().out
