"""Wheels into datasets, a checkpoint into a model version, both by the real client, and whole or not at all.

The client makes a version without the files whose upload failed and skips sub-folders in silence; here the one ends the
command, the other is refused beforehand. Not covered: making a new model, which needs a licence and a card of yours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.client import once, patiently, status_of
from sctir_kaggle.types import UserError

DATASET_FILE = "dataset-metadata.json"

READY_WITHIN = 3600.0
"""Seconds that Kaggle may take to unpack a new version before the command gives up."""

MISSING = (403, 404)
"""What Kaggle answers for a dataset that is not there; it does not tell strangers' private ones from none."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that the client can upload as it is."""

    ref: str
    folder: Path


def stage_datasets(wheels: Path, folder: Path, owner: str | None, document: metadata.Document) -> list[Dataset]:
    """Copies (links, in truth) of the dataset folders in `wheels`, with the owner's name filled in.

    `wheels` is one such folder or holds several; the CPython that only AIMO-1 needs stays behind where it is not a source.
    Raises `UserError` where another is not flat or not among the sources, since then it would not be attached.
    """
    parts = sorted(path.parent for path in [*wheels.glob(DATASET_FILE), *wheels.glob(f"*/{DATASET_FILE}")])
    if not parts:
        raise UserError(f"{wheels} has no {DATASET_FILE}, nor has a folder in it: make it with `sctir wheels`")
    staged = [_stage(part, folder / part.name, owner) for part in parts]
    attached = {"/".join(source.split("/")[:2]) for source in document["dataset_sources"]}
    staged = [dataset for dataset in staged if dataset.ref in attached or not dataset.ref.endswith(metadata.PYTHON310)]
    if loose := [dataset.ref for dataset in staged if dataset.ref not in attached]:
        raise UserError(f"{', '.join(loose)} would not be attached: add to dataset_sources in {metadata.FILE}")
    return staged


def send_dataset(api: Any, dataset: Dataset, *, poll: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """A new version, or the first one, and the wait until Kaggle has it ready: a push before that attaches the old one."""
    notes = time.strftime("%Y-%m-%d %H:%M")
    folder, doing = str(dataset.folder), f"uploading {dataset.ref}"
    check = f"look at https://www.kaggle.com/datasets/{dataset.ref}"
    with _whole(api):
        if _exists(api, dataset.ref):
            answer = once(lambda: api.dataset_create_version(folder, notes, quiet=True), doing, check)
        else:
            answer = once(lambda: api.dataset_create_new(folder, quiet=True), doing, check)
    if answer.error or str(answer.status).lower() != "ok":
        raise UserError(f"{doing}: Kaggle says: {answer.error or answer.status}")
    _until_ready(api, dataset.ref, poll, sleep)
    print(f"dataset: {dataset.ref} is ready")


def check_model(folder: Path, document: metadata.Document) -> str:
    """The model variation that `folder` becomes a version of: the notebook's only one."""
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise UserError(f"{folder} is no checkpoint: it needs config.json and *.safetensors")
    _flat(folder)
    sources = document["model_sources"]
    if len(sources) != 1:
        raise UserError(f"model_sources names {len(sources)} models: --upload-model needs one, to know where it goes")
    return str(sources[0]).rpartition("/")[0]


def send_model(
    api: Any, folder: Path, document: metadata.Document, *, poll: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """A new version of the notebook's model; `document` then names it."""
    variation = check_model(folder, document)
    doing, before = f"uploading {variation}", _newest(api, variation)
    check = f"look at https://www.kaggle.com/models/{variation}"
    notes = time.strftime("%Y-%m-%d %H:%M")
    with _whole(api):
        answer = once(
            lambda: api.model_instance_version_create(variation, str(folder), notes, quiet=True), doing, check
        )
    if answer.error:
        raise UserError(f"{doing}: Kaggle says: {answer.error}")
    deadline = time.monotonic() + READY_WITHIN
    while (version := _newest(api, variation)) <= before:
        if time.monotonic() > deadline:
            raise UserError(f"{variation} has no version after {before} {clock_face(READY_WITHIN)} later: {check}")
        sleep(poll)
    document["model_sources"] = [f"{variation}/{version}"]
    print(f"model: {variation}/{version} is pushed with the notebook; write it into {metadata.FILE}")


def _stage(part: Path, folder: Path, owner: str | None) -> Dataset:
    _flat(part)
    text = (part / DATASET_FILE).read_text(encoding="utf-8")
    try:
        document = json.loads(text.replace(metadata.OWNER, owner or metadata.OWNER))
        ref = str(document["id"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{part / DATASET_FILE} is no object with an id: make it anew with `sctir wheels`") from None
    folder.mkdir(parents=True, exist_ok=True)
    for path in part.iterdir():
        if path.name != DATASET_FILE and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    (folder / DATASET_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return Dataset(ref, folder)


def _flat(folder: Path) -> None:
    if inner := sorted(path.name for path in folder.iterdir() if path.is_dir()):
        raise UserError(f"{folder} has folders ({', '.join(inner[:5])}), which the client leaves out: keep it flat")


@contextmanager
def _whole(api: Any) -> Iterator[None]:
    """While it is open, a file that cannot be uploaded is an error, where the client would go on without it."""
    upload = api._upload_file

    def strict(name: str, *rest: Any, **options: Any) -> Any:
        if (uploaded := upload(name, *rest, **options)) is None:
            raise UserError(f"{name} could not be uploaded, so no version was made: try again, it goes on where it was")
        return uploaded

    api._upload_file = strict
    try:
        yield
    finally:
        del api._upload_file


def _exists(api: Any, ref: str) -> bool:
    try:
        patiently(lambda: api.dataset_status(ref), f"looking for {ref}")
    except UserError as error:
        if status_of(error) in MISSING:
            return False
        raise
    return True


def _until_ready(api: Any, ref: str, poll: float, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while (status := patiently(lambda: api.dataset_status(ref), f"waiting for {ref}")) != "ready":
        if status in ("failed", "deleted") or time.monotonic() > deadline:
            raise UserError(f"{ref} is {status}: look at https://www.kaggle.com/datasets/{ref} and upload it again")
        sleep(poll)


def _newest(api: Any, variation: str) -> int:
    """The highest version number; 0 where there is none. Raises `UserError` where the model is not there yet."""
    doing = f"looking for the versions of {variation}"
    answer = patiently(lambda: api.model_instance_versions_list(variation), doing)
    return max((version.version_number for version in answer.version_list.versions), default=0)
