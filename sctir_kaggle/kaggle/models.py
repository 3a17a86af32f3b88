"""Checkpoints at Kaggle: a model, a variation of it, and a version with these files, each created if it is missing.

Kaggle's names: owner/model/framework/variation/version, such as alice/numinamath-7b-tir/transformers/gptq-8bit/1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.checks.checkpoint import Damaged, read_weight_file
from sctir_kaggle.kaggle.client import RUN_AGAIN, Sleep, call_once, retry, retry_or_none
from sctir_kaggle.kaggle.staging import INSTANCE_FILE, MANIFEST, MODEL_FILE, contents, manifest, sizes_of, stage_folder
from sctir_kaggle.kaggle.transfer import READY_WITHIN, size_text, strict_uploads
from sctir_kaggle.types import UserError

LICENCE = "Apache 2.0"
"""The default licence of a new variation, in Kaggle's words: that of the winner's checkpoint."""

PAGE = 100
"""Versions or files in one answer of Kaggle's lists."""


@dataclass(frozen=True, slots=True)
class Model:
    """A staged folder that the client can upload as a version of `variation` (owner/model/framework/variation)."""

    variation: str
    folder: Path
    sizes: Mapping[str, int]
    left_out: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """owner/model."""
        return "/".join(self.variation.split("/")[:2])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())


def stage_model(
    source: Path, place: Path, owner: str | None, document: metadata.Document, licence: str = LICENCE
) -> Model:
    """Stage the checkpoint in `source` for the one variation that kernel-metadata.json (`document`) attaches.

    Raises `UserError` if the checkpoint is incomplete or damaged, or if the variation belongs to another account.
    """
    variation = _variation(owner, document)
    name, slug, framework, instance = variation.split("/")
    everything, left_out = contents(source)
    files = {name: path for name, path in everything.items() if not MANIFEST.fullmatch(name)}  # of an earlier upload
    _check_complete(source, files)
    title = slug.replace("-", " ")
    about = {
        MODEL_FILE: {"ownerSlug": name, "slug": slug, "title": title, "isPrivate": True, "description": ""},
        INSTANCE_FILE: {
            **{"ownerSlug": name, "modelSlug": slug, "framework": framework, "instanceSlug": instance},
            **{"licenseName": licence, "fineTunable": False},
        },
    }
    hashes = manifest(files)
    sizes = {**sizes_of(files), **{name: len(text.encode()) for name, text in hashes.items()}}
    return Model(variation, stage_folder(files, place, about, hashes), sizes, tuple(left_out))


def send_model(api: Any, model: Model, *, poll: float, sleep: Sleep = time.sleep) -> int:
    """Create what is missing at Kaggle, and return the number of the version that holds these files."""
    numbers = versions_of(api, model.variation)
    newest = max(numbers or [0])
    if newest and remote_sizes(api, f"{model.variation}/{newest}") == model.sizes:
        print(f"model: {model.variation}/{newest} is there already: {_amount(model)}")
        return newest
    if numbers is None:
        _create_model(api, model)
    _upload(api, model, new=numbers is None)
    version = _wait_until_listed(api, model, newest, poll, sleep)
    print(f"model: {model.variation}/{version} is there: {_amount(model)}")
    return version


def versions_of(api: Any, variation: str) -> list[int] | None:
    """Return the numbers of the versions of a variation; None if there is no such variation or model."""
    doing = f"looking for the versions of {variation}"
    answer = retry_or_none(lambda: api.model_instance_versions_list(variation, PAGE), doing)
    if answer is None:
        return None
    listed = answer.version_list.versions if answer.version_list else []
    return [int(version.version_number) for version in listed or []]


def remote_sizes(api: Any, version: str) -> dict[str, int]:
    """Return the bytes of each file of owner/model/framework/variation/version, by name."""
    return {str(file.name): int(file.size or 0) for file in _remote_files(api, version)}


def _remote_files(api: Any, version: str) -> Iterator[Any]:
    from kagglesdk.models.types.model_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiListModelInstanceVersionFilesRequest,
    )
    from kagglesdk.models.types.model_enums import ModelFramework  # type: ignore[import-not-found,import-untyped,unused-ignore]

    request = ApiListModelInstanceVersionFilesRequest()
    request.owner_slug, request.model_slug, framework, request.instance_slug, number = version.split("/")
    request.framework = api.lookup_enum(ModelFramework, ModelFramework.MODEL_FRAMEWORK_API, framework)
    request.version_number, request.page_size = int(number), PAGE
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.models.model_api_client.list_model_instance_version_files
        while True:
            page = retry(lambda: ask(request), f"listing the files of {version}")
            yield from page.files or []
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _create_model(api: Any, model: Model) -> None:
    """Create the private model that variations belong to, unless an interrupted call has done so."""
    if retry_or_none(lambda: api.model_get(model.ref), f"looking for {model.ref}") is not None:
        return
    doing = f"creating the model {model.ref}"
    answer = call_once(lambda: api.model_create_new(str(model.folder)), doing, RUN_AGAIN)
    if answer.error:
        raise UserError(f"{doing}: Kaggle says: {answer.error}")
    print(f"model: {model.ref} was created, private")


def _upload(api: Any, model: Model, *, new: bool) -> None:
    doing, folder = f"uploading {model.variation}", str(model.folder)
    notes = time.strftime("%Y-%m-%d %H:%M")
    with strict_uploads(api, doing, model.sizes):
        if new:
            answer = call_once(lambda: api.model_instance_create(folder, quiet=True), doing, RUN_AGAIN)
        else:
            make = api.model_instance_version_create
            answer = call_once(lambda: make(model.variation, folder, notes, quiet=True), doing, RUN_AGAIN)
    if answer.error:
        raise UserError(f"{doing}: Kaggle says: {answer.error}")


def _wait_until_listed(api: Any, model: Model, before: int, poll: float, sleep: Sleep) -> int:
    """Return the number of the new version as soon as Kaggle lists it."""
    deadline = time.monotonic() + READY_WITHIN
    while (newest := max(versions_of(api, model.variation) or [0])) <= before:
        if time.monotonic() > deadline:
            took = clock_face(READY_WITHIN)
            raise UserError(f"{model.variation} has no version after {before} after {took}: wait, and {RUN_AGAIN}")
        sleep(poll)
    return newest


def _variation(owner: str | None, document: metadata.Document) -> str:
    sources = document.get("model_sources") or []
    if len(sources) != 1:
        count = f"{len(sources)} models, and a checkpoint goes to one"
        raise UserError(f"model_sources in {metadata.FILE} names {count}: leave the one that is yours")
    variation = str(sources[0]).rpartition("/")[0]
    name = variation.partition("/")[0]
    if owner is not None and name.lower() != owner.lower():
        raise UserError(f"model_sources names {variation}, which is not yours: write {owner}/... in {metadata.FILE}")
    return variation


def _check_complete(source: Path, files: Mapping[str, Path]) -> None:
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        raise UserError(
            f"{source} is no checkpoint: it needs config.json and *.safetensors, as `sctir fetch` leaves it"
        )
    index = files.get("model.safetensors.index.json")
    try:
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index else set()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index} has no weight_map: fetch the checkpoint again with `sctir fetch`") from None
    if lacking := sorted(wanted - files.keys()):
        raise UserError(f"{source} lacks {', '.join(lacking[:5])}: fetch it again with `sctir fetch`")
    for path in (path for name, path in files.items() if name.endswith(".safetensors")):
        try:
            read_weight_file(path)
        except Damaged as error:
            raise UserError(f"{source}: {error}: fetch it again with `sctir fetch`") from None


def _amount(model: Model) -> str:
    return f"{len(model.sizes)} files, {size_text(model.size)}"
