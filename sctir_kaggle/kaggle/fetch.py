"""A checkpoint from the Hugging Face Hub: what inference reads, resumed where it was left, each file's hash compared.

Covered: public and gated repositories (the Hub's client finds the token itself), any revision, interrupted transfers, files
that changed on the disk, a disk that is too small. Not covered: checkpoints without *.safetensors, and what lies in folders
of a repository.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.jsonlines import lock
from sctir_kaggle.kaggle.transfer import Progress, size_text
from sctir_kaggle.types import UserError, one_line

NO_HUB = "huggingface_hub is not installed: pip install 'sctir-kaggle[kaggle]'"

WANTED = re.compile(
    r"[^/]+\.(?:safetensors|json|jinja|model|tiktoken)|(?:merges|vocab)\.txt|(?:LICENSE|NOTICE)[^/]*", re.IGNORECASE
)
"""The names of files at a repository's top that inference reads, and the licence, which goes where the weights go."""

TWICE = re.compile(r"consolidated.*\.safetensors")
"""The same weights once more, in another layout: left out where the usual one is there."""

CHUNK = 1 << 20

TRIES = 3
"""Transfers in a row that may break off before they have brought anything."""

PAUSE = 1.0
"""Seconds between two of them."""

MARGIN = 200 * 10**6
"""Bytes that a disk must have beyond the files."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at the Hub; `sha256` is None for small ones, which git knows by `blob`."""

    name: str
    size: int
    blob: str
    sha256: str | None


def fetch(repo: str, output: Path, *, revision: str | None = None, dry_run: bool = False) -> Path:
    """The checkpoint in `output`, whole and checked; what is there already is not fetched again. Raises `UserError`."""
    commit, files, others = look(repo, revision)
    print(f"{repo} at {commit[:12]}: {len(files)} files, {size_text(sum(file.size for file in files))}")
    if others:
        print(f"left out, inference does not read them: {', '.join(others[:8])}{', ...' if len(others) > 8 else ''}")
    _check_others(output, files)
    lacking = _lacking(output, files)
    if dry_run:
        print(f"to fetch into {output}: {len(lacking)} files, {size_text(sum(file.size for file in lacking))}")
        return output
    if not lacking:
        print(f"{output} holds all of them, every hash is right: nothing was fetched")
        return output
    _check_room(output, lacking)
    _download(repo, commit, output, lacking)
    print(f"{output}: complete, every hash is right")
    return output


def look(repo: str, revision: str | None) -> tuple[str, list[Remote], list[str]]:
    """The commit, the files that inference reads, and the names of the others."""
    with _told(repo, revision):
        info = _hub().HfApi().model_info(repo, revision=revision, files_metadata=True)
    files = [_remote(each) for each in info.siblings or [] if WANTED.fullmatch(each.rfilename)]
    if any(file.name.endswith(".safetensors") and not TWICE.fullmatch(file.name) for file in files):
        files = [file for file in files if not TWICE.fullmatch(file.name)]
    names = {file.name for file in files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"{repo} has no config.json or no *.safetensors at its top: name a repository with both")
    return str(info.sha), files, [each.rfilename for each in info.siblings if each.rfilename not in names]


def is_right(path: Path, file: Remote, *, seen: Callable[[int], None] = lambda _: None) -> bool:
    """Whether `path` is `file`, by its size and its hash; `seen` is told of the bytes that were read."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if file.sha256 is None else hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
            seen(len(piece))
    return digest.hexdigest() == (file.sha256 or file.blob)


def _lacking(output: Path, files: Sequence[Remote]) -> list[Remote]:
    """Those that are not there, or are not what the Hub has."""
    there = [file for file in files if (output / file.name).is_file()]
    right: set[str] = set()
    with Progress("checking", len(there), sum(file.size for file in there)) as progress:
        for file in there:
            progress.begin(file.size)
            if is_right(output / file.name, file, seen=progress.add):
                right.add(file.name)
            else:
                print(f"{output / file.name} is not what the Hub has: it is fetched again")
    return [file for file in files if file.name not in right]


def _check_others(output: Path, files: Sequence[Remote]) -> None:
    """Weights of another checkpoint would be loaded, or uploaded, with these."""
    names = {file.name for file in files}
    there = sorted(path.name for path in output.glob("*.safetensors*") if path.name not in names)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: name a folder with --output")
    if there:
        raise UserError(f"{output} holds {', '.join(there[:3])} of another checkpoint: choose another --output")


def _check_room(output: Path, files: Sequence[Remote]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    begun = sum(path.stat().st_size for path in (_part(output, file) for file in files) if path.exists())
    needed = sum(file.size for file in files) - begun + MARGIN
    free = shutil.disk_usage(output).free
    if free < needed:
        have, want = size_text(free), size_text(needed)
        raise UserError(f"{output} has {have} free, {want} are needed: make room, or choose another disk with --output")


def _part(output: Path, file: Remote) -> Path:
    """Where the bytes of a file are until it is whole; the hash in its name tells those of another revision apart."""
    return output / ".cache" / "sctir" / f"{file.name}.{(file.sha256 or file.blob)[:16]}.part"


def _download(repo: str, commit: str, output: Path, files: Sequence[Remote]) -> None:
    with Progress(f"fetching {repo}", len(files), sum(file.size for file in files)) as progress:
        for file in files:
            progress.begin(file.size)
            part = _part(output, file)
            part.parent.mkdir(parents=True, exist_ok=True)
            with _told(repo, commit):
                _persist(repo, commit, file, part, progress)
            if not is_right(part, file):
                part.unlink()
                raise UserError(f"{file.name} came with a wrong hash and was removed: try again, the others are kept")
            part.replace(output / file.name)


def _persist(repo: str, commit: str, file: Remote, part: Path, progress: Progress) -> None:
    """Goes on where a transfer breaks off; ends after `TRIES` in a row that brought nothing."""
    left = TRIES
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _go_on(repo, commit, file, part, progress)
        except Exception as error:
            left = TRIES if part.exists() and part.stat().st_size > before else left - 1
            if not _is_network(error) or left <= 0:
                raise
            time.sleep(PAUSE)
            progress.rewind()


def _is_network(error: BaseException) -> bool:
    """Whichever library the Hub's client of that version uses: requests until 0.36, then httpx."""
    return type(error).__module__.startswith(("httpx", "requests", "urllib3"))


def _go_on(repo: str, commit: str, file: Remote, part: Path, progress: Progress) -> None:
    """Adds to `part` what it lacks. The Hub's client itself (2.4) throws the bytes of a call that was killed away."""
    hub = _hub()
    address = hub.hf_hub_url(repo, file.name, revision=commit)
    headers = hub.utils.build_hf_headers()
    with part.open("ab") as locked:
        lock(part, locked)
        begun = part.stat().st_size
        if begun > file.size:
            locked.truncate(0)
            begun = 0
        progress.add(begun, moved=False)
        if begun < file.size:
            bar = _Bar(progress)
            get = hub.file_download.http_get
            get(address, locked, resume_size=begun, headers=headers, expected_size=file.size, _tqdm_bar=bar)


class _Bar:
    """In the place of the progress bar of the Hub's client."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def update(self, count: float | None = 1) -> None:
        self._progress.add(int(count or 0))


def _remote(sibling: Any) -> Remote:
    lfs = sibling.lfs
    return Remote(sibling.rfilename, int(sibling.size or 0), str(sibling.blob_id), lfs.sha256 if lfs else None)


def _hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        import huggingface_hub.file_download
        import huggingface_hub.utils
    except ModuleNotFoundError:
        raise UserError(NO_HUB) from None
    return huggingface_hub


@contextmanager
def _told(repo: str, revision: str | None) -> Iterator[None]:
    """What goes wrong at the Hub, in one line."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"{repo}: the disk is full: make room and type it again, it goes on where it was") from None
        raise UserError(_line(repo, revision, error)) from error
    except Exception as error:
        raise UserError(_line(repo, revision, error)) from error


def _line(repo: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{repo}"
        return f"{repo} is gated: accept its terms at {page}, log in with `hf auth login`, and try again"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the Hub knows no model {repo}, or it is private: check the name, or log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision}: leave out --revision, or name a branch, a tag or a commit"
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is no name of a model: write OWNER/NAME as on its page"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "nothing"
        return f"{repo}: the Hub answered {status}: try again later, it goes on where it was"
    if isinstance(error, errors.LocalEntryNotFoundError) or _is_network(error):
        why = type(error.__cause__ or error).__name__
        return f"{repo}: the Hub cannot be reached ({why}): is this machine connected? it goes on where it was"
    return f"{repo}: {one_line(error, limit=300)}: try again, it goes on where it was"
