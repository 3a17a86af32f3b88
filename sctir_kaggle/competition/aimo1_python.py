"""An attached CPython, made ready to run: Kaggle mounts a data set read-only and without its executable bits.

Not covered: finding it (`paths.find_python`) and packing it (`python310`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sctir_kaggle.types import UserError

PROBE_SECONDS = 60.0

_PROBE = """
import importlib.machinery, platform, sys
import pandas
print(platform.python_version(), pandas.__version__, importlib.machinery.EXTENSION_SUFFIXES[0], sys.prefix)
"""


class Probed(NamedTuple):
    """What an interpreter said of itself: versions, the ending of the extensions that it imports, where it lives."""

    version: str
    pandas: str
    suffix: str
    prefix: str


@contextmanager
def unpacked(found: Path) -> Iterator[Path]:
    """The interpreter of what `find_python` found, executable: in place where it is so, else in a temporary folder."""
    if found.is_dir() and os.access(interpreter_in(found), os.X_OK):
        yield interpreter_in(found)
        return
    with tempfile.TemporaryDirectory(prefix="sctir-python-", ignore_cleanup_errors=True) as folder:
        place = Path(folder, "python")
        (_copy if found.is_dir() else _unpack)(found, place)
        python = interpreter_in(place)
        python.chmod(0o755)
        yield python


def interpreter_in(folder: Path) -> Path:
    """bin/pythonX.Y in `folder`, or in the only folder that is in it. Raises `UserError`."""
    found = sorted([*folder.glob("bin/python3.*"), *folder.glob("*/bin/python3.*")], key=lambda path: len(path.parts))
    named = [path for path in found if path.name.removeprefix("python3.").isdecimal()]
    if not named:
        raise UserError(f"{folder} holds no bin/python3.X: pack it again with `sctir wheels --cpython`")
    return named[0]


def probe(python: Path) -> Probed:
    """Runs it, with its pandas. Raises `UserError`."""
    command = [str(python), "-I", "-X", "utf8", "-c", _PROBE]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=environment(python), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{python} does not run ({error}): pack another with `sctir wheels --cpython`") from None
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        raise UserError(f"{python} does not run: {said}: pack another with `sctir wheels --cpython`")
    return Probed(*ran.stdout.strip().split(" ", 3))


def environment(python: Path) -> dict[str, str]:
    """This process's, with the interpreter's own shared libraries found first. Run it with -I: PYTHON... is for this one."""
    places = [str(python.parents[1] / "lib"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(places)}


def _copy(found: Path, place: Path) -> None:
    shutil.copytree(found, place, copy_function=shutil.copyfile, ignore_dangling_symlinks=True)


def _unpack(archive: Path, place: Path) -> None:
    try:
        with tarfile.open(archive) as stored:
            if hasattr(tarfile, "data_filter"):
                stored.extractall(place, filter="data")
            else:
                stored.extractall(place)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{archive} cannot be unpacked ({error}): upload it again") from None
