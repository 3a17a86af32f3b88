"""`sctir wheels`: the offline wheelhouse. What the notebook installs and Kaggle's image lacks, in folders for data sets.

uv resolves the requirements once, into a lock; run again, the command continues with that lock where it stopped. Not covered:
packages without a wheel, whether a wheel works there, and what an image that is known from a snapshot only really holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.kaggle.staging import DATASET_BYTES, DATASET_FILE, DATASET_FILES, dataset_metadata
from sctir_kaggle.kaggle.transfer import size_text
from sctir_kaggle.kaggle.wheels import uv
from sctir_kaggle.kaggle.wheels.download import download, is_complete
from sctir_kaggle.kaggle.wheels.image import FREEZE, NONE, Image, image_of, text_of
from sctir_kaggle.kaggle.wheels.requirements import (
    LOCK,
    PINS,
    Lock,
    Wheel,
    find_lock,
    for_the_notebook,
    read_lock,
    write_lock,
)
from sctir_kaggle.kaggle.wheels.resolution import Resolution, resolve, valid, without, write_stand_ins
from sctir_kaggle.kaggle.wheels.wheelhouse import plan
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

OWN_FILES = 4
"""Files of the first data set that are no wheels: lock, requirements, the image's list, and the data set's metadata."""

NAME = "sctir-wheels"
"""The slug of the first data set; the second one is NAME-2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelOptions:
    """The options of `sctir wheels`: requirements, and the image that they are met on."""

    requirements: Path = Path(PINS)
    image: str | Path | None = None
    """A file, a snapshot's name or "none", see `image_of`."""

    python: str | None = None
    """X.Y."""

    ship: Sequence[str] = ()
    """Distributions that are shipped although the image has them."""

    pins: Sequence[str] = ()
    """NAME==VERSION, each in place of a line of `requirements`."""

    def roots(self) -> list[str]:
        """Return the notebook's requirements."""
        return for_the_notebook(self.requirements, self.pins)

    def target(self) -> Image:
        """Return the image that the wheels are made for."""
        return image_of(self.image, self.python)


def make(options: WheelOptions, output: Path, *, owner: str | None = None, update: bool = False) -> list[Path]:
    """Resolve, split, download and check; return the data set folders below `output`. Run again, it continues.

    Raises `UserError` if `output` holds other things, or wheels made from other options (unless `update`).
    """
    roots, image = options.roots(), options.target()
    first = output / NAME
    lock = None if update else _earlier_lock(output, digest(roots, image, options.ship))
    if lock is None:
        lock = _make_lock(first, roots, image, options.ship)
    else:
        log.info("continuing with %s", first / LOCK)
    parts = split(lock.wheels, output)
    _check_disk(parts, output)
    for folder, wheels in parts.items():
        folder.mkdir(exist_ok=True)
        (folder / DATASET_FILE).write_text(dataset_metadata(folder.name, owner), encoding="utf-8")
        _move_here(folder, wheels, output)
    _remove_others(parts, output)
    files = {folder / wheel.file: wheel for folder, wheels in parts.items() for wheel in wheels}
    download(files, output / ".partial")
    verify(list(parts))
    return list(parts)


def preview(options: WheelOptions) -> Resolution:
    """Resolve what would be shipped, and keep nothing."""
    return resolve(options.roots(), options.target(), ship=options.ship)


def summary(resolution: Resolution, image: Image) -> list[str]:
    """Return lines: what is shipped, what the image has, what is replaced there."""
    unsized = sum(wheel.size is None for wheel in resolution.wheels)
    more = f" and {unsized} of unknown size" if unsized else ""
    lines = [f"{len(resolution.wheels)} wheels, {resolution.bytes / 1e6:,.1f} MB{more}, for Python {image.minor}"]
    if image.versions:
        lines.append(f"{len(resolution.kept)} that are needed are on the image ({image.name}) and stay as they are")
    else:
        lines.append("all is shipped: no list of the image is known for this Python; --image FILE takes its pip freeze")
    new = {wheel.name: wheel.version for wheel in resolution.wheels}
    if changed := [f"{name} {there} by {new[name]}" for name, there in sorted(resolution.replaced.items())]:
        lines.append(f"replaced on the image: {', '.join(changed)}")
    return lines


def listed(wheels: Sequence[Wheel]) -> list[str]:
    """Return lines: each wheel that would be downloaded with its size, the largest first."""
    if not wheels:
        return ["would be downloaded: nothing"]
    largest_first = sorted(wheels, key=lambda wheel: (-(wheel.size or 0), wheel.name))
    sizes = ("unknown" if wheel.size is None else size_text(wheel.size) for wheel in largest_first)
    lines = [f"{size:>10}  {wheel.name} {wheel.version}" for size, wheel in zip(sizes, largest_first, strict=True)]
    return ["would be downloaded:", *lines]


def split(wheels: Iterable[Wheel], output: Path) -> dict[Path, list[Wheel]]:
    """Distribute wheels over flat folders, each within the limits of a data set: `NAME`, `NAME`-2, ..."""
    parts: list[list[Wheel]] = [[]]
    size = 0
    for wheel in wheels:
        bytes_ = wheel.size or 0
        full = len(parts[-1]) == DATASET_FILES - OWN_FILES or size + bytes_ > DATASET_BYTES
        if parts[-1] and full:
            parts.append([])
            size = 0
        parts[-1].append(wheel)
        size += bytes_
    return {output / (f"{NAME}-{number}" if number > 1 else NAME): part for number, part in enumerate(parts, 1)}


def digest(roots: Sequence[str], image: Image, ship: Sequence[str]) -> str:
    """Return a digest of everything that a lock is made from."""
    made_from = [list(roots), image.python, sorted(image.versions.items()), sorted(ship)]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]


def verify(folders: Sequence[Path], requirements: Path | None = None, python: str | None = None) -> None:
    """Raise `UserError`, which names what is wrong, unless `folders` and the image they were made for suffice.

    Without a lock in them, the wheels alone must meet `requirements` on `python` (X.Y).
    """
    lock = find_lock(folders)
    places = ", ".join(map(str, folders))
    if not folders:
        raise UserError("there are no wheels to check: name the folder that `sctir wheels` made")
    image, roots = image_of(NONE, python), []
    if lock is not None:
        check_complete(folders, lock)
        home = next(folder for folder in folders if (folder / LOCK).is_file())
        listed = (home / FREEZE).is_file() and lock.image != NONE
        image = image_of(home / FREEZE) if listed else Image(NONE, lock.python)
        roots = for_the_notebook(home / PINS)
    elif requirements is not None:
        roots = for_the_notebook(requirements)
    image = without(image, lock.ship if lock else ())
    if lacking := plan(folders, roots, image, lock).lacking:
        raise UserError(f"{places} lacks {', '.join(map(str, lacking))}: make it again with `sctir wheels`")
    try:
        _resolve_offline(folders, roots, image)
    except uv.Unresolvable as error:
        raise UserError(f"{places} is not complete for Python {image.minor}: {error}") from None


def check_complete(folders: Sequence[Path], lock: Lock) -> None:
    """Raise `UserError` unless every wheel of the lock lies in one of the folders, with its size and hash."""
    there = {path.name: path for folder in folders for path in folder.glob("*.whl")}
    broken = [wheel.file for wheel in lock.wheels if not is_complete(there.get(wheel.file, Path()), wheel)]
    if broken:
        some = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise UserError(
            f"{len(broken)} wheels are not there, or not whole: {some}: run `sctir wheels` again, it continues"
        )


def dataset_folders(folder: Path) -> list[Path]:
    """Return `folder` if it holds wheels, and the folders in it that do."""
    return [place for place in (folder, *sorted(folder.glob("*/"))) if any(place.glob("*.whl"))]


def _earlier_lock(output: Path, made_from: str) -> Lock | None:
    """The lock that an earlier run left in `output`; None if there was none."""
    path = output / NAME / LOCK
    if not path.is_file():
        # Before its lock is written, a run leaves these files at most; anything else is the user's.
        ours = {output / NAME, *(output / NAME / name for name in (FREEZE, PINS, f"{LOCK}.new"))}
        others = any(found not in ours for found in (*output.glob("*"), *output.glob(f"{NAME}/*")))
        if output.exists() and (not output.is_dir() or others):
            raise UserError(f"{output} is not empty, and holds no {NAME}/{LOCK} to go on with: choose another --output")
        return None
    lock = read_lock(path)
    if lock.of != made_from:
        made = f"{output} holds wheels for Python {lock.python} on {lock.image}, made from other requirements or another list"
        raise UserError(f"{made}: say --update to resolve again, or choose another --output")
    return lock


def _make_lock(first: Path, roots: Sequence[str], image: Image, ship: Sequence[str]) -> Lock:
    """Resolve, and write the lock after the other files: a run that was killed before has no lock, and begins again."""
    resolution = resolve(roots, image, ship=ship)
    for line in summary(resolution, image):
        log.info("%s", line)
    first.mkdir(parents=True, exist_ok=True)
    (first / FREEZE).write_text(text_of(image), encoding="utf-8")
    (first / PINS).write_text("".join(f"{root}\n" for root in resolution.roots), encoding="utf-8")
    lock = Lock(image.minor, image.name, digest(roots, image, ship), resolution.wheels, sorted(ship))
    write_lock(first / LOCK, lock)
    return lock


def _check_disk(parts: Mapping[Path, Sequence[Wheel]], output: Path) -> None:
    there = {path.name for path in output.glob("*/*.whl")}
    lacking = sum(wheel.size or 0 for wheels in parts.values() for wheel in wheels if wheel.file not in there)
    free = shutil.disk_usage(output).free
    if lacking > free:
        raise UserError(f"{lacking / 1e9:.1f} GB do not fit into {output}, {free / 1e9:.1f} GB are free: say --output")


def _move_here(folder: Path, wheels: Sequence[Wheel], output: Path) -> None:
    """Move wheels here that an earlier lock had put into another part."""
    for wheel in wheels:
        elsewhere = [path for path in _our_wheels(output) if path.name == wheel.file and path.parent != folder]
        if elsewhere and not (folder / wheel.file).exists():
            elsewhere[0].rename(folder / wheel.file)


def _remove_others(parts: Mapping[Path, Sequence[Wheel]], output: Path) -> None:
    """Remove the wheels of an earlier lock, and its parts that are not needed any more."""
    wanted = {folder / wheel.file for folder, wheels in parts.items() for wheel in wheels}
    for path in _our_wheels(output):
        if path not in wanted:
            path.unlink()
    for folder in {path.parent for path in output.glob(f"{NAME}-*/{DATASET_FILE}")} - parts.keys():
        if _is_part(folder):
            shutil.rmtree(folder)


def _our_wheels(output: Path) -> list[Path]:
    return [path for path in output.glob(f"{NAME}*/*.whl") if _is_part(path.parent)]


def _is_part(folder: Path) -> bool:
    return folder.name == NAME or folder.name.removeprefix(f"{NAME}-").isdecimal()


def _resolve_offline(folders: Sequence[Path], roots: Sequence[str], image: Image) -> None:
    """Let uv resolve from the wheels and stand-ins of the image alone. Raises `Unresolvable`."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_stand_ins(place, valid(image.versions))
        wanted = place / "roots.in"
        wanted.write_text("\n".join(roots), encoding="utf-8")
        links = [part for folder in (place, *folders) for part in ("--find-links", str(folder.resolve()))]
        arguments = [str(wanted), "-o", str(place / "found.txt"), "--offline", "--no-index", *links]
        uv.compile_(arguments, python=image.python)
