"""What the notebook is attached to, brought to Kaggle: wheels as data sets, the checkpoint as a model's version.

Every name and folder is checked before the first request; what is there already is not sent again; kernel-metadata.json
then names what is there. Covered: an empty account, a call that was killed at any place, a checkpoint that was trained further.
Not covered: wheels that differ while their names and sizes are the same.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.client import open_client, owner_of
from sctir_kaggle.kaggle.datasets import Dataset, send_dataset, stage_datasets
from sctir_kaggle.kaggle.folders import STAGED
from sctir_kaggle.kaggle.models import LICENCE, Model, send_model, stage_model
from sctir_kaggle.kaggle.transfer import size_text
from sctir_kaggle.kaggle.wheels import lock as locks
from sctir_kaggle.kaggle.wheels.build import check_whole
from sctir_kaggle.types import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is uploaded. `checkout` holds kernel-metadata.json, `staged` takes what the client is given; `poll` in seconds."""

    checkout: Path
    wheels: Path | None = None
    model: Path | None = None
    owner: str | None = None
    licence: str = LICENCE
    staged: Path = STAGED
    poll: float = 20.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """What was checked and can be sent."""

    datasets: Sequence[Dataset]
    model: Model | None


def upload(plan: Upload, *, dry_run: bool = False) -> None:
    """All of it; with `dry_run` up to the first request. Raises `UserError`."""
    if plan.wheels is None and plan.model is None:
        raise UserError("nothing to upload: say --wheels DIR, --model DIR or both")
    owner, api = who(plan.owner, dry_run=dry_run)
    parcel = check(plan, owner)
    if dry_run:
        print("no request was sent")
        return
    send(plan, parcel, api or open_client(), str(owner))


def who(owner: str | None, *, dry_run: bool) -> tuple[str | None, Any]:
    """The account's name, and the client where it had to be asked; with `dry_run` the name may stay unknown."""
    known = owner or os.environ.get("KAGGLE_USERNAME") or None
    if known is not None and not re.fullmatch(r"[a-z0-9_-]+", known):
        raise UserError(f"the owner {known} is no name at Kaggle: write it as in kaggle.com/NAME, in small letters")
    if known is not None or dry_run:
        return known, None
    api = open_client()
    return owner_of(api), api


def check(plan: Upload, owner: str | None) -> Parcel:
    """Names and folders, all of them, and says what is in them. Raises `UserError`."""
    document = metadata.read(plan.checkout / metadata.FILE)
    if owner is not None:
        document = metadata.filled(document, owner)
    _check_names(plan, document, owner)
    datasets = stage_datasets(plan.wheels, plan.staged / "datasets", owner) if plan.wheels else []
    _check_wheels([dataset.folder for dataset in datasets], document)
    model = stage_model(plan.model, plan.staged / "model", owner, document, plan.licence) if plan.model else None
    for dataset in datasets:
        print(f"checked: dataset {dataset.ref}: {len(dataset.sizes)} files, {size_text(dataset.size)}")
    if model:
        out = f"; left out: {', '.join(model.left_out)}" if model.left_out else ""
        print(f"checked: model {model.variation}: {len(model.sizes)} files, {size_text(model.size)}{out}")
    return Parcel(datasets, model)


def send(plan: Upload, parcel: Parcel, api: Any, owner: str) -> None:
    """Sends what is not there, and writes what is there into kernel-metadata.json."""
    for dataset in parcel.datasets:
        send_dataset(api, dataset, poll=plan.poll)
    path = plan.checkout / metadata.FILE
    raw = metadata.read(path)
    new = dict(raw)
    if parcel.datasets:
        refs = [dataset.ref for dataset in parcel.datasets]
        new["dataset_sources"] = _sources(metadata.filled(raw, owner).get("dataset_sources", []), refs)
    if parcel.model:
        new["model_sources"] = [f"{parcel.model.variation}/{send_model(api, parcel.model, poll=plan.poll)}"]
    if metadata.OWNER in str(raw.get("id")):  # a file that others use too keeps the place for their name
        keys = [key for key in ("dataset_sources", "model_sources") if key in new]
        new.update({key: [_anonymous(each, owner) for each in new[key]] for key in keys})
    _record(path, raw, new)


def _check_wheels(folders: Sequence[Path], document: metadata.Document) -> None:
    """Wheels with a lock must be whole, and for the image's Python. Raises `UserError`."""
    if (lock := locks.find(folders)) is None:
        return
    check_whole(folders, lock)
    image = metadata.image_python(document)
    if image not in (None, lock.python):
        raise UserError(
            f"the wheels are for Python {lock.python}, the notebook's image has {image}: make them again with `sctir "
            f"wheels --python {image}`, or name the image in {metadata.FILE} (docker_image, docker_image_python)"
        )


def _check_names(plan: Upload, document: metadata.Document, owner: str | None) -> None:
    """What is said of the attached sources, but that there are none: this command writes them. Raises `UserError`."""
    path = plan.checkout / metadata.FILE
    about = ('model_sources = "', 'dataset_sources = "', "id = ")
    found = [line for line in metadata.problems(document, path.parent) if line.startswith(about)]
    if owner is not None and found:
        raise UserError("\n  ".join([f"{path}:", *found]))


def _sources(named: Sequence[str], uploaded: Sequence[str]) -> list[str]:
    """What was uploaded, then what else is attached; not what an earlier, larger upload was split into."""
    return [*uploaded, *(each for each in named if not {"/".join(each.split("/")[:2]), _family(each)} & set(uploaded))]


def _family(ref: str) -> str:
    """owner/slug without the number at its end: `sctir-wheels-3` is of the family of `sctir-wheels`."""
    return re.sub(r"-\d+$", "", "/".join(ref.split("/")[:2]))


def _anonymous(source: str, owner: str) -> str:
    name, _, rest = source.partition("/")
    return f"{metadata.OWNER}/{rest}" if name == owner else source


def _record(path: Path, raw: metadata.Document, new: metadata.Document) -> None:
    """Written whole or not at all, and only where something is new."""
    changed = [key for key in new if new[key] != raw.get(key)]
    if not changed:
        return
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
    for key in changed:
        print(f"{path}: {key} is now {', '.join(new[key])}")
