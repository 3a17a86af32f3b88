"""A safetensors file's header, read without its weights: 8 bytes of length, that much JSON, then the tensors' bytes.

It finds what an upload or download that ended early leaves behind. Not covered: a wrong byte among the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"

LONGEST_HEADER = 100 << 20
"""The format's own limit, in bytes."""


class Damaged(ValueError):
    """A file is not whole; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A whole file. `tensors` maps a name to its number format (F16, I32, ...)."""

    path: Path
    tensors: Mapping[str, str]


def read_weight_file(path: Path) -> WeightFile:
    """Raises `Damaged` where the header is cut or the file's size is not what the header says, `OSError` if unreadable."""
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
    """What the index promises and the files that were read, by name, do not hold; nothing where there is no index."""
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
    """A clone without Git LFS leaves a text of a few lines in place of the file."""
    return ", a Git LFS pointer" if size < 1000 and path.read_bytes().startswith(b"version https://git-lfs") else ""
