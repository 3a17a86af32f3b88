"""What is pushed, written into a folder: the notebook with the library's wheel and the run's settings, and its metadata."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.bundle import build_wheel
from sctir_kaggle.kaggle.notebook import build
from sctir_kaggle.types import UserError


def stage(checkout: Path, pushed: Path, owner: str | None, settings: Mapping[str, Any]) -> metadata.Document:
    """Writes the notebook and its metadata, both as they are pushed, into `pushed`, and returns the metadata.

    The notebook is built anew from its source where there is one, with the library's wheel inside. Raises `UserError` with
    every problem of the metadata.
    """
    path = checkout / metadata.FILE
    document = metadata.read(path)
    if owner is not None:
        document = metadata.filled(document, owner)
    if settings.get("competition"):
        profile = profile_of(settings["competition"])
        document = {**document, "competition_sources": [profile.slug], "machine_shape": profile.machine}
    metadata.check(document, path)
    profile = profile_of(document["competition_sources"][0])  # unknown, we could not say which file is submitted
    notebook = checkout / document["code_file"]
    pushed.mkdir(parents=True, exist_ok=True)
    source = notebook.with_suffix(".py")
    if source.is_file():
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(Path(folder), checkout=checkout)
            text = build(source, wheel, {**settings, "competition": profile.name})
        (pushed / notebook.name).write_text(text, encoding="utf-8")
    elif settings:
        raise UserError(f"{source} does not exist: settings are written into the notebook's source")
    else:
        shutil.copy(notebook, pushed)
    document["code_file"] = notebook.name
    write(pushed, document)
    return document


def write(folder: Path, document: metadata.Document) -> None:
    """The metadata file that the client reads."""
    (folder / metadata.FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
