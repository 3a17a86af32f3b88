"""The offline wheelhouse: what Kaggle's image lacks of what the notebook installs, in folders that become datasets.

uv resolves it once, into a lock; run again, it goes on with that lock where it stopped. Not covered: packages that have no
wheel, whether a wheel runs there, and what an image that is only known by a snapshot really holds.
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

from sctir_kaggle.kaggle.folders import DATASET_FILE
from sctir_kaggle.kaggle.metadata import OWNER
from sctir_kaggle.kaggle.wheels import lock as locks
from sctir_kaggle.kaggle.wheels import requirements as listed
from sctir_kaggle.kaggle.wheels import resolution, uv
from sctir_kaggle.kaggle.wheels.download import fetch, is_whole
from sctir_kaggle.kaggle.wheels.image import FREEZE, NONE, Image, image_of, text_of
from sctir_kaggle.kaggle.wheels.lock import LOCK, Lock, Wheel
from sctir_kaggle.kaggle.wheels.requirements import PINS
from sctir_kaggle.kaggle.wheels.resolution import Resolution, resolve, valid, without
from sctir_kaggle.kaggle.wheels.wheelhouse import plan
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")

FILES = 50
"""Of one dataset, at its top level: kaggle.com/docs/datasets, technical specifications."""

OWN_FILES = 4
"""Of these, in the first one: lock, requirements, the image's list, and the dataset's metadata."""

BYTES = 200 * 10**9
"""Of one dataset: the same page."""

NAME = "sctir-wheels"
"""Of the first dataset; a number follows from the second on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the wheels are for. `image` is as `image_of` reads it, `pins` take the place of lines of `requirements`."""

    requirements: Path = Path(PINS)
    image: str | Path | None = None
    python: str | None = None
    ship: Sequence[str] = ()
    pins: Sequence[str] = ()

    def roots(self) -> list[str]:
        """The notebook's requirements."""
        return listed.for_the_notebook(self.requirements, self.pins)

    def on(self) -> Image:
        """The image."""
        return image_of(self.image, self.python)


def make(wanted: Wanted, output: Path, *, owner: str | None = None, update: bool = False) -> list[Path]:
    """Resolves, downloads, splits and checks; returns the dataset folders below `output`. Run again, it goes on.

    Raises `UserError` where `output` holds something else, or wheels that were made from something else (unless `update`).
    """
    roots, image = wanted.roots(), wanted.on()
    first = output / NAME
    lock = None if update else _begun(output, digest(roots, image, wanted.ship))
    if lock is None:
        lock = _begin(first, roots, image, wanted.ship)
    else:
        log.info("going on with %s", first / LOCK)
    parts = split(lock.wheels, output)
    _room(parts, output)
    for folder, wheels in parts.items():
        _describe(folder, owner or OWNER)
        _adopt(folder, wheels, output)
    _leave_only(parts, output)
    fetch({folder / wheel.file: wheel for folder, wheels in parts.items() for wheel in wheels}, output / ".partial")
    verify(list(parts))
    return list(parts)


def look(wanted: Wanted) -> Resolution:
    """What would be shipped; nothing is kept."""
    return resolve(wanted.roots(), wanted.on(), ship=wanted.ship)


def told(resolution: Resolution, image: Image) -> list[str]:
    """In lines: what is shipped, what the image has, what is replaced there."""
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


def digest(roots: Sequence[str], image: Image, ship: Sequence[str]) -> str:
    """Of all that a lock is made from."""
    made_from = [list(roots), image.python, sorted(image.versions.items()), sorted(ship)]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]


def split(wheels: Iterable[Wheel], output: Path) -> dict[Path, list[Wheel]]:
    """Folders within a dataset's limits: `NAME`, `NAME`-2, ..., each flat."""
    parts: list[list[Wheel]] = [[]]
    size = 0
    for wheel in wheels:
        bytes_ = wheel.size or 0
        full = len(parts[-1]) == FILES - OWN_FILES or size + bytes_ > BYTES
        if parts[-1] and full:
            parts.append([])
            size = 0
        parts[-1].append(wheel)
        size += bytes_
    return {output / (f"{NAME}-{number}" if number > 1 else NAME): part for number, part in enumerate(parts, 1)}


def verify(folders: Sequence[Path], requirements: Path | None = None, python: str | None = None) -> None:
    """Raises `UserError`, which names what is wrong, unless `folders` and the image they were made for suffice.

    Without a lock beside them the wheels alone must meet `requirements` on `python`.
    """
    lock = locks.find(folders)
    places = ", ".join(map(str, folders))
    if not folders:
        raise UserError("there are no wheels to check: name the folder that `sctir wheels` made")
    image, roots = image_of(NONE, python), []
    if lock is not None:
        check_whole(folders, lock)
        home = next(folder for folder in folders if (folder / LOCK).is_file())
        image = _listed_image(home, lock)
        requirements = requirements if requirements and requirements.is_file() else home / PINS
    if requirements is not None:
        roots = listed.for_the_notebook(requirements if lock is None else home / PINS)
    image = without(image, lock.ship if lock else ())
    if lacking := plan(folders, roots, image, lock).lacking:
        raise UserError(f"{places} lacks {', '.join(map(str, lacking))}: make it again with `sctir wheels`")
    try:
        _resolved_offline(folders, roots, image)
    except uv.Unresolvable as error:
        raise UserError(f"{places} is not complete for Python {image.minor}: {error}") from None


def dataset_folders(folder: Path) -> list[Path]:
    """`folder` itself where it holds wheels, else those in it that do."""
    return [place for place in (folder, *sorted(folder.glob("*/"))) if any(place.glob("*.whl"))]


def _begun(output: Path, made_from: str) -> Lock | None:
    """The lock that an earlier run left in `output`."""
    path = output / NAME / LOCK
    if not path.is_file():
        if output.exists() and (not output.is_dir() or _holds_more(output)):
            raise UserError(f"{output} is not empty, and holds no {NAME}/{LOCK} to go on with: choose another --output")
        return None
    lock = locks.read(path)
    if lock.of != made_from:
        made = f"{output} holds wheels for Python {lock.python} on {lock.image}, made from other requirements or another list"
        raise UserError(f"{made}: say --update to resolve again, or choose another --output")
    return lock


def _holds_more(output: Path) -> bool:
    """Than a run leaves that was killed before its lock was written."""
    ours = {output / NAME, *(output / NAME / name for name in (FREEZE, PINS, f"{LOCK}.new"))}
    return any(path not in ours for path in (*output.glob("*"), *output.glob(f"{NAME}/*")))


def _begin(first: Path, roots: Sequence[str], image: Image, ship: Sequence[str]) -> Lock:
    """Resolves, and writes the lock last: while it is not there, nothing was begun."""
    resolution = resolve(roots, image, ship=ship)
    for line in told(resolution, image):
        log.info("%s", line)
    first.mkdir(parents=True, exist_ok=True)
    (first / FREEZE).write_text(text_of(image), encoding="utf-8")
    (first / PINS).write_text("".join(f"{root}\n" for root in resolution.roots), encoding="utf-8")
    lock = Lock(image.minor, image.name, digest(roots, image, ship), resolution.wheels, sorted(ship))
    locks.write(first / LOCK, lock)
    return lock


def _room(parts: Mapping[Path, Sequence[Wheel]], output: Path) -> None:
    there = {path.name for path in output.glob("*/*.whl")}
    lacking = sum(wheel.size or 0 for wheels in parts.values() for wheel in wheels if wheel.file not in there)
    free = shutil.disk_usage(output).free
    if lacking > free:
        raise UserError(f"{lacking / 1e9:.1f} GB do not fit into {output}, {free / 1e9:.1f} GB are free: say --output")


def _describe(folder: Path, owner: str) -> None:
    folder.mkdir(exist_ok=True)
    document = {"title": folder.name.replace("-", " "), "id": f"{owner}/{folder.name}", "licenses": [{"name": "other"}]}
    (folder / DATASET_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _adopt(folder: Path, wheels: Sequence[Wheel], output: Path) -> None:
    """A wheel that an earlier lock had put into another part is moved."""
    for wheel in wheels:
        elsewhere = [path for path in _own(output) if path.name == wheel.file and path.parent != folder]
        if elsewhere and not (folder / wheel.file).exists():
            elsewhere[0].rename(folder / wheel.file)


def _leave_only(parts: Mapping[Path, Sequence[Wheel]], output: Path) -> None:
    """Wheels of an earlier lock go, and folders that are left empty with them."""
    wanted = {folder / wheel.file for folder, wheels in parts.items() for wheel in wheels}
    for path in _own(output):
        if path not in wanted:
            path.unlink()
    for folder in {path.parent for path in output.glob(f"{NAME}-*/{DATASET_FILE}")} - parts.keys():
        if _is_own(folder):
            shutil.rmtree(folder)


def _own(output: Path) -> list[Path]:
    return [path for path in output.glob(f"{NAME}*/*.whl") if _is_own(path.parent)]


def _is_own(folder: Path) -> bool:
    return folder.name == NAME or folder.name.removeprefix(f"{NAME}-").isdecimal()


def check_whole(folders: Sequence[Path], lock: Lock) -> None:
    """Raises `UserError` unless every wheel of the lock lies in one of the folders with its size and hash."""
    there = {path.name: path for folder in folders for path in folder.glob("*.whl")}
    broken = [wheel.file for wheel in lock.wheels if not is_whole(there.get(wheel.file, Path()), wheel)]
    if broken:
        some = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise UserError(
            f"{len(broken)} wheels are not there, or not whole: {some}: run `sctir wheels` again, it goes on"
        )


def _listed_image(home: Path, lock: Lock) -> Image:
    path = home / FREEZE
    empty = not path.is_file() or lock.image == NONE
    return Image(NONE, lock.python) if empty else image_of(path)


def _resolved_offline(folders: Sequence[Path], roots: Sequence[str], image: Image) -> None:
    """A resolver takes the wheels and stand-ins of the image, and nothing else."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        resolution.write(place, valid(image.versions))
        wanted = place / "roots.in"
        wanted.write_text("\n".join(roots), encoding="utf-8")
        links = [part for folder in (place, *folders) for part in ("--find-links", str(folder.resolve()))]
        arguments = [str(wanted), "-o", str(place / "found.txt"), "--offline", "--no-index", *links]
        uv.compile_(arguments, python=image.python)
