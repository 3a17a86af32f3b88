"""A notebook's versions at Kaggle: whether the newest one is what would be pushed, and what its run came to.

Compared are the cells by kind and source, and the settings by value, not outputs, ids and what Kaggle adds to a notebook. A
value that Kaggle returns in other words counts as a difference: one version too many is pushed, but no wrong one is followed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sctir_kaggle.display import can_redraw, clock_face
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.client import Sleep, retry, retry_or_none
from sctir_kaggle.kaggle.transfer import CHUNK
from sctir_kaggle.types import UserError

LISTS = ("dataset_sources", "competition_sources", "kernel_sources", "model_sources")
FLAGS = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
WORDS = ("title", "language", "kernel_type", "machine_shape")

FINAL = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")
"""States that a run does not leave, in the client's words."""

LAST_LINES = 15
"""Lines of the log that are shown if a run fails."""


class NotGreen(UserError):
    """A run or a submission at Kaggle that failed, or that is not worth a submission; a command then ends with exit code 1."""


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of a notebook: its number, its source, and Kaggle's metadata of it."""

    number: int
    source: str
    metadata: Any

    @property
    def competition(self) -> str:
        """The slug of the competition that it is attached to."""
        sources = list(self.metadata.competition_data_sources or [])
        if len(sources) != 1:
            what = f"{self.metadata.ref} is attached to {len(sources)} competitions"
            raise UserError(f"{what}, one is needed: push it again")
        return str(sources[0])


def newest_version(api: Any, kernel: str) -> Version | None:
    """Return the newest version of owner/slug; None if Kaggle has no such notebook."""
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetKernelRequest,
    )

    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = kernel.split("/")
    with api.build_kaggle_client() as kaggle:
        answer = retry_or_none(lambda: kaggle.kernels.kernels_api_client.get_kernel(request), f"looking for {kernel}")
    if answer is None or answer.metadata is None or not answer.metadata.current_version_number:
        return None
    source = answer.blob.source if answer.blob is not None else ""
    return Version(int(answer.metadata.current_version_number), source or "", answer.metadata)


def differences(version: Version, folder: Path, document: metadata.Document) -> list[str]:
    """Return in what the `folder` to push, with the metadata `document`, differs from `version`: "source", or keys."""
    return list(_differences(version, folder, document))


def _differences(version: Version, folder: Path, document: metadata.Document) -> Iterator[str]:
    if cells_of(version.source) != cells_of((folder / document["code_file"]).read_text(encoding="utf-8")):
        yield "source"
    remote = version.metadata
    for key in LISTS:
        theirs = getattr(remote, key.replace("_sources", "_data_sources")) or []
        if sorted(map(str.lower, theirs)) != sorted(map(str.lower, document.get(key, []))):
            yield key
    for key in FLAGS:
        if bool(getattr(remote, key)) != bool(
            document.get(key, key == "is_private")
        ):  # private is the client's default
            yield key
    for key in WORDS:
        theirs, ours = getattr(remote, key), document.get(key)
        if theirs and ours and str(theirs).lower() != str(ours).lower():
            yield key
    if document.get("docker_image") and remote.docker_image != document["docker_image"]:
        yield "docker_image"


def cells_of(text: str) -> list[tuple[str, str]] | str:
    """Return kind and source of each cell of a notebook's JSON; the text itself if it is no notebook."""
    try:
        cells = json.loads(text)["cells"]
        return [(str(cell["cell_type"]), "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return text


class StateLine:
    """A state and a clock: redrawn in one line in a terminal, one line for each new state elsewhere."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, state: str, seconds: float, *, end: bool) -> None:
        """Show `state` after `seconds`; `end` marks the last one."""
        text = f"{state} | {clock_face(seconds)}"
        if can_redraw(sys.stdout):
            print(f"\r\x1b[K{text}", end="\n" if end else "", flush=True)
        elif state != self._shown:
            print(text, flush=True)
        self._shown = state


def follow(api: Any, kernel: str, *, poll: float, version: int | None = None, sleep: Sleep = time.sleep) -> float:
    """Wait until the run of `version`, or the latest run, is complete; return the seconds that this took.

    `poll` seconds pass before each request. Raises `NotGreen` if the run fails or is cancelled, after printing the end
    of its log.
    """
    started, line = time.monotonic(), StateLine()
    while True:
        sleep(poll)
        status, message = _status(api, kernel, version, sleep)
        seconds = time.monotonic() - started
        line.show(status.lower().replace("_", " "), seconds, end=status in FINAL)
        if status in FINAL:
            break
    if status != "COMPLETE":
        _print_end(read_log(api, kernel, version=version, sleep=sleep))
        what = "was cancelled" if status.startswith("CANCEL") else f"failed ({message or 'Kaggle gives no reason'})"
        took = clock_face(seconds)
        raise NotGreen(f"the run of {kernel} {what} after {took}: fix the cause and push; sctir push --again as it is")
    return seconds


def fetch_run(
    api: Any, kernel: str, output: Path, submission_file: str, seconds: float, *, version: int | None = None
) -> None:
    """Fetch log and outputs of a complete run that took `seconds`. Raises `NotGreen` without a usable submission file."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "log.txt").write_text(read_log(api, kernel, version=version), encoding="utf-8")
    files = fetch_outputs(api, kernel, output, version=version)
    print(f"complete after {clock_face(seconds)}: {len(files)} files and log.txt in {output}")
    if fault := _fault_of_submission(output / submission_file):
        raise NotGreen(f"the run left {fault}: see {output / 'log.txt'}, fix the notebook and push again")


def read_log(api: Any, kernel: str, *, version: int | None = None, sleep: Sleep = time.sleep) -> str:
    """Return the run's log as text. Kaggle keeps it as a JSON list of pieces with their times."""
    raw = str(_outputs(api, kernel, version, None, sleep).log or "")
    try:
        return "".join(str(piece["data"]) for piece in json.loads(raw))
    except (ValueError, TypeError, KeyError):
        return raw


def fetch_outputs(
    api: Any, kernel: str, folder: Path, *, version: int | None = None, sleep: Sleep = time.sleep
) -> list[Path]:
    """Download every output file of the run below `folder`; each is there in full or not at all.

    The client's own `kernels_output` would keep an error page as if it were the file, and hold each file in memory.
    """
    return [
        retry(partial(_download, url, _inside(folder, name)), f"fetching {name}", sleep=sleep)
        for name, url in _output_files(api, kernel, version, sleep)
    ]


def _status(api: Any, kernel: str, version: int | None, sleep: Sleep) -> tuple[str, str]:
    """The run's state in the client's words, and Kaggle's message if it failed."""
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiGetKernelSessionStatusRequest,
    )

    request = _addressed(kernel, version, ApiGetKernelSessionStatusRequest())
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.kernels.kernels_api_client.get_kernel_session_status
        answer = retry(lambda: ask(request), f"asking for the status of {kernel}", sleep=sleep)
    return str(answer.status.name), str(answer.failure_message or "")


def _print_end(text: str) -> None:
    lines = text.rstrip().splitlines()
    if not lines:
        print("the run left no log")
        return
    print(f"the last {min(len(lines), LAST_LINES)} of {len(lines)} lines of its log:")
    for line in lines[-LAST_LINES:]:
        print(f"  {line}")


def _fault_of_submission(path: Path) -> str:
    """Say what is wrong with the form of a submission file; empty if nothing is. Its values are left to Kaggle."""
    if not path.is_file():
        return f"no {path.name}"
    content = path.read_bytes()
    if path.suffix == ".parquet":
        whole = content[:4] == content[-4:] == b"PAR1"
        return "" if whole else f"a {path.name} of {len(content)} bytes that is none"
    return "" if len(content.splitlines()) > 1 else f"a {path.name} without an answer"


def _output_files(api: Any, kernel: str, version: int | None, sleep: Sleep) -> Iterator[tuple[str, str]]:
    """Name and URL of each output file, page by page."""
    token: str | None = None
    while True:
        page = _outputs(api, kernel, version, token, sleep)
        yield from ((file.file_name, file.url) for file in page.files or [])
        if not (token := page.next_page_token):
            return


def _outputs(api: Any, kernel: str, version: int | None, token: str | None, sleep: Sleep) -> Any:
    """A page of the run's output files, with its log."""
    from kagglesdk.kernels.types.kernels_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiListKernelSessionOutputRequest,
    )

    request = _addressed(kernel, version, ApiListKernelSessionOutputRequest())
    if token:
        request.page_token = token
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.kernels.kernels_api_client.list_kernel_session_output
        return retry(lambda: ask(request), f"listing the outputs of {kernel}", sleep=sleep)


def _addressed(kernel: str, version: int | None, request: Any) -> Any:
    """The request with owner, slug and, if one is given, the version, which Kaggle wants as `v3`."""
    request.user_name, request.kernel_slug = kernel.split("/")
    if version is not None:
        request.version_label = f"v{version}"
    return request


def _inside(folder: Path, name: str) -> Path:
    """The path of an output file; a name such as ../../.bashrc is refused."""
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
