"""Data sets at Kaggle: each folder of wheels becomes one, made or given a new version only where its files are others."""

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
from sctir_kaggle.kaggle.client import once, patiently
from sctir_kaggle.kaggle.folders import DATASET_FILE, contents, sizes_of, stage
from sctir_kaggle.kaggle.transfer import READY_WITHIN, Sleep, or_none, sending, size_text
from sctir_kaggle.types import UserError

SLUG = range(6, 51)
"""How many letters the slug and the title of a data set may have: the client's own limits."""

FILES = 50
"""Of one data set, at its top level: kaggle.com/docs/datasets, technical specifications."""

PAGE = 200
"""Files that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that the client can upload as it is, and the bytes of each of its files."""

    ref: str
    folder: Path
    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


def stage_datasets(source: Path, place: Path, owner: str | None) -> list[Dataset]:
    """The data sets in `source`, which is one such folder or holds any number of them, as the client takes them.

    Raises `UserError` where a name, an owner or a folder is wrong.
    """
    parts = sorted(path.parent for path in [*source.glob(DATASET_FILE), *source.glob(f"*/{DATASET_FILE}")])
    if not parts:
        raise UserError(f"{source} has no {DATASET_FILE}, nor has a folder in it: make it with `sctir wheels`")
    found = [_stage(part, place / part.resolve().name, owner) for part in parts]
    refs = [dataset.ref for dataset in found]
    if twice := sorted({ref for ref in refs if refs.count(ref) > 1}):
        raise UserError(f"{source}: {', '.join(twice)} is the id of two folders: give each its own in {DATASET_FILE}")
    return found


def send_dataset(api: Any, dataset: Dataset, *, poll: float, sleep: Sleep = time.sleep) -> None:
    """Makes it, or a new version of it, and waits until Kaggle has it ready; nothing where the same files are there."""
    there = status_of_dataset(api, dataset.ref)
    settled = there is not None and _until_ready(api, dataset.ref, poll, sleep)
    if settled == "ready" and remote_sizes(api, dataset.ref) == dataset.sizes:
        print(f"dataset: {dataset.ref} is there already: {len(dataset.sizes)} files, {size_text(dataset.size)}")
        return
    _send(api, dataset, new=there is None)
    if (state := _until_ready(api, dataset.ref, poll, sleep)) != "ready":
        page = f"https://www.kaggle.com/datasets/{dataset.ref}"
        raise UserError(f"{dataset.ref} is {state}: look at {page} and upload it again")
    print(f"dataset: {dataset.ref} is ready: {len(dataset.sizes)} files, {size_text(dataset.size)}")


def status_of_dataset(api: Any, ref: str) -> str | None:
    """As Kaggle says it, in small letters; None where there is none of that name."""
    state = or_none(lambda: api.dataset_status(ref), f"looking for {ref}")
    return None if state is None else str(state)


def version_of_dataset(api: Any, ref: str) -> int | None:
    """The number of its newest version; None where there is none of that name, 0 where Kaggle does not say."""
    from kagglesdk.datasets.types.dataset_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetDatasetRequest,
    )

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = ref.split("/")[:2]
    with api.build_kaggle_client() as kaggle:
        answer = or_none(lambda: kaggle.datasets.dataset_api_client.get_dataset(request), f"looking for {ref}")
    return None if answer is None else int(answer.current_version_number or 0)


def remote_sizes(api: Any, ref: str) -> dict[str, int]:
    """Bytes by name of the newest version's files."""
    return {str(file.name): int(file.total_bytes or 0) for file in _files(api, ref)}


def _files(api: Any, ref: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = patiently(lambda: api.dataset_list_files(ref, token, PAGE), f"listing the files of {ref}")
        yield from page.files or []
        if not (token := page.next_page_token):
            return


def _send(api: Any, dataset: Dataset, *, new: bool) -> None:
    folder, doing = str(dataset.folder), f"uploading {dataset.ref}"
    check = "type the command again: it looks first"
    notes = time.strftime("%Y-%m-%d %H:%M")
    with sending(api, doing, dataset.sizes):
        if new:
            answer = once(lambda: api.dataset_create_new(folder, quiet=True), doing, check)
        else:
            answer = once(lambda: api.dataset_create_version(folder, notes, quiet=True), doing, check)
    if answer.error or str(answer.status).lower() != "ok":
        raise UserError(f"{doing}: Kaggle says: {answer.error or answer.status}")


def _until_ready(api: Any, ref: str, poll: float, sleep: Sleep) -> str:
    """The state that it stays in: ready, failed or deleted."""
    deadline = time.monotonic() + READY_WITHIN
    while (state := status_of_dataset(api, ref)) not in ("ready", "failed", "deleted"):
        if time.monotonic() > deadline:
            raise UserError(f"{ref} is {state} after {clock_face(READY_WITHIN)}: wait, and type the command again")
        sleep(poll)
    return str(state)


def _stage(part: Path, place: Path, owner: str | None) -> Dataset:
    try:
        document = metadata.filled(
            json.loads((part / DATASET_FILE).read_text(encoding="utf-8")), owner or metadata.OWNER
        )
        ref = str(document["id"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{part / DATASET_FILE} is no object with an id: make it again with `sctir wheels`") from None
    _check(part / DATASET_FILE, document, owner)
    files, _ = contents(part)
    if len(files) > FILES:
        raise UserError(f"{part} has {len(files)} files, a data set at most {FILES}: split it as `sctir wheels` does")
    return Dataset(ref, stage(files, place, {DATASET_FILE: document}), sizes_of(files))


def _check(path: Path, document: metadata.Document, owner: str | None) -> None:
    """Every name, before anything is sent."""
    ref, title = str(document["id"]), document.get("title")
    name, _, slug = ref.partition("/")
    if not re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", slug) or len(slug) not in SLUG:
        limits = f"{SLUG.start} to {SLUG.stop - 1}"
        raise UserError(f"{path}: id {ref!r} is not owner/slug, of {limits} small letters, digits and hyphens: mend it")
    if not isinstance(title, str) or len(title) not in SLUG:
        raise UserError(f"{path}: title {title!r} must have {SLUG.start} to {SLUG.stop - 1} letters: mend it")
    if owner is not None and name.lower() != owner.lower():
        raise UserError(f"{path}: id {ref!r} is not yours: write {owner}/{slug}, or say --owner {name}")
    licences: Sequence[Any] = document.get("licenses") or []
    if len(licences) != 1 or not isinstance(licences[0], dict) or not licences[0].get("name"):
        raise UserError(f'{path}: exactly one licence is needed: write "licenses": [{{"name": "other"}}]')
