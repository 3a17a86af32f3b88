"""What an image of Kaggle's holds: its Python and its distributions, of a freeze, a running kernel, or a snapshot.

`freeze` runs in a kernel without pip. Not covered: what is installed there without metadata, and editable checkouts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sctir_kaggle.types import UserError

FREEZE = "image.txt"
"""What the notebook writes beside its outputs, and `sctir wheels` beside the wheels that it made for it."""

SNAPSHOTS = Path(__file__).parent / "images"
"""Facts of public sources, each with its date; what is not known stands in their heads."""

NEWEST = ("python3.12-torch2.10", "python3.13-torch2.11")
"""The snapshot that stands for each Python, the default first: the newest release of Kaggle's that is known."""

NONE = "none"
"""Named as an image, it holds nothing: all is shipped."""

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""That wheels are made for."""

_LINE = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:===?\s*(?P<version>[^\s;]+)|@\s*(?P<place>\S+))")
_WHEEL = re.compile(r"[^/]+?-(?P<version>[^/-]+)-[^/]+\.whl")
_PYTHON = re.compile(r"^# python: *(?P<python>3\.\d+(?:\.\d+)?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """`versions` is by canonical name; `python` is X.Y or X.Y.Z."""

    name: str
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> str:
        """Its Python as X.Y."""
        return ".".join(self.python.split(".")[:2])


def canonical(name: str) -> str:
    """A distribution's name as every tool writes it down."""
    return re.sub(r"[-_.]+", "-", name).lower()


def freeze() -> str:
    """This kernel as an image's list: its Python, then a line for each installed distribution but this library."""
    python = ".".join(map(str, sys.version_info[:3]))
    lines = sorted(f"{name}=={version}\n" for name, version in installed().items() if name != "sctir-kaggle")
    return f"# python: {python}\n{''.join(lines)}"


def installed() -> dict[str, str]:
    """The distributions of this kernel. Of two with one name Python imports the first on its path."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:
            found.setdefault(canonical(name), distribution.version)
    return found


def here() -> Image:
    """This kernel."""
    return Image("this image", ".".join(map(str, sys.version_info[:3])), installed())


def image_of(named: str | Path | None, python: str | None = None) -> Image:
    """A freeze in a file, a snapshot by its name, `NONE`, or without a name the newest snapshot of that Python.

    Raises `UserError` where there is none, or where it is of another Python than `python`.
    """
    if python is not None and python not in PYTHONS:
        raise UserError(f"--python {python}: wheels are made for {', '.join(PYTHONS)}: choose one of these")
    if named is None:
        named = next((each for each in NEWEST if python in (None, _minor(each))), NONE)
    if named == NONE:
        return Image(NONE, python or _minor(NEWEST[0]))
    image = _read(_file_of(named), python)
    if python not in (None, image.minor):
        raise UserError(f"{named} is of Python {image.minor}, and --python says {python}: leave one of them out")
    return image


def text_of(image: Image) -> str:
    """The list that `image_of` reads again."""
    lines = (f"{name}=={version}\n" for name, version in sorted(image.versions.items()))
    return f"# python: {image.python}\n{''.join(lines)}"


def snapshots() -> list[str]:
    """The names of those that ship with the package."""
    return sorted(path.stem for path in SNAPSHOTS.glob("*.txt"))


def _minor(snapshot: str) -> str:
    return snapshot.partition("-")[0].removeprefix("python")


def _file_of(named: str | Path) -> Path:
    path = Path(named)
    if path.is_file():
        return path
    if str(named) in snapshots():
        return SNAPSHOTS / f"{named}.txt"
    known = ", ".join([*snapshots(), NONE])
    raise UserError(f"--image {named} is no file and none of {known}: name a file of `pip freeze`, or one of these")


def _read(path: Path, python: str | None) -> Image:
    text = path.read_text(encoding="utf-8")
    said = _PYTHON.search(text)
    versions = dict(_versions(text))
    if not versions:
        raise UserError(f"{path} lists nothing: it must hold lines of `pip freeze`, such as torch==2.10.0+cu128")
    name = path.stem if path.parent == SNAPSHOTS else str(path)
    return Image(name, said["python"] if said else python or _minor(NEWEST[0]), versions)


def _versions(text: str) -> Iterator[tuple[str, str]]:
    """Of `name==version` and of `name @ .../name-version-....whl`; what else there is has no version to go by."""
    for line in text.splitlines():
        found = _LINE.match(line.strip())
        if not found:
            continue
        wheel = _WHEEL.search(found["place"] or "")
        version = found["version"] or (wheel and wheel["version"].replace("%2B", "+"))
        if version:
            yield canonical(found["name"]), version
