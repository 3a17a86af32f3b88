"""Pack a CPython 3.10 with pandas as a data set: AIMO-1's module `aimo` needs it if Kaggle's image has another Python.

An installation is copied with the shared libraries that it needs, without what the module does not use; the packed copy has
to run at another path before it counts as made. Not covered: what the module imports besides pandas and numpy.
"""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sctir_kaggle.competition.aimo1_python import probe, unpacked
from sctir_kaggle.kaggle.metadata import PYTHON310
from sctir_kaggle.kaggle.staging import DATASET_FILE, dataset_metadata
from sctir_kaggle.kaggle.wheels.image import GLIBC
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

VERSION = "3.10"

ARCHIVE = "cpython310.tar.gz"

PACKAGES = (
    "pandas==2.2.2",
    "numpy==1.26.4",
    "python-dateutil==2.9.0.post0",
    "pytz==2024.1",
    "tzdata==2024.1",
    "six==1.16.0",
)
"""pandas and everything that it needs, in versions of the competition's time."""

_SYSTEM = re.compile(r"(ld-linux.*|linux-vdso|lib(c|m|dl|rt|pthread|util|resolv))\.so.*")
"""Shared libraries of glibc itself, which every image has."""

_WITHOUT = shutil.ignore_patterns(
    *("__pycache__", "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "config-*"),
    *("_tkinter.*", "_curses*", "readline.*", "nis.*", "_dbm.*", "_gdbm.*", "_crypt.*", "_test*", "*.a"),
)
"""Parts of the standard library that need a screen, a terminal or other libraries, or are for building and testing."""


def interpreter_of(cpython: Path | None) -> Path:
    """Return the interpreter of an installation's folder; None takes the one that uv finds or installs.

    Raises `UserError` if there is none, or if it is not CPython 3.10.
    """
    return _real_interpreter(cpython or _of_uv())


def pack(output: Path, python: Path, *, owner: str | None = None) -> Path:
    """Make the data set's folder in `output` from the interpreter `python`: one archive and its metadata.

    An existing one is kept: the folder appears in one step, so it is complete.
    """
    folder = output / PYTHON310
    if (folder / ARCHIVE).is_file() and (folder / DATASET_FILE).is_file():
        return folder
    part = output / f".{PYTHON310}"
    with tempfile.TemporaryDirectory(prefix="sctir-pack-") as temporary:
        tree = Path(temporary, "python")
        _copy(python, tree)
        _install(tree)
        _check_glibc(tree)
        archive = Path(temporary, ARCHIVE)
        _archive(tree, archive)
        _try(archive)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        shutil.copyfile(archive, part / ARCHIVE)
    (part / DATASET_FILE).write_text(dataset_metadata(PYTHON310, owner), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # an incomplete one, of an older version of this package
    part.rename(folder)
    return folder


def _of_uv() -> Path:
    """The interpreter that uv finds, or installs."""
    uv = [shutil.which("uv") or ""] if shutil.which("uv") else [sys.executable, "-m", "uv"]
    for command in (["python", "find", VERSION], ["python", "install", VERSION], ["python", "find", VERSION]):
        ran = subprocess.run([*uv, *command], capture_output=True, text=True, check=False)
        if command[1] == "find" and ran.returncode == 0:
            return Path(ran.stdout.strip())
        if command[1] == "install" and ran.returncode:
            said = (ran.stderr.strip().splitlines() or ["no output"])[-1]
            raise UserError(f"uv finds no CPython {VERSION} and installs none ({said}): name one with --cpython DIR")
    raise UserError(f"uv finds no CPython {VERSION}: name one with --cpython DIR")


def _real_interpreter(cpython: Path) -> Path:
    """The interpreter of an installation, given its folder or a path to it, with links and virtual environments resolved."""
    python = cpython if cpython.is_file() else cpython / "bin" / f"python{VERSION}"
    if not python.is_file():
        raise UserError(f"{python} does not exist: name the folder that holds bin/python{VERSION} with --cpython")
    code = f"import sys; print('%d.%d' % sys.version_info[:2], sys.base_prefix + '/bin/python{VERSION}')"
    ran = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    version, _, base = ran.stdout.strip().partition(" ")
    if version != VERSION:
        raise UserError(f"{python} is CPython {version or 'none'}, not {VERSION}: name another with --cpython")
    return Path(base).resolve()


def _copy(python: Path, tree: Path) -> None:
    """Copy interpreter, standard library and the shared libraries that they need, as files: an upload loses links."""
    library = python.parents[1] / "lib" / f"python{VERSION}"
    shutil.copytree(library, tree / "lib" / library.name, ignore=_WITHOUT)
    (tree / "lib" / library.name / "site-packages").mkdir()
    (tree / "bin").mkdir()
    shutil.copy(python, tree / "bin" / f"python{VERSION}")
    needing = [python, *(tree / "lib" / library.name / "lib-dynload").glob("*.so")]
    for name, place in sorted(_libraries(needing).items()):
        shutil.copy(place, tree / "lib" / name)


def _libraries(files: Iterable[Path]) -> dict[str, Path]:
    """The shared libraries that `files` need, by the name under which they are loaded, without glibc's."""
    ran = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    found = re.findall(r"^\s+(\S+) => (/\S+)", ran.stdout, flags=re.MULTILINE)
    return {name: Path(place) for name, place in found if not _SYSTEM.fullmatch(name)}


def _install(tree: Path) -> None:
    """Install the packages as wheels for CPython 3.10, with the pip of the Python that runs."""
    place = tree / "lib" / f"python{VERSION}" / "site-packages"
    command = [
        *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", "--no-compile"),
        *("--target", str(place), "--no-deps", "--only-binary", ":all:", "--implementation", "cp"),
        *("--python-version", VERSION, "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
        *PACKAGES,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        raise UserError(f"pip cannot install {', '.join(PACKAGES)} for CPython {VERSION}: {said}")
    for unneeded in sorted([*place.rglob("tests"), *place.rglob("__pycache__")], reverse=True):
        shutil.rmtree(unneeded)
    shutil.rmtree(place / "bin", ignore_errors=True)


def _check_glibc(tree: Path) -> None:
    binaries = [*tree.glob("bin/*"), *(path for path in tree.rglob("*.so*") if path.is_file())]
    for path in binaries:
        wanted = max((int(found) for found in re.findall(rb"GLIBC_2\.(\d+)\0", path.read_bytes())), default=0)
        if wanted > GLIBC:
            raise UserError(
                f"{path.name} wants glibc 2.{wanted}, Kaggle's image has 2.{GLIBC}: take a CPython built for an older "
                "one, such as uv's (`uv python install 3.10`)"
            )


def _archive(tree: Path, archive: Path) -> None:
    """Pack reproducibly: no times or owners, files in order."""

    def bare(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with (
        gzip.GzipFile(archive, "wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as stored,
    ):
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            stored.add(path, arcname=str(path.relative_to(tree.parent)), filter=bare)


def _try(archive: Path) -> None:
    """Raise `UserError` unless the archive runs at another path than the one where it was made."""
    with unpacked(archive) as python:
        found = probe(python)
        if Path(found.prefix) != python.parents[1]:
            raise UserError(f"the packed CPython still depends on {found.prefix}: take another, such as uv's")
    log.info("packed: CPython %s with pandas %s, %.1f MB", found.version, found.pandas, archive.stat().st_size / 1e6)
