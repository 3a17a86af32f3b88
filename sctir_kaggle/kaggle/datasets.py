"""Data sets at Kaggle: one for each folder of wheels, created or given a new version only if its files differ."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.client import RUN_AGAIN, Sleep, call_once, retry, retry_or_none
from sctir_kaggle.kaggle.staging import DATASET_FILE, DATASET_FILES, contents, sizes_of, stage_folder
from sctir_kaggle.kaggle.transfer import READY_WITHIN, size_text, strict_uploads
from sctir_kaggle.types import UserError

SLUG = range(6, 51)
"""Lengths that the client accepts for the slug and the title of a data set."""

PAGE = 200
"""Files in one answer of Kaggle's list."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A staged folder that the client can upload as the data set `ref` (owner/slug), and the bytes of each file."""

    ref: str
    folder: Path
    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


def stage_datasets(source: Path, place: Path, owner: str | None) -> list[Dataset]:
    """Stage the data sets in `source`, which is one folder with dataset-metadata.json or holds several, below `place`.

    Raises `UserError` if a name, an owner or a folder is wrong.
    """
    parts = sorted(path.parent for path in [*source.glob(DATASET_FILE), *source.glob(f"*/{DATASET_FILE}")])
    if not parts:
        raise UserError(f"{source} has no {DATASET_FILE}, nor has a folder in it: make it with `sctir wheels`")
    found = [_stage(part, place / part.resolve().name, owner) for part in parts]
    refs = [dataset.ref for dataset in found]
    if twice := sorted({ref for ref in refs if refs.count(ref) > 1}):
        raise UserError(f"{source}: {', '.join(twice)} is the id of two folders: give each its own in {DATASET_FILE}")
    return found


def _stage(part: Path, place: Path, owner: str | None) -> Dataset:
    try:
        text = (part / DATASET_FILE).read_text(encoding="utf-8")
        document = metadata.with_owner(json.loads(text), owner or metadata.OWNER)
        ref = str(document["id"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{part / DATASET_FILE} is no object with an id: make it again with `sctir wheels`") from None
    _check(part / DATASET_FILE, document, owner)
    files, _ = contents(part)
    if len(files) > DATASET_FILES:
        raise UserError(
            f"{part} has {len(files)} files, a data set at most {DATASET_FILES}: split it as `sctir wheels` does"
        )
    return Dataset(ref, stage_folder(files, place, {DATASET_FILE: document}), sizes_of(files))


def _check(path: Path, document: metadata.Document, owner: str | None) -> None:
    """Check what the client would refuse in the middle of an upload."""
    ref, title = str(document["id"]), document.get("title")
    name, _, slug = ref.partition("/")
    if not re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", slug) or len(slug) not in SLUG:
        limits = f"{SLUG.start} to {SLUG.stop - 1}"
        raise UserError(f"{path}: id {ref!r} is not owner/slug, of {limits} small letters, digits and hyphens: fix it")
    if not isinstance(title, str) or len(title) not in SLUG:
        raise UserError(f"{path}: title {title!r} must have {SLUG.start} to {SLUG.stop - 1} letters: fix it")
    if owner is not None and name.lower() != owner.lower():
        raise UserError(f"{path}: id {ref!r} is not yours: write {owner}/{slug}, or say --owner {name}")
    licences: Sequence[Any] = document.get("licenses") or []
    if len(licences) != 1 or not isinstance(licences[0], dict) or not licences[0].get("name"):
        raise UserError(f'{path}: exactly one licence is needed: write "licenses": [{{"name": "other"}}]')


def send_dataset(api: Any, dataset: Dataset, *, poll: float, sleep: Sleep = time.sleep) -> None:
    """Upload the data set, or a new version of it, and wait until Kaggle has processed it.

    Nothing is sent if Kaggle has files of the same names and sizes.
    """
    status = dataset_status(api, dataset.ref)
    settled = status is not None and _wait_until_ready(api, dataset.ref, poll, sleep)
    if settled == "ready" and remote_sizes(api, dataset.ref) == dataset.sizes:
        print(f"dataset: {dataset.ref} is there already: {len(dataset.sizes)} files, {size_text(dataset.size)}")
        return
    _upload(api, dataset, new=status is None)
    if (state := _wait_until_ready(api, dataset.ref, poll, sleep)) != "ready":
        page = f"https://www.kaggle.com/datasets/{dataset.ref}"
        raise UserError(f"{dataset.ref} is {state}: look at {page} and upload it again")
    print(f"dataset: {dataset.ref} is ready: {len(dataset.sizes)} files, {size_text(dataset.size)}")


def dataset_status(api: Any, ref: str) -> str | None:
    """Return Kaggle's status of a data set in small letters, such as "ready"; None if there is no such data set."""
    state = retry_or_none(lambda: api.dataset_status(ref), f"looking for {ref}")
    return None if state is None else str(state)


def version_of_dataset(api: Any, ref: str) -> int | None:
    """Return the number of the newest version; None if there is no such data set, 0 if Kaggle does not say."""
    from kagglesdk.datasets.types.dataset_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetDatasetRequest,
    )

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = ref.split("/")[:2]
    with api.build_kaggle_client() as kaggle:
        answer = retry_or_none(lambda: kaggle.datasets.dataset_api_client.get_dataset(request), f"looking for {ref}")
    return None if answer is None else int(answer.current_version_number or 0)


def remote_sizes(api: Any, ref: str) -> dict[str, int]:
    """Return the bytes of each file of the newest version, by name."""
    return {str(file.name): int(file.total_bytes or 0) for file in _remote_files(api, ref)}


def _remote_files(api: Any, ref: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = retry(lambda: api.dataset_list_files(ref, token, PAGE), f"listing the files of {ref}")
        yield from page.files or []
        if not (token := page.next_page_token):
            return


def _upload(api: Any, dataset: Dataset, *, new: bool) -> None:
    folder, doing = str(dataset.folder), f"uploading {dataset.ref}"
    notes = time.strftime("%Y-%m-%d %H:%M")
    with strict_uploads(api, doing, dataset.sizes):
        if new:
            answer = call_once(lambda: api.dataset_create_new(folder, quiet=True), doing, RUN_AGAIN)
        else:
            answer = call_once(lambda: api.dataset_create_version(folder, notes, quiet=True), doing, RUN_AGAIN)
    if answer.error or str(answer.status).lower() != "ok":
        raise UserError(f"{doing}: Kaggle says: {answer.error or answer.status}")


def _wait_until_ready(api: Any, ref: str, poll: float, sleep: Sleep) -> str:
    """Return the final status: ready, failed or deleted."""
    deadline = time.monotonic() + READY_WITHIN
    while (state := dataset_status(api, ref)) not in ("ready", "failed", "deleted"):
        if time.monotonic() > deadline:
            raise UserError(f"{ref} is {state} after {clock_face(READY_WITHIN)}: wait, and run the command again")
        sleep(poll)
    return str(state)
