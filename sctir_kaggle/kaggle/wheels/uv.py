"""Run uv: it resolves for another Python than the one that runs, from the indexes that pip is configured with.

Not covered: credentials that pip would ask for, and its keyring.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec

from sctir_kaggle.kaggle.wheels.image import GLIBC
from sctir_kaggle.types import UserError

PLATFORM = f"x86_64-manylinux_2_{GLIBC}"

_PIP = re.compile(r"^(?P<place>[\w:.-]+)\.(?P<key>index-url|extra-index-url|find-links|no-index|cert)='(?P<value>.*)'$")

_OWN = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX", "UV_FIND_LINKS")


class Unresolvable(UserError):
    """The requirements cannot be met; the message is uv's, on one line."""


def compile_(arguments: Sequence[str], *, python: str) -> None:
    """Run `uv pip compile` for wheels of `python` on Kaggle's Linux. Raises `Unresolvable`."""
    target = ("--python", sys.executable, "--python-version", python, "--python-platform", PLATFORM)
    options = ("--only-binary", ":all:", "--no-header", "--quiet", "--index-strategy", "unsafe-best-match")
    command = [*_command(), "pip", "compile", *target, *options, *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment())
    if done.returncode:
        raise Unresolvable(_one_line(done.stderr))


def index() -> list[str]:
    """Return uv's options for the indexes of pip's configuration; none if uv has a setting of its own."""
    if any(name in os.environ for name in _OWN):
        return []
    said = pip_settings()
    options = ["--no-index"] if said.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    if not options:
        options += [part for url in said.get("index-url", "").split() for part in ("--default-index", url)]
        options += [part for url in said.get("extra-index-url", "").split() for part in ("--index", url)]
    return options + [part for place in said.get("find-links", "").split() for part in ("--find-links", place)]


def pip_settings() -> Mapping[str, str]:
    """Return pip's settings from its files and from the environment, which overrides them."""
    return _pip_settings(tuple(sorted(item for item in os.environ.items() if item[0].startswith("PIP_"))))


@cache
def _pip_settings(_: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Cached for each environment: pip takes a while to start."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    found: dict[str, str] = {}
    for place, key, value in sorted(_settings(listed.stdout), key=lambda setting: setting[0] == ":env:"):
        if place in ("global", "install", "download", ":env:") and value:
            found[key] = value
    return found


def _settings(listed: str) -> Iterator[tuple[str, str, str]]:
    for line in listed.splitlines():
        if match := _PIP.match(line.strip()):
            yield match["place"], match["key"], match["value"].replace("\\n", " ")


def _command() -> list[str]:
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if found := shutil.which("uv"):
        return [found]
    raise UserError("uv, which resolves the wheels, is not installed: pip install 'sctir-kaggle[kaggle]'")


def _environment() -> dict[str, str]:
    """uv uses pip's certificates, and ignores a virtual environment that is active."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    if cert := pip_settings().get("cert"):
        environment.setdefault("SSL_CERT_FILE", cert)
    return environment


def _one_line(errors: str) -> str:
    """uv's explanation on one line, cut if it goes on for pages."""
    lines = [line.strip(" ├└─▶×╰│").removeprefix("error: ").removeprefix("cause: ") for line in errors.splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith("hint"))
    text = text.removeprefix("No solution found when resolving dependencies").strip(" :")
    return text if len(text) <= 900 else f"{text[:897]}..."
