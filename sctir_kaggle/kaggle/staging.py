"""What is pushed, written into a folder: the notebook with the library's wheel and the run's settings, and its metadata.

The competition is set once, in the notebook's cell or by `--competition`: what is attached follows from it here, and what
contradicts it, or cannot run on the image, is refused before anything is sent.
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
from sctir_kaggle.kaggle.clone import notebook_settings
from sctir_kaggle.kaggle.notebook import build, cell_settings
from sctir_kaggle.types import UserError


def stage(checkout: Path, pushed: Path, owner: str | None, settings: Mapping[str, Any]) -> metadata.Document:
    """Writes the notebook and its metadata, both as they are pushed, into `pushed`, and returns the metadata.

    The notebook is built from its source where there is one, with the library's wheel inside. Raises `UserError` with
    every problem of the metadata, or where it names another competition than the notebook.
    """
    path = checkout / metadata.FILE
    document = metadata.read(path)
    if owner is not None:
        document = metadata.filled(document, owner)
    notebook = _notebook(checkout, document)
    asked = _asked(notebook, settings)
    if asked is not None and (settings.get("competition") or not document.get("competition_sources")):
        document = for_competition(document, asked)
    metadata.check(document, path)
    profile = profile_of(document["competition_sources"][0])  # unknown, we could not say which file is submitted
    if asked is not None and asked != profile:
        raise UserError(_contradiction(path, profile, notebook, asked))
    check_python(document, profile, path)
    source = (checkout / document["code_file"]).with_suffix(".py")
    _check_built(source, checkout / document["code_file"])
    if settings and not source.is_file():
        raise UserError(f"{source} does not exist: settings are written into the notebook's source")
    _write_notebook(checkout, pushed, checkout / document["code_file"], {**settings, "competition": profile.name})
    document["code_file"] = Path(document["code_file"]).name
    document.pop("docker_image_python", None)  # ours, not the client's
    write(pushed, document)
    return document


def for_competition(document: metadata.Document, profile: Profile) -> metadata.Document:
    """The metadata with all that follows from the competition: what is attached, the machine, the image.

    An image that was named for another competition is dropped; the CPython that only one competition needs comes and goes.
    """
    made = {**document, "competition_sources": [profile.slug], "machine_shape": profile.machine}
    if document.get("competition_sources") not in (None, [], [profile.slug]):
        made = {key: value for key, value in made.items() if key not in ("docker_image", "docker_image_python")}
    sources = document.get("dataset_sources")
    if isinstance(sources, list):
        lacking = profile.python is not None and not any(map(_is_python310, sources)) and not _runs(made, profile)
        kept = [source for source in sources if profile.python is not None or not _is_python310(source)]
        owner = str(document.get("id", "")).partition("/")[0]
        made["dataset_sources"] = kept + [f"{owner}/{metadata.PYTHON310}"] * lacking
    return made


def check_python(document: metadata.Document, profile: Profile, path: Path) -> None:
    """Raises `UserError` where the competition's module can run neither in the image nor in an attached CPython."""
    if profile.python is None or _runs(document, profile) or any(map(_is_python310, document["dataset_sources"])):
        return
    wanted = ".".join(map(str, profile.python))
    has = metadata.image_python(document)
    image = f"has {has}" if has else "is not known (docker_image_python)"
    raise UserError(
        f"{profile.name} runs on Python {wanted} alone and the image's {image}: add "
        f'"{metadata.OWNER}/{metadata.PYTHON310}" to dataset_sources in {path} (sctir wheels --cpython makes it), '
        f'or name a docker_image with "docker_image_python": "{wanted}"'
    )


def write(folder: Path, document: metadata.Document) -> None:
    """The metadata file that the client reads."""
    (folder / metadata.FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _notebook(checkout: Path, document: metadata.Document) -> Path | None:
    """The source of the notebook that is pushed, else the notebook; None where it is not there, which `check` tells."""
    name = document.get("code_file")
    built = checkout / name if isinstance(name, str) else None
    if built is None or not built.is_file() or not metadata.is_notebook(built):
        return None
    source = built.with_suffix(".py")
    return source if source.is_file() else built


def _check_built(source: Path, notebook: Path) -> None:
    """Raises `UserError` where the notebook was edited after its source, from which the pushed one is built."""
    if not source.is_file() or notebook.stat().st_mtime_ns <= source.stat().st_mtime_ns:
        return
    built, edited = _sources(build(source)), _sources(notebook.read_text(encoding="utf-8"))
    if built != edited:
        alike = [a == b for a, b in zip(built, edited, strict=False)]
        differing = alike.index(False) + 1 if False in alike else len(alike) + 1
        raise UserError(
            f"{notebook} was edited, from cell {differing} on, but what is pushed is built from {source.name}: make the "
            f"change there, or give settings by --set NAME=VALUE; python -m sctir_kaggle.kaggle.notebook builds it again"
        )


def _sources(notebook: str) -> list[str]:
    return ["".join(cell.get("source", [])) for cell in json.loads(notebook)["cells"]]


def _asked(notebook: Path | None, settings: Mapping[str, Any]) -> Profile | None:
    """The competition that the command names, else the notebook's cell; None where neither says one."""
    if settings.get("competition"):
        return profile_of(settings["competition"])
    cell = cell_settings(notebook) if notebook else None
    return None if cell is None else notebook_settings({**cell, **settings}, {}).profile


def _contradiction(path: Path, profile: Profile, notebook: Path | None, asked: Profile) -> str:
    return (
        f"{path} attaches competition_sources {profile.slug} ({profile.name}), but {notebook} has "
        f'SETTINGS["competition"] = "{asked.name}": choose one, which sets both: sctir push --competition {asked.name}'
    )


def _write_notebook(checkout: Path, pushed: Path, notebook: Path, settings: Mapping[str, Any]) -> None:
    source = notebook.with_suffix(".py")
    if not source.is_file():
        pushed.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook, pushed)
        return
    with tempfile.TemporaryDirectory() as folder:
        text = build(source, build_wheel(Path(folder), checkout=checkout), settings)
    pushed.mkdir(parents=True, exist_ok=True)
    (pushed / notebook.name).write_text(text, encoding="utf-8")


def _runs(document: Mapping[str, Any], profile: Profile) -> bool:
    """Whether the image is known to have the Python that the competition's module needs."""
    return profile.python is not None and metadata.image_python(document) == ".".join(map(str, profile.python))


def _is_python310(source: object) -> bool:
    return "python310" in str(source).partition("/")[2]
