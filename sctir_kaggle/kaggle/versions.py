"""A notebook's versions at Kaggle: the newest one, and whether it is what would be pushed.

Cells are compared by kind and source, settings by value; outputs, ids and what Kaggle adds to a notebook are not. A value that
Kaggle gives back in words of its own counts as another: then one more version is made, and none is taken for what it is not.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.client import patiently
from sctir_kaggle.kaggle.transfer import or_none
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


log = logging.getLogger("sctir_kaggle")

ENDS = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")
"""The states that a run does not leave, in the client's words."""

LAST_LINES = 15
"""Of the log, shown when a run fails."""

CHUNK = 1 << 20

Sleep = Callable[[float], None]


class NotGreen(UserError):
    """A run or a submission at Kaggle that is not what it should be; the command's exit code is then 1."""


class StateLine:
    """One line that is drawn again in a terminal, a line for each new state elsewhere."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, state: str, seconds: float, *, end: bool) -> None:
        """`state` after `seconds`; the last one where `end`."""
        text = f"{state} | {clock_face(seconds)}"
        if sys.stdout.isatty():
            print(f"\r\x1b[K{text}", end="\n" if end else "", flush=True)
        elif state != self._shown:
            print(text, flush=True)
        self._shown = state


def follow(api: Any, kernel: str, *, poll: float, version: int | None = None, sleep: Sleep = time.sleep) -> float:
    """Waits until the latest run of `owner/slug`, or that of `version`, is complete, and returns the seconds that it took.

    `poll` seconds pass before each look. Raises `NotGreen` where the run fails or is cancelled, after showing the end of
    its log.
    """
    started, line = time.monotonic(), StateLine()
    while True:
        sleep(poll)
        status, message = _status(api, kernel, version, sleep)
        seconds = time.monotonic() - started
        line.show(status.lower().replace("_", " "), seconds, end=status in ENDS)
        if status in ENDS:
            break
    if status != "COMPLETE":
        _show_end(read_log(api, kernel, version=version, sleep=sleep))
        what = "was cancelled" if status.startswith("CANCEL") else f"failed ({message or 'Kaggle gives no reason'})"
        took = clock_face(seconds)
        raise NotGreen(f"the run of {kernel} {what} after {took}: mend the cause and push; sctir push --again as it is")
    return seconds


def read_log(api: Any, kernel: str, *, version: int | None = None, sleep: Sleep = time.sleep) -> str:
    """The run's log as text. Kaggle keeps it as a JSON list of pieces with their times."""
    raw = str(_outputs(api, kernel, version, None, sleep).log or "")
    try:
        return "".join(str(piece["data"]) for piece in json.loads(raw))
    except (ValueError, TypeError, KeyError):
        return raw


def fetch_outputs(
    api: Any, kernel: str, folder: Path, *, version: int | None = None, sleep: Sleep = time.sleep
) -> list[Path]:
    """Every file that the run left, written below `folder`. A file is there whole or not at all.

    The client's own `kernels_output` keeps an error page as if it were the file, and holds each file in memory.
    """
    return [
        patiently(partial(_download, url, _inside(folder, name)), f"fetching {name}", sleep=sleep)
        for name, url in _files(api, kernel, version, sleep)
    ]


def _status(api: Any, kernel: str, version: int | None, sleep: Sleep) -> tuple[str, str]:
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetKernelSessionStatusRequest,
    )

    request = _of(kernel, version, ApiGetKernelSessionStatusRequest())
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.kernels.kernels_api_client.get_kernel_session_status
        answer = patiently(lambda: ask(request), f"asking for the status of {kernel}", sleep=sleep)
    return str(answer.status.name), str(answer.failure_message or "")


def _show_end(text: str) -> None:
    lines = text.rstrip().splitlines()
    if not lines:
        print("the run left no log")
        return
    print(f"the last {min(len(lines), LAST_LINES)} of {len(lines)} lines of its log:")
    for line in lines[-LAST_LINES:]:
        print(f"  {line}")


def _files(api: Any, kernel: str, version: int | None, sleep: Sleep) -> Iterator[tuple[str, str]]:
    """Name and address of each, over all pages."""
    token: str | None = None
    while True:
        page = _outputs(api, kernel, version, token, sleep)
        yield from ((file.file_name, file.url) for file in page.files or [])
        if not (token := page.next_page_token):
            return


def _outputs(api: Any, kernel: str, version: int | None, token: str | None, sleep: Sleep) -> Any:
    """A page of what the run left, and its log."""
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiListKernelSessionOutputRequest,
    )

    request = _of(kernel, version, ApiListKernelSessionOutputRequest())
    if token:
        request.page_token = token
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.kernels.kernels_api_client.list_kernel_session_output
        return patiently(lambda: ask(request), f"listing the outputs of {kernel}", sleep=sleep)


def _of(kernel: str, version: int | None, request: Any) -> Any:
    """The request, for a version where one is said: Kaggle wants it as `v3`."""
    request.user_name, request.kernel_slug = kernel.split("/")
    if version is not None:
        request.version_label = f"v{version}"
    return request


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"the output file {name!r} would lie outside {folder}: fetch it from the notebook's page")
    return path


def _download(url: str, path: Path) -> Path:
    import requests  # type: ignore[import-untyped,unused-ignore]

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with requests.get(url, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        with part.open("wb") as file:
            for piece in answer.iter_content(CHUNK):
                file.write(piece)
    part.replace(path)
    return path
