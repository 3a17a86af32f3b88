"""The libraries that an engine imports, installed without a network from the wheels that are attached."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.kaggle.paths import find_wheels, wheel_folders
from sctir_kaggle.types import UserError

PINS = "requirements.txt"
"""What the wheels were made from, beside them: its versions hold for all that is installed."""


def install_missing(engine: str, roots: Sequence[str | Path] | None = None) -> list[str]:
    """The names of what was missing and is installed now; nothing is done, nor are wheels needed, where nothing was.

    Raises `NotFound` where no wheels are attached, `UserError` where pip cannot install from them.
    """
    missing = [name for name in entry_of(engine).needs if find_spec(name) is None]
    if missing:
        _install(missing, wheel_folders(roots) or [find_wheels(roots)])  # the latter says what was searched
        importlib.invalidate_caches()
    return missing


def _install(names: Sequence[str], folders: Sequence[Path]) -> None:
    links = [f"--find-links={folder}" for folder in folders]
    pins = [f"--constraint={folder / PINS}" for folder in folders if (folder / PINS).is_file()]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-index",
        *links,
        *pins,
        *names,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        said = next(
            (line for line in done.stdout.splitlines() if line.startswith("ERROR")), f"status {done.returncode}"
        )
        raise UserError(
            f"{', '.join(names)} cannot be installed from {', '.join(map(str, folders))}: {said}; "
            f"make the wheels anew for Python {sys.version_info.major}.{sys.version_info.minor} with `sctir wheels`"
        )
