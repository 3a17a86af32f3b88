"""Folders as the client can upload them: flat, without what `hf download` and `git clone` leave, under a path that stays.

The client finds the pieces of an upload that broke off by the file's path, so what it is given lies at the same path in every
call: links to the user's files, beside the metadata that Kaggle wants. Not covered: uploading sub-folders.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sctir_kaggle.kaggle.transfer import Progress
from sctir_kaggle.types import UserError

DATASET_FILE = "dataset-metadata.json"
MODEL_FILE = "model-metadata.json"
INSTANCE_FILE = "model-instance-metadata.json"

METADATA = (DATASET_FILE, MODEL_FILE, INSTANCE_FILE, "datapackage.json", "kernel-metadata.json")
"""What the client reads or leaves out: these are no content."""

MANIFEST = re.compile(r"sha256-[0-9a-f]{16}\.txt")
"""The name of a manifest."""

CHUNK = 1 << 20

CACHES = ("__pycache__",)
"""Left out with everything whose name begins with a dot: .cache of `hf download`, .git and .gitattributes of a clone."""

STAGED = Path("runs", "upload")
"""Where the folders that the client is given are, unless the user says otherwise."""


def contents(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files that are uploaded, by name, and the names of what is left out. Raises `UserError` for other folders."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the files")
    entries = sorted(path for path in folder.iterdir() if path.name not in METADATA)
    out = [path.name for path in entries if path.name.startswith(".") or path.name in CACHES]
    kept = [path for path in entries if path.name not in out]
    if inner := [path.name for path in kept if path.is_dir()]:
        names = ", ".join(inner[:5])
        raise UserError(
            f"{folder} has folders ({names}), which the client leaves out: move them or their files elsewhere"
        )
    if broken := [path.name for path in kept if not path.is_file()]:
        raise UserError(f"{folder / broken[0]} is no file, or a link to one that is gone: fetch or make it again")
    if not kept:
        raise UserError(f"{folder} holds no files: there is nothing to upload")
    return {path.name: path for path in kept}, out


def sizes_of(files: Mapping[str, Path]) -> dict[str, int]:
    """Bytes by name: what is compared with what is at Kaggle."""
    return {name: path.stat().st_size for name, path in files.items()}


def manifest(files: Mapping[str, Path]) -> dict[str, str]:
    """A file to upload with the others, by name: their hashes, and the hash of those in its own name.

    Kaggle lists names and sizes, and a checkpoint that was trained further has the sizes of the one before.
    """
    lines: list[str] = []
    with Progress("hashing", len(files), sum(sizes_of(files).values())) as progress:
        for name, path in files.items():
            progress.begin(path.stat().st_size)
            lines.append(f"{_sha256(path, progress)}  {name}\n")
    text = "".join(lines)
    return {f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt": text}


def _sha256(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            progress.add(len(piece))
    return digest.hexdigest()


def stage(
    files: Mapping[str, Path],
    place: Path,
    metadata: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """`place`, absolute, with links to `files`, a JSON file for each of `metadata`, and `texts`; nothing that was there."""
    place = place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    for path in place.iterdir():
        if path.is_symlink() or path.name in METADATA or MANIFEST.fullmatch(path.name):
            path.unlink()
    for name, text in texts.items():
        (place / name).write_text(text, encoding="utf-8")
    for name, path in files.items():
        (place / name).symlink_to(path.resolve())
    for name, document in metadata.items():
        (place / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return place
