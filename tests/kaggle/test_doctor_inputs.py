"""What the doctor says of what is attached: checkpoints, damaged ones too, wheels, and the competition's files."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.kaggle.checks import checkpoint, inputs
from sctir_kaggle.kaggle.checks.checkpoint import Damaged, read_weight_file
from sctir_kaggle.kaggle.checks.finding import Check, Finding, Machine
from sctir_kaggle.problems import ASSETS
from tests.real_tokenizers import real
from tests.support.wheel_support import wheel

HERE = f"cp{sys.version_info.major}{sys.version_info.minor}"
KERNEL = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model, to be damaged."""
    return Path(shutil.copytree(ASSETS / "model", tmp_path / "model"))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A copy of its quantized twin."""
    return Path(shutil.copytree(ASSETS / "model-gptq", tmp_path / "model-gptq"))


def look(check: Check, model: Path | None, **facts: Any) -> list[Finding]:
    return list(check(Machine(**{"model": model, "environment": {}, **facts})))


def the(check: Check, model: Path | None, **facts: Any) -> Finding:
    [finding] = look(check, model, **facts)
    return finding


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    stored = json.loads(file.read_text())
    change(stored)
    file.write_text(json.dumps(stored))


def test_a_whole_checkpoint_is_whole(model: Path, packed: Path) -> None:
    for folder, kinds in ((model, "F16"), (packed, "F16, I32")):
        for check in (checkpoint.weights, checkpoint.tokenizer, checkpoint.context, checkpoint.quantization):
            assert the(check, folder).level == "ok"
        assert the(checkpoint.weights, folder).detail.endswith(f"1 whole, {size_of(folder)}, stored as {kinds}")


def size_of(folder: Path) -> str:
    return f"{(folder / 'model.safetensors').stat().st_size / (1 << 20):.1f} MiB"


@pytest.mark.parametrize("kept", [0, 4, 100, 5_000, 900_000, 2_627_863])
def test_a_file_that_was_cut_off_anywhere_is_fatal(model: Path, kept: int) -> None:
    with (model / "model.safetensors").open("r+b") as file:
        file.truncate(kept)
    finding = the(checkpoint.weights, model)
    assert (finding.level, finding.remedy) == ("fatal", "upload it again")
    assert f"{kept:,} bytes" in finding.detail


def test_bytes_too_many_are_fatal_too(model: Path) -> None:
    with (model / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    assert "2,627,865 bytes and its header wants 2,627,864" in the(checkpoint.weights, model).detail


@pytest.mark.parametrize(
    "header",
    [b"{", b"[]", b"{}", b'{"a": 1}', b'{"a": {"dtype": "F16"}}', b'{"a": {"dtype": "F16", "data_offsets": []}}'],
)
def test_a_header_that_cannot_be_read_is_damage_and_no_error_of_ours(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    if header == b"{}":
        assert read_weight_file(file).tensors == {}
    else:
        with pytest.raises(Damaged, match="no header that can be read"):
            read_weight_file(file)


def test_a_pointer_of_git_lfs_is_named_as_one(model: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2627864\n"
    (model / "model.safetensors").write_text(pointer)
    assert "a Git LFS pointer" in the(checkpoint.weights, model).detail


def test_an_index_finds_the_shard_that_is_missing_and_the_tensor_that_is_elsewhere(model: Path) -> None:
    tensors = list(read_weight_file(model / "model.safetensors").tensors)
    places = {**dict.fromkeys(tensors, "model.safetensors"), "lost": "model.safetensors", "far": "model-2.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    details = [finding.detail for finding in look(checkpoint.weights, model)]
    assert len(details) == 2
    assert "model-2.safetensors is missing" in details[0]
    assert "1 tensors are not where" in details[1]
    assert "lost" in details[1]


def test_weights_of_another_format_alone_are_fatal(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "no *.safetensors but pytorch_model.bin" in the(checkpoint.weights, model).detail


@pytest.mark.parametrize(
    ("name", "content", "level", "detail"),
    [
        ("tokenizer.json", None, "fatal", "neither tokenizer.json or tokenizer.model or vocab.json and merges.txt"),
        ("tokenizer.json", '{"version": "1.0", "mod', "fatal", "tokenizer.json is not whole JSON"),
        ("tokenizer_config.json", None, "warning", "no tokenizer_config.json"),
        ("tokenizer_config.json", "", "fatal", "tokenizer_config.json is not whole JSON"),
    ],
)
def test_a_tokenizer_that_is_not_all_there(
    model: Path, name: str, content: str | None, level: str, detail: str
) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_text(content)
    finding = the(checkpoint.tokenizer, model)
    assert finding.level == level
    assert detail in finding.detail


def test_a_tokenizer_that_loses_white_space_is_fatal(model: Path) -> None:
    pytest.importorskip("tokenizers", reason="it is read by the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    edit(model / "tokenizer.json", lambda stored: stored.update(pre_tokenizer={"type": "Whitespace"}))
    finding = the(checkpoint.tokenizer, model)
    assert finding.level == "fatal"
    assert "loses white space" in str(finding)


@pytest.mark.tokenizers
def test_a_transformers_that_reads_it_wrongly_is_a_warning_and_a_right_one_is_not_loaded() -> None:
    from sctir_kaggle.dialects.tokenizer_check import may_be_wrong

    pytest.importorskip("transformers", reason="it is compared with the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    finding = the(checkpoint.tokenizer, real("deepseek"))
    assert finding.level == ("warning" if may_be_wrong() else "ok")
    said = "its tokenizer.json is used as it is" if may_be_wrong() else "128,815 tokens, 818 of them added"
    assert said in finding.detail


def test_a_context_shorter_than_a_turn_is_a_warning_and_none_at_all_is_fatal(model: Path) -> None:
    edit(model / "config.json", lambda stored: stored.update(max_position_embeddings=1024))
    assert the(checkpoint.context, model).level == "warning"
    edit(model / "config.json", lambda stored: stored.pop("max_position_embeddings"))
    assert the(checkpoint.context, model).level == "fatal"


def test_quantization_is_read_from_the_config_whatever_the_name_says(packed: Path, model: Path) -> None:
    misnamed = Path(shutil.move(model, model.with_name("my-awq-gptq-int4")))
    assert the(checkpoint.quantization, misnamed).detail == "none (config.json of my-awq-gptq-int4)"
    plain = Path(shutil.move(packed, packed.with_name("plain")))
    expected = "gptq, bits 8, group_size 128, desc_act False, sym True, checkpoint_format gptq"
    assert the(checkpoint.quantization, plain).detail == expected


@pytest.mark.parametrize(
    ("version", "group", "level"), [("0.29.1", 128, "ok"), ("0.30.0", 128, "fatal"), ("0.32.0", -1, "ok")]
)
def test_activation_order_with_groups_is_fatal_from_vllm_0_30_on(
    packed: Path, monkeypatch: pytest.MonkeyPatch, version: str, group: int, level: str
) -> None:
    edit(packed / "config.json", lambda stored: stored["quantization_config"].update(desc_act=True, group_size=group))
    monkeypatch.setattr(inputs, "installed", lambda *names: version)
    finding = the(checkpoint.quantization, packed)
    assert finding.level == level
    assert level == "ok" or "0.29 or older" in finding.remedy


def test_the_version_is_that_of_the_attached_wheel_where_vllm_is_not_installed(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(packed / "config.json", lambda stored: stored["quantization_config"].update(desc_act=True))
    monkeypatch.setattr(inputs, "installed", lambda *names: None)
    for version, level in (("0.19.1", "ok"), ("0.31.0", "fatal")):
        house = tmp_path / version
        house.mkdir()
        (house / f"vllm-{version}-cp38-abi3-manylinux_2_31_x86_64.whl").touch()
        assert the(checkpoint.quantization, packed, wheels=[house]).level == level
    assert the(checkpoint.quantization, packed).level == "ok"


def test_packed_weights_that_config_json_does_not_mention_are_fatal(packed: Path) -> None:
    stored = json.loads((packed / "config.json").read_text())
    (packed / "quantize_config.json").write_text(json.dumps(stored.pop("quantization_config")))
    (packed / "config.json").write_text(json.dumps(stored))
    finding = the(checkpoint.quantization, packed)
    assert finding.level == "fatal"
    assert "config.json has no quantization_config" in finding.detail


def test_a_config_that_promises_packed_weights_which_are_not_is_fatal(model: Path) -> None:
    edit(model / "config.json", lambda stored: stored.update(quantization_config={"quant_method": "gptq", "bits": 8}))
    assert "no weight is packed" in the(checkpoint.quantization, model).detail


def test_3_bits_have_no_fast_kernel_and_transformers_needs_a_library(
    packed: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "importable", lambda name: False)
    assert the(checkpoint.quantization, packed, engine="transformers").level == "fatal"
    edit(
        model / "config.json", lambda stored: stored.update(quantization_config={"quant_method": "compressed-tensors"})
    )
    finding = the(checkpoint.quantization, model, engine="transformers")
    assert finding.level == "fatal"
    assert "with compressed_tensors only" in finding.detail
    edit(packed / "config.json", lambda stored: stored["quantization_config"].update(bits=3))
    assert the(checkpoint.quantization, packed).level == "warning"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    wheel(tmp_path / "wheels", "sctir_first", "sctir_second")
    (tmp_path / "wheels" / "requirements.txt").write_text("sctir_first\n")
    return tmp_path / "wheels"


def test_wheels_that_lack_what_one_of_them_requires_are_fatal_and_it_is_named(house: Path) -> None:
    finding = the(inputs.wheels, None, wheels=[house], engine="recorded")
    assert finding.level == "fatal"
    assert "sctir_second" in finding.detail.replace("-", "_")
    wheel(house, "sctir_second")
    finding = the(inputs.wheels, None, wheels=[house], engine="recorded")
    assert finding.level == "ok"
    assert finding.detail == "2 resolve sctir_first offline (2 to install)"


def test_a_split_wheelhouse_is_resolved_as_one(house: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "wheels-2", "sctir_second")
    assert the(inputs.wheels, None, wheels=[house, tmp_path / "wheels-2"], engine="recorded").level == "ok"


def test_wheels_for_another_python_are_named_before_anything_else(house: Path) -> None:
    wheel(house, "sctir_second")
    wheel(house, "sctir_other", tags="cp27-cp27mu-manylinux2014_x86_64")
    finding = the(inputs.wheels, None, wheels=[house], engine="recorded")
    assert finding.level == "fatal"
    assert finding.detail.endswith(": sctir_other")
    wheel(house, "sctir_other", tags=f"{HERE}-{HERE}-manylinux2014_x86_64")
    assert the(inputs.wheels, None, wheels=[house], engine="recorded").level == "ok"


def test_an_image_that_moved_to_python_3_13_is_fatal_with_both_pythons_and_the_next_step(house: Path) -> None:
    wheel(house, "sctir_second", tags="cp312-cp312-manylinux_2_17_x86_64")
    finding = the(inputs.wheels, None, wheels=[house], python=(3, 13), environment=KERNEL)
    assert (
        str(finding)
        == "fatal   wheels: not for Python 3.13: sctir_second: make them for it, sctir wheels --python 3.13"
    )
    (house / "requirements.lock").write_text("# python: 3.12\n# image: none\n# ship: \n# of: 0\n")
    finding = the(inputs.wheels, None, wheels=[house], python=(3, 13), environment=KERNEL)
    assert (finding.level, finding.detail) == ("fatal", "the wheels are for Python 3.12, and this is Python 3.13")
    assert finding.remedy.startswith("make them for it, sctir wheels --python 3.13")


def test_wheels_that_would_replace_what_is_loaded_are_fatal(house: Path) -> None:
    wheel(house, "sctir_second", "pytest>=1000")
    wheel(house, "pytest", version="1000.0")
    finding = the(inputs.wheels, None, wheels=[house], engine="recorded")
    assert finding.level == "fatal"
    assert finding.detail.endswith(f"would replace pytest {pytest.__version__}, which is imported already")


def test_a_wheel_that_cannot_be_read_is_fatal(house: Path) -> None:
    (house / "sctir_second-1.0-py3-none-any.whl").write_bytes(b"half")
    finding = the(inputs.wheels, None, wheels=[house], engine="recorded")
    assert finding.level == "fatal"
    assert "sctir_second-1.0-py3-none-any.whl cannot be read" in finding.detail


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1.0-py3-none-any.whl", True),
        ("a-1.0-py2.py3-none-any.whl", True),
        ("a-1.0-1-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("a-1.0-cp38-abi3-manylinux_2_31_x86_64.whl", True),
        ("a-1.0-cp313-abi3-manylinux_2_31_x86_64.whl", False),
        ("a-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", False),
    ],
)
def test_a_wheels_tags_say_which_python_it_is_for(name: str, fits: bool) -> None:
    assert inputs._admits(name, (3, 12)) == ("a", fits)


def test_missing_wheels_matter_where_vllm_is_missing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the(inputs.wheels, None, engine="transformers").level == "ok"
    monkeypatch.setattr(inputs, "importable", lambda name: False)
    assert the(inputs.wheels, None, environment=KERNEL).level == "fatal"
    assert the(inputs.wheels, None).level == "warning"


@pytest.mark.parametrize("layout", ["", "competitions/"])
@pytest.mark.parametrize(("name", "interface"), [("aimo1", "aimo"), ("aimo3", "kaggle_evaluation")])
def test_the_competitions_files_are_found_with_its_interface(
    tmp_path: Path, layout: str, name: str, interface: str
) -> None:
    profile, mounted = PROFILES[name], tmp_path / f"{layout}{PROFILES[name].slug}"
    assert the(inputs.competition, None, profile=profile, roots=[tmp_path]).level == "warning"
    assert the(inputs.competition, None, profile=profile, roots=[tmp_path], environment=KERNEL).level == "fatal"
    mounted.mkdir(parents=True)
    (mounted / "test.csv").touch()
    assert (
        f"no {interface}/; it has test.csv" in the(inputs.competition, None, profile=profile, roots=[tmp_path]).detail
    )
    (mounted / interface).mkdir()
    assert the(inputs.competition, None, profile=profile, roots=[tmp_path]).level == "ok"


@pytest.mark.parametrize("environment", [{}, KERNEL, {"KAGGLE_IS_COMPETITION_RERUN": "1"}])
def test_an_interface_compiled_for_another_python_is_fatal_here_and_at_kaggle(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / PROFILES["aimo1"].slug / "aimo"
    folder.mkdir(parents=True)
    (folder / "competition.cpython-27-x86_64-linux-gnu.so").touch()
    finding = the(inputs.competition, None, profile=PROFILES["aimo1"], roots=[tmp_path], environment=environment)
    assert finding.level == "fatal"
    assert "competition.cpython-27" in finding.detail
    assert "no CPython 3.10" in finding.detail
    (folder / f"competition{EXTENSION_SUFFIXES[0]}").touch()
    assert the(inputs.competition, None, profile=PROFILES["aimo1"], roots=[tmp_path]).level == "ok"
