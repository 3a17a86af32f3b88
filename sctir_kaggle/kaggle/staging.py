"""Upload folders: what the kaggle client is given to upload as a data set or as a model.

A staged folder is flat and holds links to the user's files beside the metadata that Kaggle wants, without what `hf download`
and `git clone` leave behind. It lies at the same path in every call, because the client finds the pieces of an interrupted
upload by the path of the file. Not covered: subfolders, which the client would leave out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sctir_kaggle.kaggle.metadata import OWNER
from sctir_kaggle.kaggle.transfer import Progress, file_hash
from sctir_kaggle.types import UserError

DATASET_FILE = "dataset-metadata.json"
MODEL_FILE = "model-metadata.json"
INSTANCE_FILE = "model-instance-metadata.json"

METADATA = (DATASET_FILE, MODEL_FILE, INSTANCE_FILE, "datapackage.json", "kernel-metadata.json")
"""Files that the client reads, or leaves out of an upload: they are no content."""

DATASET_FILES = 50
"""Files at the top level of one data set (kaggle.com/docs/datasets, technical specifications)."""

DATASET_BYTES = 200 * 10**9
"""Bytes of one data set (same page)."""

MANIFEST = re.compile(r"sha256-[0-9a-f]{16}\.txt")
"""The name of a manifest, see `manifest`."""

CACHES = ("__pycache__",)
"""Left out, as is every name that begins with a dot: .cache of `hf download`, .git and .gitattributes of a clone."""

STAGED = Path("runs", "upload")
"""The default place of staged folders."""


def dataset_metadata(slug: str, owner: str | None) -> str:
    """Return the text of dataset-metadata.json; without an owner it holds the placeholder that an upload fills in."""
    document = {"title": slug.replace("-", " "), "id": f"{owner or OWNER}/{slug}", "licenses": [{"name": "other"}]}
    return json.dumps(document, indent=2) + "\n"


def contents(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the files to upload, by name, and the names that are left out.

    Raises `UserError` if the folder is missing or empty, has subfolders, or holds a broken link.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the files")
    entries = sorted(path for path in folder.iterdir() if path.name not in METADATA)
    left_out = [path.name for path in entries if path.name.startswith(".") or path.name in CACHES]
    kept = [path for path in entries if path.name not in left_out]
    if inner := [path.name for path in kept if path.is_dir()]:
        names = ", ".join(inner[:5])
        raise UserError(
            f"{folder} has folders ({names}), which the client leaves out: move them or their files elsewhere"
        )
    if broken := [path.name for path in kept if not path.is_file()]:
        raise UserError(f"{folder / broken[0]} is no file, or a link to one that is gone: fetch or make it again")
    if not kept:
        raise UserError(f"{folder} holds no files: there is nothing to upload")
    return {path.name: path for path in kept}, left_out


def sizes_of(files: Mapping[str, Path]) -> dict[str, int]:
    """Return the bytes of each file by name, to be compared with what is at Kaggle."""
    return {name: path.stat().st_size for name, path in files.items()}


def manifest(files: Mapping[str, Path]) -> dict[str, str]:
    """Return one more file to upload, by name: the hashes of all files, with a hash of that list in its own name.

    Kaggle lists names and sizes only, and a checkpoint that was trained further has the sizes of the one before. With the
    hash in a name, different weights are a different list of names.
    """
    lines: list[str] = []
    with Progress("hashing", len(files), sum(sizes_of(files).values())) as progress:
        for name, path in files.items():
            progress.begin(path.stat().st_size)
            lines.append(f"{file_hash(path, on_read=progress.add)}  {name}\n")
    text = "".join(lines)
    return {f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:16]}.txt": text}


def stage_folder(
    files: Mapping[str, Path],
    place: Path,
    metadata: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Fill `place` with links to `files`, one JSON file for each of `metadata`, and `texts`; return its absolute path.

    Links, metadata and manifests of an earlier call are removed first.
    """
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
