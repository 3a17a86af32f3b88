"""`sctir fetch`: download a checkpoint from the Hugging Face Hub, only what inference reads, and compare every hash.

Covered: public and gated repositories (the Hub's client finds the token by itself), any revision, interrupted downloads, files
that changed on the disk, a disk that is too small. Not covered: checkpoints without *.safetensors, and subfolders of a
repository.
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
from sctir_kaggle.kaggle.transfer import Progress, file_hash, size_text
from sctir_kaggle.types import UserError, one_line

NO_HUB = "huggingface_hub is not installed: pip install 'sctir-kaggle[kaggle]'"

NEEDED = re.compile(
    r"[^/]+\.(?:safetensors|json|jinja|model|tiktoken)|(?:merges|vocab)\.txt|(?:LICENSE|NOTICE)[^/]*", re.IGNORECASE
)
"""Top-level files that inference reads, and the licence, which must go wherever the weights go."""

DUPLICATE = re.compile(r"consolidated.*\.safetensors")
"""The same weights in another layout (Mistral's), left out if the usual files are there."""

TRIES = 3
"""Attempts in a row that may fail without receiving a byte."""

PAUSE = 1.0
"""Seconds between two attempts."""

MARGIN = 200 * 10**6
"""Bytes that must be free besides those of the files."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at the Hub. `sha256` is that of LFS; it is None for small files, which have only git's hash, `blob`."""

    name: str
    size: int
    blob: str
    sha256: str | None


def fetch(repo: str, output: Path, *, revision: str | None = None, dry_run: bool = False) -> Path:
    """Download what `output` lacks of the checkpoint, check every hash, and return `output`. Raises `UserError`."""
    commit, files, others = list_files(repo, revision)
    print(f"{repo} at {commit[:12]}: {len(files)} files, {size_text(sum(file.size for file in files))}")
    if others:
        print(f"left out, inference does not read them: {', '.join(others[:8])}{', ...' if len(others) > 8 else ''}")
    _check_no_other_weights(output, files)
    lacking = _lacking(output, files)
    if dry_run:
        print(f"to fetch into {output}: {len(lacking)} files, {size_text(sum(file.size for file in lacking))}")
        return output
    if not lacking:
        print(f"{output} holds all of them, every hash is right: nothing was fetched")
        return output
    _check_disk(output, lacking)
    _download(repo, commit, output, lacking)
    print(f"{output}: complete, every hash is right")
    return output


def list_files(repo: str, revision: str | None) -> tuple[str, list[Remote], list[str]]:
    """Return the commit, the files that inference reads, and the names of the others."""
    with _user_errors(repo, revision):
        info = _hub().HfApi().model_info(repo, revision=revision, files_metadata=True)
    files = [_remote(each) for each in info.siblings or [] if NEEDED.fullmatch(each.rfilename)]
    if any(file.name.endswith(".safetensors") and not DUPLICATE.fullmatch(file.name) for file in files):
        files = [file for file in files if not DUPLICATE.fullmatch(file.name)]
    names = {file.name for file in files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"{repo} has no config.json or no *.safetensors at its top: name a repository with both")
    return str(info.sha), files, [each.rfilename for each in info.siblings if each.rfilename not in names]


def is_right(path: Path, file: Remote, *, on_read: Callable[[int], None] = lambda _: None) -> bool:
    """Whether `path` is `file`, by size and hash; `on_read` is called with the bytes of each piece that was read."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    # git's own hash of a small file: SHA-1 of a header and the content
    blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if file.sha256 is None else None
    return file_hash(path, blob, on_read=on_read) == (file.sha256 or file.blob)


def _lacking(output: Path, files: Sequence[Remote]) -> list[Remote]:
    """The files that are missing or differ from the Hub's."""
    there = [file for file in files if (output / file.name).is_file()]
    right: set[str] = set()
    with Progress("checking", len(there), sum(file.size for file in there)) as progress:
        for file in there:
            progress.begin(file.size)
            if is_right(output / file.name, file, on_read=progress.add):
                right.add(file.name)
            else:
                print(f"{output / file.name} is not what the Hub has: it is fetched again")
    return [file for file in files if file.name not in right]


def _check_no_other_weights(output: Path, files: Sequence[Remote]) -> None:
    """Refuse a folder with weights of another checkpoint: they would be loaded, or uploaded, with these."""
    names = {file.name for file in files}
    there = sorted(path.name for path in output.glob("*.safetensors*") if path.name not in names)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: name a folder with --output")
    if there:
        raise UserError(f"{output} holds {', '.join(there[:3])} of another checkpoint: choose another --output")


def _check_disk(output: Path, files: Sequence[Remote]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    begun = sum(path.stat().st_size for path in (_part(output, file) for file in files) if path.exists())
    needed = sum(file.size for file in files) - begun + MARGIN
    free = shutil.disk_usage(output).free
    if free < needed:
        have, want = size_text(free), size_text(needed)
        raise UserError(f"{output} has {have} free, {want} are needed: make room, or choose another disk with --output")


def _part(output: Path, file: Remote) -> Path:
    """Where a file lies until it is complete; with its hash in the name, another revision has another part."""
    return output / ".cache" / "sctir" / f"{file.name}.{(file.sha256 or file.blob)[:16]}.part"


def _download(repo: str, commit: str, output: Path, files: Sequence[Remote]) -> None:
    with Progress(f"fetching {repo}", len(files), sum(file.size for file in files)) as progress:
        for file in files:
            progress.begin(file.size)
            part = _part(output, file)
            part.parent.mkdir(parents=True, exist_ok=True)
            with _user_errors(repo, commit):
                _fetch_file(repo, commit, file, part, progress)
            if not is_right(part, file):
                part.unlink()
                raise UserError(f"{file.name} came with a wrong hash and was removed: try again, the others are kept")
            part.replace(output / file.name)


def _fetch_file(repo: str, commit: str, file: Remote, part: Path, progress: Progress) -> None:
    """Download into `part`, resuming after network errors, up to `TRIES` in a row that received nothing."""
    left = TRIES
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _resume(repo, commit, file, part, progress)
        except Exception as error:
            left = TRIES if part.exists() and part.stat().st_size > before else left - 1
            if not _is_network(error) or left <= 0:
                raise
            time.sleep(PAUSE)
            progress.rewind()


def _is_network(error: BaseException) -> bool:
    """Whether the error is of the library that the Hub's client uses: requests until 0.36, then httpx."""
    return type(error).__module__.startswith(("httpx", "requests", "urllib3"))


def _resume(repo: str, commit: str, file: Remote, part: Path, progress: Progress) -> None:
    """Add the bytes that `part` lacks. The Hub's client itself (2.4) discards those of a call that was killed."""
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
    """Takes the place of the tqdm bar of the Hub's client."""

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
def _user_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn errors of the Hub's client into one line each."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{repo}: the disk is full: make room and run it again, it resumes where it stopped"
            ) from None
        raise UserError(_message(repo, revision, error)) from error
    except Exception as error:
        raise UserError(_message(repo, revision, error)) from error


def _message(repo: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{repo}"
        return f"{repo} is gated: accept its terms at {page}, log in with `hf auth login`, and try again"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the Hub has no model {repo}, or it is private: check the name, or log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision}: leave out --revision, or name a branch, a tag or a commit"
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is no name of a model: write OWNER/NAME as on its page"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "nothing"
        return f"{repo}: the Hub answered {status}: try again later, it resumes where it stopped"
    if isinstance(error, errors.LocalEntryNotFoundError) or _is_network(error):
        why = type(error.__cause__ or error).__name__
        return f"{repo}: the Hub cannot be reached ({why}): is this machine connected? it resumes where it stopped"
    return f"{repo}: {one_line(error, limit=300)}: try again, it resumes where it stopped"
