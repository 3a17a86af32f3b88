"""The back end llm-compressor: W8A16 in compressed-tensors, its figures in transformers, its tokenizer.

It has an environment of its own for the sake of its transformers: `requirements-llm-compressor.txt`. With $SCTIR_W8A16_TWIN the
checkpoint is written there, for `tests/engines/test_vllm_compressed.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_check import PROBE, auto_tokenizer, lost_by, may_be_wrong
from sctir_kaggle.engines.vllm_options import quantization_of
from sctir_kaggle.recipes.quantize.__main__ import quantize
from sctir_kaggle.recipes.quantize.calibration import calibration
from sctir_kaggle.recipes.quantize.card import CARD
from sctir_kaggle.recipes.quantize.compare import compare
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from tests.real_tokenizers import real
from tests.support.quantize_support import MODEL, PACKED, settings_for, unseen_rows

pytestmark = [
    pytest.mark.recipes,
    pytest.mark.skipif(
        find_spec("llmcompressor") is None,
        reason="llmcompressor is not installed: pip install -r sctir_kaggle/recipes/requirements-llm-compressor.txt",
    ),
]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> QuantizeSettings:
    """The embedded model, quantized now with a small calibration."""
    folder = tmp_path_factory.mktemp("compressed")
    settings = replace(settings_for(folder, rows=32, samples=16), backend="llm-compressor")
    settings = replace(settings, output=Path(os.environ.get("SCTIR_W8A16_TWIN") or settings.output))
    here = set(Path.cwd().iterdir())
    quantize(settings)
    assert set(Path.cwd().iterdir()) == here, "the library left something where it was started"
    return settings


def test_it_is_eight_bits_in_the_one_layout_and_names_no_folder_of_the_machine(fresh: QuantizeSettings) -> None:
    stored = quantization_of(str(fresh.output))
    assert (stored["quant_method"], stored["format"], stored["ignore"]) == (
        "compressed-tensors",
        "pack-quantized",
        ["lm_head"],
    )
    weights = stored["config_groups"]["group_0"]["weights"]
    chosen = (weights["num_bits"], weights["group_size"], weights["symmetric"], weights["actorder"])
    assert chosen == (8, 128, True, "static")
    assert {file.name for file in fresh.output.iterdir()} == {CARD, *(file.name for file in PACKED.iterdir())}
    everything = b"".join(file.read_bytes() for file in fresh.output.iterdir())
    for folder in (fresh.output.parent, MODEL, Path.home()):
        assert str(folder).encode() not in everything


def test_it_is_the_original_in_transformers_but_for_its_rounding(fresh: QuantizeSettings) -> None:
    found = compare(MODEL, fresh.output, unseen_rows(8), device="cpu")
    assert found.tokens > 500
    assert 1e-9 < found.divergence.value < 1e-4, "not the same weights, and near them"
    assert found.agreement.value > 0.99
    assert found.ratio.value == pytest.approx(1, abs=0.01)


def test_its_card_names_the_format_and_how_to_load_it(fresh: QuantizeSettings) -> None:
    card = (fresh.output / CARD).read_text()
    for said in ("in W8A16 compressed-tensors", "- compressed-tensors\n", "by llm-compressor 0.14.0.1", "GPTQ (<https"):
        assert said in card
    assert "gptqmodel" not in card
    assert "desc_act` is off" not in card, "that is a limit of vLLM's GPTQ"


def test_a_single_group_is_a_scale_for_each_channel(fresh: QuantizeSettings, tmp_path: Path) -> None:
    single = replace(fresh, group_size=-1, output=tmp_path / "single")
    quantize(single)
    assert quantization_of(str(single.output))["config_groups"]["group_0"]["weights"]["strategy"] == "channel"
    assert compare(MODEL, single.output, unseen_rows(8), device="cpu").divergence.value < 1e-4


def test_four_bits_are_further_from_the_original(fresh: QuantizeSettings, tmp_path: Path) -> None:
    four = replace(fresh, bits=4, output=tmp_path / "four")
    quantize(four)
    rows = unseen_rows(8)
    eight, less = (compare(MODEL, folder, rows, device="cpu").divergence for folder in (fresh.output, four.output))
    assert less.error is not None
    assert less.value - 2 * less.error > 10 * eight.value


@pytest.fixture
def deepseek(tmp_path: Path) -> QuantizeSettings:
    """A random model of width 128 with DeepSeek's real tokenizer and the names of NuminaMath's config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path / "model", real("deepseek")
    size = len(json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]) + 1024
    torch.manual_seed(0)
    config: Any = LlamaConfig(
        vocab_size=size, hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2
    )
    llama: Any = LlamaForCausalLM
    llama(config).to(torch.float16).save_pretrained(folder)
    for file in tokenizer.iterdir():
        shutil.copyfile(file, folder / file.name)
    settings = settings_for(tmp_path, rows=4, samples=4)
    return replace(settings, backend="llm-compressor", model=folder, output=tmp_path / "made")


def test_deepseeks_tokenizer_keeps_its_white_space_though_this_transformers_loses_it(
    deepseek: QuantizeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerBase

    def saved(*_: object, **__: object) -> None:
        raise AssertionError("a tokenizer was saved by transformers")

    encoder = Tokenizer.load(deepseek.model)
    theirs = auto_tokenizer(encoder.files)
    if may_be_wrong():
        assert lost_by(theirs.backend_tokenizer) == "white space", (
            "no reason is left to pass it over: say so in the file"
        )
    made = calibration(deepseek, load_transformers_tokenizer(deepseek.model))
    text = encoder.decode(made.samples[0])
    assert "We write a short program.\n\n```python\nprint(sum(range(1, " in text
    assert encoder.decode(encoder.encode_text(PROBE)) == PROBE
    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", saved)
    written = quantize(deepseek)
    assert written.samples == made.samples
    assert {file.name for file in deepseek.output.iterdir()} == {
        CARD,
        *(file.name for file in deepseek.model.iterdir()),
    }
    for file in real("deepseek").iterdir():
        assert (deepseek.output / file.name).read_bytes() == file.read_bytes()
    assert Tokenizer.load(deepseek.output).decode(made.samples[0]) == text
