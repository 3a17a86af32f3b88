"""Download the wheels of a lock: each resumes where it stopped, and counts only with the hash of the lock.

Wheels come from the index that pip is configured with, so its credentials and certificates are used. Not covered: several
downloads at once.
"""

from __future__ import annotations

import base64
import logging
import netrc
import ssl
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from sctir_kaggle.kaggle.client import Sleep
from sctir_kaggle.kaggle.transfer import CHUNK, Progress, file_hash
from sctir_kaggle.kaggle.wheels.requirements import Wheel
from sctir_kaggle.kaggle.wheels.uv import pip_settings
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

TRIES = 5
"""Attempts for a file, each from where the last one stopped."""

TIMEOUT = 60.0
"""Seconds without a byte."""

PERMANENT = (401, 403, 404, 410)
"""Status codes of an index after which another attempt is pointless."""

PARTIAL_CONTENT = 206


def download(wanted: Mapping[Path, Wheel], partial: Path, *, sleep: Sleep = time.sleep) -> None:
    """Download every wheel of `wanted` that is not complete at its path; unfinished files lie in `partial` by their hash.

    Raises `UserError` if a file cannot be downloaded, or has another hash than the lock.
    """
    lacking = {path: wheel for path, wheel in wanted.items() if not is_complete(path, wheel)}
    if there := len(wanted) - len(lacking):
        log.info("%d of %d wheels are there already", there, len(wanted))
    if not lacking:
        return
    settings = pip_settings()
    partial.mkdir(parents=True, exist_ok=True)
    with Progress("downloading wheels", len(lacking), sum(wheel.size or 0 for wheel in lacking.values())) as progress:
        for path, wheel in lacking.items():
            progress.begin(wheel.size or 0)
            half = partial / wheel.sha256
            _download(wheel, half, progress, settings, sleep)
            half.replace(path)
    with suppress(OSError):
        partial.rmdir()


def is_complete(path: Path, wheel: Wheel) -> bool:
    """Whether the file has the size and the hash of the lock."""
    if not path.is_file() or wheel.size not in (None, path.stat().st_size):
        return False
    return file_hash(path) == wheel.sha256


def size_at(url: str) -> int | None:
    """Return the bytes of a file as its server says it, for an index that does not; None if neither does."""
    request = urllib.request.Request(without_login(url), method="HEAD")
    try:
        with _open(request, url, pip_settings()) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, HTTPException, TypeError, ValueError):
        return None


def without_login(url: str) -> str:
    """Return the URL without user name and password.

    >>> without_login("https://me:secret@example.org/simple/")
    'https://example.org/simple/'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _download(wheel: Wheel, half: Path, progress: Progress, settings: Mapping[str, str], sleep: Sleep) -> None:
    for attempt in range(1, TRIES + 1):
        progress.rewind()
        try:
            _receive(wheel, half, progress, settings)
        except (OSError, HTTPException) as error:
            if attempt == TRIES or getattr(error, "code", 0) in PERMANENT:
                raise UserError(f"{wheel.file} cannot be downloaded ({error}): run this again, it resumes") from None
            log.info("%s: %s; trying again", wheel.file, error)
            sleep(2.0**attempt)
            continue
        if file_hash(half) == wheel.sha256:
            return
        half.unlink()
    raise UserError(f"{wheel.file} has another hash than the lock, {TRIES} times: make a new lock with --update")


def _receive(wheel: Wheel, half: Path, progress: Progress, settings: Mapping[str, str]) -> None:
    """Add the bytes that `half` lacks. Raises `OSError` if the connection ends before the file does."""
    there = half.stat().st_size if half.is_file() else 0
    if there and there == wheel.size:
        progress.add(there, moved=False)
        return
    request = urllib.request.Request(without_login(wheel.url))
    if there:
        request.add_header("Range", f"bytes={there}-")
    with _open(request, wheel.url, settings) as answer:
        # A server that ignores the range sends the file from its beginning, with status 200.
        there = there if getattr(answer, "status", None) == PARTIAL_CONTENT else 0
        with half.open("ab" if there else "wb") as file:
            progress.add(there, moved=False)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.add(len(chunk))
    size = half.stat().st_size
    if wheel.size is not None and size < wheel.size:
        raise OSError(f"it ended after {size:,} of {wheel.size:,} bytes")


def _open(request: urllib.request.Request, url: str, settings: Mapping[str, str]) -> Any:
    if login := _login(url, settings):
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    cert = settings.get("cert") if url.startswith("https:") else None
    context = ssl.create_default_context(cafile=cert) if cert else None
    return urllib.request.urlopen(request, timeout=TIMEOUT, context=context)


def _login(url: str, settings: Mapping[str, str]) -> str:
    """`name:password` of pip's index on that host, else of netrc; empty if there is none."""
    host = urlsplit(url).hostname
    if not host:
        return ""
    for index in f"{settings.get('index-url', '')} {settings.get('extra-index-url', '')}".split():
        parts = urlsplit(index)
        if parts.hostname == host and parts.username:
            return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    with suppress(OSError, netrc.NetrcParseError):
        if found := netrc.netrc().authenticators(host):
            return f"{found[0]}:{found[2]}"
    return ""
