"""Checks of the checkpoint: complete, with a tokenizer, of a known architecture, quantized as its config says.

Not covered: whether the model is any good, and a tokenizer that belongs to another model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.engines.vllm_layout import read_checkpoint
from sctir_kaggle.engines.vllm_options import check_activation_order, quantization_of
from sctir_kaggle.kaggle.checks.finding import Finding, Level, Machine, importable, of_error, size
from sctir_kaggle.kaggle.checks.inputs import vllm_version
from sctir_kaggle.types import EngineError, UserError

INDEX = "model.safetensors.index.json"

LONGEST_HEADER = 100 << 20
"""Bytes; the limit of the safetensors format itself."""

AGAIN = "upload it again"

TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""Sets of files, of which one is needed."""

GPTQ_BITS = (4, 8)
"""Widths for which vLLM has fast kernels."""

READERS = {"gptq": "gptqmodel", "compressed-tensors": "compressed_tensors"}
"""What transformers needs for weights of a method, by the names to import."""


class Damaged(ValueError):
    """A weight file is incomplete; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A complete *.safetensors file. `tensors` maps a tensor's name to its number format (F16, I32, ...)."""

    path: Path
    tensors: Mapping[str, str]


def read_weight_file(path: Path) -> WeightFile:
    """Read the header of a *.safetensors file, not its tensors.

    Raises `Damaged` if the header is cut off or the file has another size than the header says, `OSError` if unreadable.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise Damaged(f"{path.name} is cut off in its header, at {size:,} bytes{_pointer(path, size)}")
        header = _parsed(path, file.read(length))
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        raise Damaged(f"{path.name} has {size:,} bytes and its header wants {expected:,}")
    return WeightFile(path, {name: str(entry["dtype"]) for name, entry in header.items()})


def misplaced(folder: Path, files: Mapping[str, WeightFile]) -> Iterator[str]:
    """Yield what the index names and `files` (by name) do not hold; nothing if there is no index."""
    index = folder / INDEX
    if not index.is_file():
        return
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except (ValueError, KeyError, AttributeError):
        yield f"{INDEX} is not whole"
        return
    for name in sorted({name for _, name in places if not (folder / name).is_file()}):
        yield f"{name} is missing, and {INDEX} names it"
    lost = [tensor for tensor, name in places if name in files and tensor not in files[name].tensors]
    if lost:
        yield f"{len(lost)} tensors are not where {INDEX} says, the first is {lost[0]}"


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        if all(isinstance(entry["data_offsets"][1], int) and entry["dtype"] for entry in header.values()):
            return dict(header)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        pass
    raise Damaged(f"{path.name} has no header that can be read")


def _pointer(path: Path, size: int) -> str:
    """A hint at a clone without Git LFS, which leaves a text of a few lines in place of the file."""
    return ", a Git LFS pointer" if size < 1000 and path.read_bytes().startswith(b"version https://git-lfs") else ""


def weights(machine: Machine) -> Iterator[Finding]:
    """Whether every *.safetensors file has the size that its header says, and every tensor of the index is there."""
    folder = _folder(machine)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        kinds = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no weights"
        yield Finding("weights", "fatal", f"{folder} holds no *.safetensors but {kinds}", "convert or attach the model")
        return
    whole: dict[str, WeightFile] = {}
    faults: list[str] = []
    for file in files:
        try:
            whole[file.name] = read_weight_file(file)
        except (Damaged, OSError) as error:
            faults.append(str(error))
    faults += misplaced(folder, whole)
    yield from (Finding("weights", "fatal", f"{folder.name}: {fault}", AGAIN) for fault in faults)
    if not faults:
        stored = size(sum(file.stat().st_size for file in files))
        formats = sorted({kind for file in whole.values() for kind in file.tensors.values()})
        yield Finding("weights", "ok", f"{folder}: {len(files)} whole, {stored}, stored as {', '.join(formats)}")


def tokenizer(machine: Machine) -> Iterator[Finding]:
    """Whether the tokenizer is complete and round-trips text; compared with transformers if that may read it wrongly."""
    folder = _folder(machine)
    found = next((names for names in TOKENIZERS if all((folder / name).is_file() for name in names)), None)
    if found is None:
        wanted = " or ".join(" and ".join(names) for names in TOKENIZERS)
        yield Finding("tokenizer", "fatal", f"{folder} holds neither {wanted}", "copy them from the original model")
        return
    read = (*found, "tokenizer_config.json")
    broken = [
        name for name in read if name.endswith(".json") and (folder / name).is_file() and not _json(folder / name)
    ]
    if broken:
        yield Finding("tokenizer", "fatal", f"{folder}: {', '.join(broken)} is not whole JSON", AGAIN)
    elif not (folder / "tokenizer_config.json").is_file():
        remedy = "copy it from the original model"
        yield Finding("tokenizer", "warning", f"{folder} holds no tokenizer_config.json", remedy)
    else:
        yield _read_tokenizer(folder, " and ".join(found))


def dialect(machine: Machine) -> Iterator[Finding]:
    """Which dialect will be used: the chosen one, or the one recognised from the chat template."""
    folder = _folder(machine)
    if not (importable("tokenizers") and importable("transformers")):
        yield Finding("dialect", "ok", f"{machine.dialect} (not looked at: transformers is not installed)")
        return
    from sctir_kaggle.dialects.recognition import announcement, choose
    from sctir_kaggle.dialects.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.load(folder, compare=False)
        found = choose(machine.dialect, tokenizer, model=folder.name)
    except (UserError, EngineError) as error:
        yield of_error("dialect", error)
    else:
        said = announcement(found, tokenizer, choice=machine.dialect, model=folder.name)
        yield Finding("dialect", "ok", said.removeprefix("dialect: "))


def context(machine: Machine) -> Iterator[Finding]:
    """Whether the context is as long as one turn may be."""
    folder = _folder(machine)
    try:
        length = read_checkpoint(folder).context_length
    except EngineError as error:
        yield of_error("context", error)
        return
    wanted = machine.config.max_tokens
    detail = f"{length:,} tokens (max_position_embeddings)"
    if length < wanted:
        remedy = "turns are cut there: lower max_tokens, or choose a model with a longer context"
        yield Finding("context", "warning", f"{detail}, a turn may write {wanted:,}", remedy)
    else:
        yield Finding("context", "ok", detail)


def quantization(machine: Machine) -> Iterator[Finding]:
    """How the config says it is quantized, whether the weights agree, and whether this vLLM loads it.

    The name of the checkpoint is not evidence.
    """
    folder = _folder(machine)
    try:
        found = quantization_of(str(folder))
        if machine.engine == "vllm" and (version := vllm_version(machine)):
            check_activation_order(str(folder), found, version)
    except EngineError as error:
        yield of_error("quantization", error)
        return
    fault = _disagreement(folder, found) or (_unknown_bits(found) if machine.engine == "vllm" else _no_reader(found))
    if fault:
        yield Finding("quantization", *fault)
    else:
        yield Finding("quantization", "ok", _in_words(found) if found else f"none (config.json of {folder.name})")


def _read_tokenizer(folder: Path, files: str) -> Finding:
    if not importable("tokenizers"):
        return Finding("tokenizer", "ok", f"{files} (not read: the library tokenizers is not installed)")
    from sctir_kaggle.dialects.tokenizer import Tokenizer
    from sctir_kaggle.dialects.tokenizer_check import may_be_wrong

    try:
        read = Tokenizer.load(folder, compare=may_be_wrong())
    except EngineError as error:
        return of_error("tokenizer", error)
    if read.notice:
        return Finding("tokenizer", "warning", read.notice)
    return Finding("tokenizer", "ok", f"{files}: {len(read):,} tokens, {len(read.added_tokens)} of them added")


def _folder(machine: Machine) -> Path:
    if machine.model is None:
        raise LookupError("no checkpoint to look at")
    return machine.model


def _json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return True


def _in_words(found: Mapping[str, Any]) -> str:
    named = ("bits", "group_size", "desc_act", "sym", "checkpoint_format")
    parts = [f"{name} {found[name]}" for name in named if name in found]
    return ", ".join([str(found.get("quant_method", "method not named")), *parts])


def _disagreement(folder: Path, found: Mapping[str, Any]) -> tuple[Level, str, str] | None:
    """Weights and config that contradict each other: loaded, they would be garbage."""
    packed = any(name.endswith(".qweight") for name in _tensors(folder))
    in_config = bool(_config(folder).get("quantization_config"))
    if packed and not in_config:
        what = "its weights are packed, and config.json has no quantization_config"
        return "fatal", f"{folder}: {what}", "copy quantize_config.json into config.json under that key"
    if not packed and found.get("quant_method") in ("gptq", "awq"):
        return "fatal", f"{folder}: config.json says {_in_words(found)}, and no weight is packed", AGAIN
    return None


def _unknown_bits(found: Mapping[str, Any]) -> tuple[Level, str, str] | None:
    bits = found.get("bits")
    if found.get("quant_method") == "gptq" and bits not in GPTQ_BITS:
        return "warning", f"{_in_words(found)}: vLLM's fast kernels take 4 and 8 bits", "quantize with 8 or 4 bits"
    return None


def _no_reader(found: Mapping[str, Any]) -> tuple[Level, str, str] | None:
    library = READERS.get(str(found.get("quant_method")))
    if library and not importable(library):
        return "fatal", f"{_in_words(found)}: transformers reads it with {library} only", "take --engine vllm"
    return None


def _tensors(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            yield from read_weight_file(file).tensors
        except (Damaged, OSError):
            continue  # reported by `weights`


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
