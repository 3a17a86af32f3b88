"""The recipe `quantize` without its library: what it refuses, what it calibrates on, which files it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from sctir_kaggle.dialects.rows import HEADER
from sctir_kaggle.engines.vllm_options import check_activation_order, quantization_of
from sctir_kaggle.recipes.quantize import __main__ as recipe
from sctir_kaggle.recipes.quantize import backends
from sctir_kaggle.recipes.quantize.__main__ import quantize
from sctir_kaggle.recipes.quantize.calibration import Calibration, calibration
from sctir_kaggle.recipes.quantize.check import CheckSettings
from sctir_kaggle.recipes.quantize.checkpoint import even_out
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings, check_folders
from sctir_kaggle.recipes.rendering import encode_row, segments_of
from sctir_kaggle.recipes.rows import Row, read_rows, write_rows
from sctir_kaggle.recipes.settings import read_settings, run_recipe
from sctir_kaggle.recipes.synthetic.corpus import run as run_drafts
from sctir_kaggle.recipes.tiny.data import rows_of, unseen_drafts
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import EngineError, UserError
from tests.support.quantize_support import MODEL, PACKED, edit, settings_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture
def settings(tmp_path: Path) -> QuantizeSettings:
    return settings_for(tmp_path)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer

    return load_transformers_tokenizer(MODEL)


def test_the_shipped_file_is_the_winning_run_without_its_activation_order() -> None:
    shipped = read_settings(QuantizeSettings, Path("quantize.yaml"))
    values = (shipped.bits, shipped.group_size, shipped.sym, shipped.damp, shipped.samples, shipped.seed)
    assert values == (8, 128, True, 0.01, 256, 42)
    assert (shipped.backend, shipped.desc_act) == ("gptqmodel", False)
    chosen_by_the_user = ("model", "data", "output")
    defaults = {field.name: field.default for field in fields(QuantizeSettings) if field.name not in chosen_by_the_user}
    assert {name: getattr(shipped, name) for name in defaults} == defaults


def test_the_shipped_check_is_the_winning_run_on_a_validation_set() -> None:
    shipped = read_settings(CheckSettings, Path("check_quantized.yaml"))
    assert (shipped.candidates, shipped.turns, shipped.temperature) == (48, 4, 0.8)
    assert (shipped.problems, shipped.engine) == ("amc", "vllm")


def test_activation_order_is_refused_with_the_last_vllm_that_takes_it(settings: QuantizeSettings) -> None:
    with pytest.raises(UserError, match=r"vLLM 0\.29 is the last .*desc_act=false") as refusal:
        replace(settings, desc_act=True)
    assert "\n" not in str(refusal.value)
    assert replace(settings, desc_act=True, allow_desc_act=True).desc_act
    assert replace(settings, desc_act=True, group_size=-1).desc_act, "vLLM takes it where there is one group"


def test_the_refusal_is_that_of_the_engine_to_the_version() -> None:
    ordered = {"quant_method": "gptq", "desc_act": True, "group_size": 128}
    check_activation_order("m", ordered, "0.29.9")
    with pytest.raises(EngineError, match=r"vLLM 0\.29 or older"):
        check_activation_order("m", ordered, "0.30.0")


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("bits", 3, "8 or 4"),
        ("group_size", 100, "128, 64, 32"),
        ("sym", False, "symmetric"),
        ("damp", 0.0, "above 0"),
        ("damp", 1.0, "below 1"),
        ("samples", 0, "at least 1"),
        ("max_tokens", 4, "at least 16"),
        ("batch", 0, "at least 1"),
    ],
)
def test_a_value_that_no_vllm_loads_or_no_library_takes_is_refused(
    settings: QuantizeSettings, field: str, value: Any, limit: str
) -> None:
    with pytest.raises(UserError, match=f"{field} is {value}; it must be .*{limit}"):
        replace(settings, **{field: value})


def test_a_checkpoint_that_is_quantized_already_is_refused(settings: QuantizeSettings) -> None:
    with pytest.raises(UserError, match="quantized already \\(gptq\\)"):
        quantize(replace(settings, model=PACKED))


def test_a_folder_without_a_checkpoint_is_refused(settings: QuantizeSettings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere holds no readable config\.json"):
        quantize(replace(settings, model=tmp_path / "nowhere"))


def test_nothing_is_overwritten(settings: QuantizeSettings) -> None:
    settings.output.mkdir()
    check_folders(settings)
    (settings.output / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        quantize(settings)
    assert [file.name for file in settings.output.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"intermediate_size": 344}, "intermediate_size 344 is no multiple of group_size 128: set it to -1"),
        ({"hidden_size": 576}, "hidden_size 576 is no multiple of group_size 128: set it to 64"),
    ],
    ids=["odd", "smollm2"],
)
def test_groups_that_do_not_fill_the_widths_are_refused(
    widths: dict[str, int], said: str, settings: QuantizeSettings, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(MODEL, odd)
    edit(odd / "config.json", lambda config: config.update(widths))
    with pytest.raises(UserError, match=said):
        quantize(replace(settings, model=odd))
    check_folders(replace(settings, model=odd, group_size=-1))


def test_a_folder_without_weights_is_refused(settings: QuantizeSettings, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(MODEL, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(UserError, match=r"bare holds no weights \(\*\.safetensors or pytorch_model\*\.bin\)"):
        check_folders(replace(settings, model=bare))


def test_weights_that_are_cut_off_are_refused(settings: QuantizeSettings, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(MODEL, cut)
    os.truncate(cut / "model.safetensors", 1_000_000)
    with pytest.raises(UserError, match=r"cut/model\.safetensors is not whole \(.*\): copy or download") as refusal:
        check_folders(replace(settings, model=cut))
    assert "\n" not in str(refusal.value)


def test_an_error_of_writing_is_one_line_and_leaves_nothing_behind(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(working: QuantizeSettings, _: Calibration) -> None:
        working.output.mkdir()
        raise SafetensorError("I/O error: No space left on device (os error 28)\nat some line")

    monkeypatch.setattr(backends, "find_spec", lambda _: True)
    monkeypatch.setattr(backends, "BACKENDS", {"gptqmodel": full})
    with pytest.raises(UserError, match="gptqmodel ended with SafetensorError: I/O error: No space left") as refusal:
        quantize(settings)
    assert "\n" not in str(refusal.value)
    assert [file.name for file in settings.output.parent.iterdir()] == ["rows.jsonl"]


def test_a_full_disk_is_seen_before_anything_is_computed(
    settings: QuantizeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def full(folder: Path) -> SimpleNamespace:
        looked_at.append(folder)
        return SimpleNamespace(free=1_000_000)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(UserError, match=r"has 0\.001 GB free, and made takes up to the model's 0\.00263 GB: make room"):
        check_folders(replace(settings, output=settings.output.parent / "new" / "made"))
    assert looked_at == [settings.output.parent]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("grup_size=64", "--set grup_size=64: no such field; did you mean group_size?"),
        ("backend=llmcompressor", "'llmcompressor' is not one of gptqmodel, llm-compressor, auto-gptq"),
        ("backend=llm-compressor batch=2", "batch is 2; it must be 1 with llm-compressor"),
        (
            "backend=llm-compressor desc_act=true group_size=-1",
            "desc_act is true; it must be false with llm-compressor",
        ),
        ("data=[nowhere.jsonl]", "cannot open nowhere.jsonl"),
        ("model=untokenized", "cannot load untokenized: untokenized has no usable tokenizer"),
    ],
    ids=["field", "backend", "batch", "order", "data", "tokenizer"],
)
def test_bad_input_is_one_line_and_exit_2(
    changed: str,
    said: str,
    settings: QuantizeSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    pytest.importorskip("yaml", reason="settings are YAML: pip install 'sctir-kaggle[recipes]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipe, "check_backend", lambda _: None)
    shutil.copytree(MODEL, tmp_path / "untokenized", ignore=shutil.ignore_patterns("tokenizer*"))
    before = sorted(tmp_path.rglob("*"))
    typed = [f"model={MODEL}", f"data=[{settings.data[0]}]", "output=made", *changed.split()]
    monkeypatch.setattr("sys.argv", ["quantize", "--config", "quantize.yaml", "--set", *typed])
    with pytest.raises(SystemExit) as ended:
        run_recipe(recipe.main)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_auto_gptq_without_cuda_is_one_line_that_names_the_way_out(settings: QuantizeSettings) -> None:
    torch = pytest.importorskip("torch", reason="CUDA is looked for by torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match=r"CUDA only.*backend=gptqmodel") as refusal:
        quantize(replace(settings, backend="auto-gptq"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("backend", ["gptqmodel", "llm-compressor"])
def test_a_missing_library_is_one_line_that_names_its_requirements(
    backend: Literal["gptqmodel", "llm-compressor"], settings: QuantizeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"pip install -r sctir_kaggle/recipes/requirements-{backend}\.txt") as refusal:
        quantize(replace(settings, backend=backend))
    assert "\n" not in str(refusal.value)
    assert (backends.REQUIREMENTS / f"requirements-{backend}.txt").is_file()


def test_a_sample_is_what_training_showed_token_for_token(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast
) -> None:
    made = calibration(settings, tokenizer)
    whole = {encode_row(row, tokenizer)[0] for row in read_rows(Path(settings.data[0]))}
    assert len(made.samples) == len(set(made.samples)) == settings.samples == 6
    assert set(made.samples) <= whole
    assert (made.rows, made.cut) == (9, 0)
    head = tokenizer.decode(list(made.samples[0]), skip_special_tokens=True)
    assert str(head).startswith(HEADER.partition("{")[0])


def test_the_seed_chooses_the_rows(settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast) -> None:
    made = calibration(settings, tokenizer)
    assert calibration(settings, tokenizer) == made
    other = calibration(replace(settings, seed=7), tokenizer)
    assert set(other.samples) != set(made.samples)
    assert other.fingerprint != made.fingerprint


def test_samples_are_cut_at_the_length_and_at_the_context(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    whole, cut = calibration(settings, tokenizer), calibration(replace(settings, max_tokens=40), tokenizer)
    assert cut.samples == tuple(ids[:40] for ids in whole.samples)
    assert (cut.cut, cut.tokens) == (6, 240)
    short = tmp_path / "short"
    shutil.copytree(MODEL, short)
    edit(short / "config.json", lambda config: config.update(max_position_embeddings=32))
    assert calibration(replace(settings, model=short), tokenizer).tokens == 6 * 32


def test_too_few_rows_are_refused_with_their_number(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(UserError, match=r"9 traces in 9 rows, samples is 256: .*samples=9"):
        calibration(replace(settings, samples=256), tokenizer)


def test_rows_without_a_trace_are_passed_over_as_in_training(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    bare: list[Row] = [{"id": f"x-{n}", "problem": "What is 1 + 1?", "answer": 2} for n in range(20)]
    write_rows(tmp_path / "bare.jsonl", bare)
    mixed = replace(settings, data=(str(tmp_path / "bare.jsonl"), *settings.data))
    made = calibration(mixed, tokenizer)
    assert (len(made.samples), made.rows) == (6, 29)
    with pytest.raises(UserError, match="9 traces in 29 rows"):
        calibration(replace(mixed, samples=10), tokenizer)


LEGACY = {
    "is_marlin_format": False,
    "model_name_or_path": "/somewhere/m",
    "model_file_base_name": "gptq_model-8bit-128g",
}
"""Keys of auto-gptq 0.7.1 that no reader needs; some name folders."""


@pytest.mark.parametrize("in_config", [True, False])
def test_a_folder_of_auto_gptq_becomes_the_format_of_gptqmodel(tmp_path: Path, in_config: bool) -> None:
    folder = tmp_path / "auto"
    shutil.copytree(PACKED, folder)
    before = json.loads((folder / "config.json").read_text())
    stored = {"bits": 8, "group_size": 128, "desc_act": False, "sym": True, "damp_percent": 0.01, **LEGACY}
    (folder / "quantize_config.json").write_text(json.dumps(stored))
    edit(folder / "config.json", lambda config: config.pop("quantization_config"))
    if in_config:
        edit(folder / "config.json", lambda config: config.update(quantization_config=stored))
    (folder / "model.safetensors").rename(folder / "gptq_model-8bit-128g.safetensors")
    even_out(MODEL, folder)
    kept = {name: before["quantization_config"][name] for name in ("bits", "group_size", "desc_act", "sym")}
    assert quantization_of(str(folder)) == {**kept, "quant_method": "gptq", "checkpoint_format": "gptq"}
    assert (folder / "model.safetensors").read_bytes() == (PACKED / "model.safetensors").read_bytes()
    assert {file.name for file in folder.iterdir()} == {file.name for file in PACKED.iterdir()}


def test_the_tokenizer_is_the_originals_whatever_the_library_saved(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    shutil.copytree(PACKED, folder)
    (folder / "tokenizer_config.json").write_text('{"padding_side": "other"}')
    even_out(MODEL, folder)
    assert (folder / "tokenizer_config.json").read_bytes() == (MODEL / "tokenizer_config.json").read_bytes()


def test_a_run_that_breaks_off_leaves_nothing_behind(
    settings: QuantizeSettings, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(working: QuantizeSettings, _: Calibration) -> None:
        working.output.mkdir()
        (working.output / "model-00001-of-00003.safetensors").write_bytes(b"half")
        raise MemoryError

    monkeypatch.setattr(recipe, "check_backend", lambda _: None)
    monkeypatch.setattr(recipe, "quantize_with", out_of_memory)
    before = set(settings.output.parent.iterdir())
    with pytest.raises(MemoryError):
        quantize(settings)
    assert set(settings.output.parent.iterdir()) == before


def test_the_embedded_models_traces_are_rows_that_render_as_they_were_trained(sandbox: Sandbox) -> None:
    examples = asyncio.run(run_drafts(unseen_drafts(0)[:16], sandbox))
    rows = list(rows_of(examples))
    assert len(rows) >= 14
    assert [segments_of(row) for row in rows] == [example.segments for example in examples]
    assert len({row["id"] for row in rows}) == len(rows)
