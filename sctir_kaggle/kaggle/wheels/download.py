"""Downloads the wheels of a lock: each goes on where it stopped, and counts only with the hash of the lock.

Not covered: more than one at a time.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import netrc
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle.wheels.lock import Wheel
from sctir_kaggle.kaggle.wheels.uv import pip_settings
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

TRIES = 5
"""For a file, each from where the last one stopped."""

TIMEOUT = 60.0
"""Seconds without a byte."""

EVERY = 10.0
"""Seconds between two lines of progress."""

CHUNK = 1 << 20

LARGE = 50e6
"""Bytes of a wheel that is worth a line of its own."""

GONE = (401, 403, 404, 410)
"""What an index answers when another try will not help."""

PARTIAL = 206


def fetch(wanted: Mapping[Path, Wheel], partial: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Every file that is not there whole. What is half there lies in `partial`, by its hash."""
    lacking = {path: wheel for path, wheel in wanted.items() if not is_whole(path, wheel)}
    if there := len(wanted) - len(lacking):
        log.info("%d of %d wheels are there already", there, len(wanted))
    if not lacking:
        return
    progress, settings = Progress(list(lacking.values())), pip_settings()
    partial.mkdir(parents=True, exist_ok=True)
    for path, wheel in lacking.items():
        half = partial / wheel.sha256
        _fetch(wheel, half, progress, settings, sleep)
        half.replace(path)
        progress.done(wheel)
    with suppress(OSError):
        partial.rmdir()


def size_at(url: str) -> int | None:
    """As the server says it, which an index may not."""
    request = urllib.request.Request(bare(url), method="HEAD")
    try:
        with _answer(request, url, pip_settings()) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, HTTPException, TypeError, ValueError):
        return None


def is_whole(path: Path, wheel: Wheel) -> bool:
    """Whether it is the file of the lock."""
    if not path.is_file() or wheel.size not in (None, path.stat().st_size):
        return False
    return sha256_of(path) == wheel.sha256


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Progress:
    """A line now and then: files, bytes, how long it takes still."""

    def __init__(self, wheels: Sequence[Wheel]) -> None:
        self._files, self._size = len(wheels), sum(wheel.size or 0 for wheel in wheels)
        self._finished = self._whole = self._in_hand = self._received = 0
        self._began = self._told = time.monotonic()

    def at(self, count: int) -> None:
        """Bytes of the file in hand that need not be sent again."""
        self._in_hand = count

    def add(self, count: int) -> None:
        """Bytes that came just now."""
        self._in_hand += count
        self._received += count
        if time.monotonic() - self._told >= EVERY:
            self._tell()

    def done(self, wheel: Wheel) -> None:
        """A file is whole."""
        self._finished += 1
        self._whole += self._in_hand
        self._in_hand = 0
        if self._finished == self._files or (wheel.size or 0) >= LARGE:
            self._tell()

    def _tell(self) -> None:
        done, self._told = self._whole + self._in_hand, time.monotonic()
        line = f"{self._finished} of {self._files} wheels, {done / 1e6:,.0f} of {max(self._size, done) / 1e6:,.0f} MB"
        rate = self._received / max(self._told - self._began, 1e-3)
        if rate and done < self._size:
            line += f", {rate / 1e6:.1f} MB/s, {clock_face((self._size - done) / rate)} left"
        log.info("%s", line)


def _fetch(
    wheel: Wheel, half: Path, progress: Progress, settings: Mapping[str, str], sleep: Callable[[float], None]
) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            _receive(wheel, half, progress, settings)
        except (OSError, HTTPException) as error:
            if attempt == TRIES or getattr(error, "code", 0) in GONE:
                raise UserError(f"{wheel.file} cannot be downloaded ({error}): run this again, it goes on") from None
            log.info("%s: %s; trying again", wheel.file, error)
            sleep(2.0**attempt)
            continue
        if sha256_of(half) == wheel.sha256:
            return
        half.unlink()
    raise UserError(f"{wheel.file} has another hash than the lock, {TRIES} times: make a new lock with --update")


def _receive(wheel: Wheel, half: Path, progress: Progress, settings: Mapping[str, str]) -> None:
    there = half.stat().st_size if half.is_file() else 0
    if not there or there != wheel.size:
        with _open(wheel.url, there, settings) as answer:
            there = there if getattr(answer, "status", None) == PARTIAL else 0
            with half.open("ab" if there else "wb") as file:
                progress.at(there)
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    progress.add(len(chunk))
    there = half.stat().st_size
    progress.at(there)
    if wheel.size is not None and there < wheel.size:
        raise OSError(f"it ended after {there:,} of {wheel.size:,} bytes")


def _open(url: str, there: int, settings: Mapping[str, str]) -> Any:
    """From byte `there` on, where the server can do that."""
    request = urllib.request.Request(bare(url))
    if there:
        request.add_header("Range", f"bytes={there}-")
    return _answer(request, url, settings)


def _answer(request: urllib.request.Request, url: str, settings: Mapping[str, str]) -> Any:
    if login := _login(url, settings):
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    cert = settings.get("cert") if url.startswith("https:") else None
    context = ssl.create_default_context(cafile=cert) if cert else None
    return urllib.request.urlopen(request, timeout=TIMEOUT, context=context)


def bare(url: str) -> str:
    """The address without a name and a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _login(url: str, settings: Mapping[str, str]) -> str:
    """Name and password: of pip's index on that host, or of netrc."""
    host = urlsplit(url).hostname
    indexes = f"{settings.get('index-url', '')} {settings.get('extra-index-url', '')}".split()
    same = (_of_url(index) for index in indexes if host and urlsplit(index).hostname == host)
    return next(filter(None, same), "") or (_of_netrc(host) if host else "")


def _of_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""


def _of_netrc(host: str) -> str:
    with suppress(OSError, netrc.NetrcParseError):
        if found := netrc.netrc().authenticators(host):
            return f"{found[0]}:{found[2]}"
    return ""
