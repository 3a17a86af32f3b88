"""The offline wheelhouse: every wheel that the notebook installs, for Kaggle's Python, in folders that become datasets.

pip downloads and resolves, from whatever index it is configured with. Not covered: wheels that the image already has (they
are downloaded too), packages that have no wheel, whether a wheel runs there.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sctir_kaggle.kaggle import wheelhouse
from sctir_kaggle.kaggle.install import PINS
from sctir_kaggle.kaggle.metadata import OWNER
from sctir_kaggle.kaggle.upload import DATASET_FILE
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

PYTHON = "3.12"
"""Of Kaggle's image in August 2026."""

GLIBC = 35
"""Minor version of the newest glibc that a wheel may want: the image is built on Ubuntu 22.04."""

FILES = 50
"""Of one dataset, at its top level: kaggle.com/docs/datasets, technical specifications. One may be the requirements."""

BYTES = 200 * 10**9
"""Of one dataset: the same page."""

ROUNDS = 5
"""How often what is still lacking is downloaded: pip reads conditions on the Python as those of its own."""


def make(
    requirements: Path, output: Path, *, python: str = PYTHON, owner: str | None = None, name: str = "sctir-wheels"
) -> list[Path]:
    """Downloads, checks and splits; returns the dataset folders below `output`, which must be new or empty."""
    if not requirements.is_file():
        raise UserError(f"{requirements} does not exist: name a file of requirements with --requirements")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty, and old wheels would stay among the new: choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    download(requirements, output, python=python)
    folders = split(output, owner=owner, name=name)
    shutil.copyfile(requirements, folders[0] / PINS)
    verify(folders, requirements, python=python)
    return folders


def download(requirements: Path, folder: Path, *, python: str = PYTHON) -> None:
    """Everything that `requirements` and what they need in turn name, as wheels for Linux on x86_64."""
    wanted = ["-r", str(requirements)]
    for _ in range(ROUNDS):
        _pip("download", "--dest", str(folder), *_target(python), *wanted)
        lacking = wheelhouse.missing([folder], requirements, python)
        if not lacking:
            return
        log.info("pip left out what Python %s needs: %s", python, ", ".join(lack.requirement for lack in lacking))
        wanted = [lack.requirement for lack in lacking]
    raise UserError(f"{folder} still lacks {', '.join(map(str, lacking))}: add it to {requirements} and try again")


def split(folder: Path, *, owner: str | None = None, name: str = "sctir-wheels") -> list[Path]:
    """Moves the wheels into folders within a dataset's limits: `name`, `name`-2, ..., each flat, with its metadata."""
    parts = list(_parts(sorted(folder.glob("*.whl"))))
    return [
        _dataset(folder, f"{name}-{number}" if number > 1 else name, part, owner or OWNER)
        for number, part in enumerate(parts, 1)
    ]


def verify(folders: Sequence[Path], requirements: Path, *, python: str = PYTHON) -> None:
    """Raises `UserError`, which names what is missing, unless `folders` alone can install `requirements` on `python`."""
    places = ", ".join(map(str, folders))
    if lacking := wheelhouse.missing(folders, requirements, python):
        raise UserError(f"{places} lacks {', '.join(map(str, lacking))}: make it anew with `sctir wheels`")
    links = [f"--find-links={folder}" for folder in folders]
    try:
        resolve(requirements, "--no-index", *links, python=python)
    except UserError as error:
        raise UserError(f"{places} is not complete for Python {python}: {error}") from None


def resolve(requirements: Path, *options: str, python: str = PYTHON) -> list[str]:
    """What pip would install, as `name version`; nothing is kept. Raises `UserError`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        dry = ("--dry-run", "--ignore-installed", "--target", folder, "--report", str(report))
        _pip("install", *dry, *_target(python), *options, "-r", str(requirements))
        found = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return sorted(f"{each['name']} {each['version']}" for each in found)


def dataset_folders(folder: Path) -> list[Path]:
    """`folder` itself where it holds wheels, else those in it that do."""
    return [place for place in (folder, *sorted(folder.glob("*/"))) if any(place.glob("*.whl"))]


def _target(python: str) -> list[str]:
    linux = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)]
    platforms = [*linux, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    return [
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", python),
        *(option for platform in platforms for option in ("--platform", platform)),
    ]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "-q", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UserError(f"pip {arguments[0]}: {_told(done.stdout)}")


def _told(output: str) -> str:
    """pip's last errors, without the list of versions that it saw."""
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    lines = errors[-2:] or output.strip().splitlines()[-1:] or ["no output"]
    return "; ".join(line if len(line) <= 300 else f"{line[:297]}..." for line in lines)


def _parts(wheels: Iterable[Path]) -> Iterator[list[Path]]:
    part: list[Path] = []
    size = 0
    for wheel in wheels:
        bytes_ = wheel.stat().st_size
        if part and (len(part) == FILES - 1 or size + bytes_ > BYTES):
            yield part
            part, size = [], 0
        part.append(wheel)
        size += bytes_
    if part:
        yield part


def _dataset(folder: Path, slug: str, wheels: Sequence[Path], owner: str) -> Path:
    place = folder / slug
    place.mkdir()
    for wheel in wheels:
        wheel.rename(place / wheel.name)
    title = slug.replace("-", " ")
    document = {"title": title, "id": f"{owner}/{slug}", "licenses": [{"name": "other"}]}
    (place / DATASET_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return place
