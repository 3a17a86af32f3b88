"""A notebook's versions at Kaggle: the newest one, and whether it is what would be pushed.

Cells are compared by kind and source, settings by value; outputs, ids and what Kaggle adds to a notebook are not. A value that
Kaggle gives back in words of its own counts as another: then one more version is made, and none is taken for what it is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.sending import or_none
from sctir_kaggle.types import UserError

LISTS = ("dataset_sources", "competition_sources", "kernel_sources", "model_sources")
FLAGS = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
WORDS = ("title", "language", "kernel_type", "machine_shape")


@dataclass(frozen=True, slots=True)
class Version:
    """What Kaggle says of a version of a notebook. `number` is that of the newest one."""

    number: int
    source: str
    said: Any

    @property
    def competition(self) -> str:
        """The slug of the one that it is attached to."""
        sources = list(self.said.competition_data_sources or [])
        if len(sources) != 1:
            raise UserError(f"{self.said.ref} is attached to {len(sources)} competitions, one is needed: push it again")
        return str(sources[0])


def newest_version(api: Any, kernel: str) -> Version | None:
    """Of owner/slug; None where Kaggle has no such notebook."""
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetKernelRequest,
    )

    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    with api.build_kaggle_client() as kaggle:
        answer = or_none(lambda: kaggle.kernels.kernels_api_client.get_kernel(request), f"looking for {kernel}")
    if answer is None or answer.metadata is None or not answer.metadata.current_version_number:
        return None
    source = answer.blob.source if answer.blob is not None else ""
    return Version(int(answer.metadata.current_version_number), source or "", answer.metadata)


def differences(version: Version, folder: Path, document: metadata.Document) -> list[str]:
    """In what the pushed `folder` is another than `version`; empty where nothing is."""
    return list(_differences(version, folder, document))


def _differences(version: Version, folder: Path, document: metadata.Document) -> Iterator[str]:
    if cells_of(version.source) != cells_of((folder / document["code_file"]).read_text(encoding="utf-8")):
        yield "source"
    said = version.said
    for key in LISTS:
        theirs = getattr(said, key.replace("_sources", "_data_sources")) or []
        if sorted(map(str.lower, theirs)) != sorted(map(str.lower, document.get(key, []))):
            yield key
    for key in FLAGS:
        if bool(getattr(said, key)) != bool(document.get(key, key == "is_private")):
            yield key
    for key in WORDS:
        theirs, ours = getattr(said, key), document.get(key)
        if theirs and ours and str(theirs).lower() != str(ours).lower():
            yield key
    if document.get("docker_image") and said.docker_image != document["docker_image"]:
        yield "docker_image"


def cells_of(text: str) -> list[tuple[str, str]] | str:
    """Kind and source of each cell; the text itself where it is no notebook."""
    try:
        cells = json.loads(text)["cells"]
        return [(str(cell["cell_type"]), "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return text
