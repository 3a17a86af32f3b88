"""`sctir upload`: wheels become private data sets, a checkpoint becomes a version of a private model.

Every name and folder is checked before the first request; what is at Kaggle already is not sent again; afterwards
kernel-metadata.json names what is there. Covered: an empty account, a call killed at any point, a checkpoint that was trained
further. Not covered: wheels that differ while their names and sizes are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.account import Account
from sctir_kaggle.kaggle.client import open_client
from sctir_kaggle.kaggle.datasets import Dataset, send_dataset, stage_datasets
from sctir_kaggle.kaggle.models import LICENCE, Model, send_model, stage_model
from sctir_kaggle.kaggle.staging import STAGED
from sctir_kaggle.kaggle.transfer import size_text
from sctir_kaggle.kaggle.wheels.build import check_complete
from sctir_kaggle.kaggle.wheels.requirements import find_lock
from sctir_kaggle.types import UserError


@dataclass(frozen=True, kw_only=True)
class Upload(Account):
    """The options of `sctir upload`."""

    wheels: Path | None = None
    """The output of `sctir wheels`: one data set's folder, or a folder of such folders."""

    model: Path | None = None
    """The folder of a checkpoint."""

    licence: str = LICENCE
    """The model's licence, in Kaggle's words."""

    staged: Path = STAGED
    """Where the folders that the client uploads are prepared."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Staged folders that passed the checks and can be sent."""

    datasets: Sequence[Dataset]
    model: Model | None


def upload(options: Upload) -> None:
    """Check, send and record; a dry run only checks. Raises `UserError`."""
    if options.wheels is None and options.model is None:
        raise UserError("nothing to upload: say --wheels DIR, --model DIR or both")
    owner, api = options.log_in()
    checked = check_upload(options, owner)
    if options.dry_run:
        print("no request was sent")
        return
    send(options, checked, api or open_client(), str(owner))


def check_upload(options: Upload, owner: str | None) -> Checked:
    """Check all names and folders, stage them, and print what is in them. Raises `UserError`."""
    path = options.checkout / metadata.FILE
    document = metadata.read(path)
    if owner is not None:
        document = metadata.with_owner(document, owner)
        _check_names(path, document)
    wheels, model = options.wheels, options.model
    datasets = stage_datasets(wheels, options.staged / "datasets", owner) if wheels else []
    _check_wheels([dataset.folder for dataset in datasets], document)
    staged = stage_model(model, options.staged / "model", owner, document, options.licence) if model else None
    for dataset in datasets:
        print(f"checked: dataset {dataset.ref}: {len(dataset.sizes)} files, {size_text(dataset.size)}")
    if staged:
        out = f"; left out: {', '.join(staged.left_out)}" if staged.left_out else ""
        print(f"checked: model {staged.variation}: {len(staged.sizes)} files, {size_text(staged.size)}{out}")
    return Checked(datasets, staged)


def send(options: Upload, checked: Checked, api: Any, owner: str) -> None:
    """Send what is not at Kaggle yet, then write what is there into kernel-metadata.json."""
    for dataset in checked.datasets:
        send_dataset(api, dataset, poll=options.poll)
    path = options.checkout / metadata.FILE
    raw = metadata.read(path)
    new = dict(raw)
    if checked.datasets:
        refs = [dataset.ref for dataset in checked.datasets]
        new["dataset_sources"] = _merged(metadata.with_owner(raw, owner).get("dataset_sources", []), refs)
    if checked.model:
        new["model_sources"] = [f"{checked.model.variation}/{send_model(api, checked.model, poll=options.poll)}"]
    if metadata.OWNER in str(raw.get("id")):  # a file that several people use keeps the placeholder
        for key in ("dataset_sources", "model_sources"):
            new.update({key: [_anonymous(source, owner) for source in new[key]]} if key in new else {})
    _record(path, raw, new)


def _check_names(path: Path, document: metadata.Document) -> None:
    """Raise `UserError` for a name that cannot be right; that sources are empty is fine, this command fills them in."""
    about = ('model_sources = "', 'dataset_sources = "', "id = ")
    if found := [line for line in metadata.problems(document, path.parent) if line.startswith(about)]:
        raise UserError("\n  ".join([f"{path}:", *found]))


def _check_wheels(folders: Sequence[Path], document: metadata.Document) -> None:
    """Raise `UserError` unless wheels with a lock are complete and for the image's Python."""
    if (lock := find_lock(folders)) is None:
        return
    check_complete(folders, lock)
    image = metadata.image_python(document)
    if image not in (None, lock.python):
        raise UserError(
            f"the wheels are for Python {lock.python}, the notebook's image has {image}: make them again with `sctir "
            f"wheels --python {image}`, or name the image in {metadata.FILE} (docker_image, docker_image_python)"
        )


def _merged(named: Sequence[str], uploaded: Sequence[str]) -> list[str]:
    """The uploaded data sets, then what else is attached, without the parts of an earlier, larger upload.

    `sctir-wheels-3` goes if `sctir-wheels` was uploaded and has no third part any more.
    """

    def replaced(ref: str) -> bool:
        return bool({ref, re.sub(r"-\d+$", "", ref)} & set(uploaded))

    return [*uploaded, *(each for each in named if not replaced("/".join(each.split("/")[:2])))]


def _anonymous(source: str, owner: str) -> str:
    name, _, rest = source.partition("/")
    return f"{metadata.OWNER}/{rest}" if name == owner else source


def _record(path: Path, raw: metadata.Document, new: metadata.Document) -> None:
    """Replace the file in one step, and only if something changed."""
    changed = [key for key in new if new[key] != raw.get(key)]
    if not changed:
        return
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
    for key in changed:
        print(f"{path}: {key} is now {', '.join(new[key])}")
