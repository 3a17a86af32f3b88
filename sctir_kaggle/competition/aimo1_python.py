"""Make an attached CPython executable: Kaggle mounts a dataset read-only and without its executable bits.

Not covered: finding it (`inputs.find_python`) and packing it (`sctir wheels --cpython`).
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
    """An interpreter's report about itself.

    Its version, that of its pandas, the suffix of the extension modules that it imports, and its prefix.
    """

    version: str
    pandas: str
    suffix: str
    prefix: str


@contextmanager
def unpacked(found: Path) -> Iterator[Path]:
    """An executable interpreter from `found`, a folder or an archive as `find_python` returns it.

    It is used in place where it is executable there, else copied to a temporary folder. Raises `UserError`.
    """
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
    """bin/python3.X in `folder` or one level below. Raises `UserError`."""
    found = sorted([*folder.glob("bin/python3.*"), *folder.glob("*/bin/python3.*")], key=lambda path: len(path.parts))
    named = [path for path in found if path.name.removeprefix("python3.").isdecimal()]
    if not named:
        raise UserError(f"{folder} holds no bin/python3.X: pack it again with `sctir wheels --cpython`")
    return named[0]


def probe(python: Path) -> Probed:
    """Run the interpreter and import its pandas. Raises `UserError` where that fails or takes over `PROBE_SECONDS`."""
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
    """This process's environment with the interpreter's own shared libraries first.

    Run it with -I: PYTHONPATH and the like are meant for this process's Python.
    """
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
