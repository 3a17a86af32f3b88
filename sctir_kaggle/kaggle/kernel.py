"""The folder that is pushed: the notebook, with the library's wheel and the run's settings inside, and its metadata.

The competition is set once, in the notebook's SETTINGS cell or by `--competition`. What is attached and on which machine the
notebook runs follow from it here; metadata that contradicts it, or that cannot run on the image, is refused before
anything is sent.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import Profile, profile_of
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.bundle import build_wheel
from sctir_kaggle.kaggle.notebook import build
from sctir_kaggle.kaggle.settings_cell import cell_settings, resolve_cell
from sctir_kaggle.types import UserError


def stage_kernel(checkout: Path, pushed: Path, owner: str | None, settings: Mapping[str, Any]) -> metadata.Document:
    """Write the notebook and its metadata, both as they are pushed, into `pushed`; return the metadata.

    The notebook is built from its source if there is one, with `settings` in its cell. Raises `UserError` with every
    problem of the metadata, and if metadata and notebook name different competitions.
    """
    path = checkout / metadata.FILE
    document = metadata.read(path)
    if owner is not None:
        document = metadata.with_owner(document, owner)
    notebook = _notebook_of(checkout, document)
    wanted = _competition_of(notebook, settings)
    if wanted is not None and (settings.get("competition") or not document.get("competition_sources")):
        document = for_competition(document, wanted)
    metadata.check(document, path)
    # An unknown competition is refused here: without its profile we would not know which file is submitted.
    profile = profile_of(document["competition_sources"][0])
    if wanted is not None and wanted != profile:
        raise UserError(
            f"{path} attaches competition_sources {profile.slug} ({profile.name}), but {notebook} has "
            f'SETTINGS["competition"] = "{wanted.name}": choose one, which sets both: '
            f"sctir push --competition {wanted.name}"
        )
    check_python(document, profile, path)
    built = checkout / document["code_file"]
    source = built.with_suffix(".py")
    if source.is_file():
        _check_not_edited(source, built)
        _build(checkout, source, pushed / built.name, {**settings, "competition": profile.name})
    elif settings:
        raise UserError(f"{source} does not exist: settings are written into the notebook's source")
    else:
        pushed.mkdir(parents=True, exist_ok=True)
        shutil.copy(built, pushed)
    document["code_file"] = built.name
    document.pop("docker_image_python", None)  # a key of ours, which the client does not know
    write_metadata(pushed, document)
    return document


def for_competition(document: metadata.Document, profile: Profile) -> metadata.Document:
    """Return the metadata with everything that follows from the competition: sources, machine, image.

    A Docker image that was named for another competition is dropped. The data set of the CPython that AIMO-1's module
    needs is attached or detached.
    """
    made = {**document, "competition_sources": [profile.slug], "machine_shape": profile.machine}
    if document.get("competition_sources") not in (None, [], [profile.slug]):
        made = {key: value for key, value in made.items() if key not in ("docker_image", "docker_image_python")}
    sources = document.get("dataset_sources")
    if isinstance(sources, list):
        lacking = profile.python is not None and not any(map(_is_python310, sources)) and not _has(made, profile)
        kept = [source for source in sources if profile.python is not None or not _is_python310(source)]
        owner = str(document.get("id", "")).partition("/")[0]
        made["dataset_sources"] = kept + [f"{owner}/{metadata.PYTHON310}"] * lacking
    return made


def check_python(document: metadata.Document, profile: Profile, path: Path) -> None:
    """Raise `UserError` if the competition's module can run neither in the image nor in an attached CPython."""
    if profile.python is None or _has(document, profile) or any(map(_is_python310, document["dataset_sources"])):
        return
    wanted = ".".join(map(str, profile.python))
    python = metadata.image_python(document)
    image = f"has {python}" if python else "is not known (docker_image_python)"
    raise UserError(
        f"{profile.name} runs on Python {wanted} alone and the image's {image}: add "
        f'"{metadata.OWNER}/{metadata.PYTHON310}" to dataset_sources in {path} (sctir wheels --cpython makes it), '
        f'or name a docker_image with "docker_image_python": "{wanted}"'
    )


def write_metadata(folder: Path, document: metadata.Document) -> None:
    """Write kernel-metadata.json, which the client reads."""
    (folder / metadata.FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _notebook_of(checkout: Path, document: metadata.Document) -> Path | None:
    """The notebook's source, or the notebook if it has none; None if it is missing, which `metadata.check` reports."""
    name = document.get("code_file")
    built = checkout / name if isinstance(name, str) else None
    if built is None or not built.is_file() or not metadata.is_notebook(built):
        return None
    source = built.with_suffix(".py")
    return source if source.is_file() else built


def _competition_of(notebook: Path | None, settings: Mapping[str, Any]) -> Profile | None:
    """The competition of the command line, else of the notebook's cell; None if neither names one."""
    if settings.get("competition"):
        return profile_of(settings["competition"])
    cell = cell_settings(notebook) if notebook else None
    return None if cell is None else resolve_cell({**cell, **settings}, {}).profile


def _check_not_edited(source: Path, notebook: Path) -> None:
    """Raise `UserError` if the notebook was edited after its source: the pushed one would lack the edits."""
    if notebook.stat().st_mtime_ns <= source.stat().st_mtime_ns:
        return

    def sources(text: str) -> list[str]:
        return ["".join(cell.get("source", [])) for cell in json.loads(text)["cells"]]

    built, edited = sources(build(source)), sources(notebook.read_text(encoding="utf-8"))
    if built != edited:
        alike = [a == b for a, b in zip(built, edited, strict=False)]
        differing = alike.index(False) + 1 if False in alike else len(alike) + 1
        raise UserError(
            f"{notebook} was edited, from cell {differing} on, but what is pushed is built from {source.name}: make the "
            f"change there, or give settings by --set NAME=VALUE; python -m sctir_kaggle.kaggle.notebook builds it again"
        )


def _build(checkout: Path, source: Path, notebook: Path, settings: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = build(source, build_wheel(Path(folder), checkout=checkout), settings)
    notebook.parent.mkdir(parents=True, exist_ok=True)
    notebook.write_text(text, encoding="utf-8")


def _has(document: Mapping[str, Any], profile: Profile) -> bool:
    """Whether the image is known to have the Python that the competition's module needs."""
    return profile.python is not None and metadata.image_python(document) == ".".join(map(str, profile.python))


def _is_python310(source: object) -> bool:
    return "python310" in str(source).partition("/")[2]
