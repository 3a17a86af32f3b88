"""Kaggle's image: its Python and its installed distributions, and which wheels can be installed beside them.

An image is known from its `pip freeze`, from a snapshot that ships with this package, or as the kernel that runs. Not covered:
what is installed there without metadata, and editable checkouts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.tags import Tag

FREEZE = "image.txt"
"""The list that the notebook leaves with its outputs, and `sctir wheels` with the wheels that it made for that image."""

SNAPSHOTS = Path(__file__).parent / "images"
"""Lists from public sources; the head of each says its date and what is not known."""

NEWEST = ("python3.12-torch2.10", "python3.13-torch2.11")
"""The newest known snapshot of each Python, the default first."""

NONE = "none"
"""The name of an empty image: everything is shipped."""

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""The Python versions that wheels can be made for."""

_LINE = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:===?\s*(?P<version>[^\s;]+)|@\s*(?P<place>\S+))")
_WHEEL = re.compile(r"[^/]+?-(?P<version>[^/-]+)-[^/]+\.whl")
_PYTHON = re.compile(r"^# python: *(?P<python>3\.\d+(?:\.\d+)?)", re.MULTILINE)
_BUILT_WITH_CUDA = re.compile(
    r"torch|torchvision|torchaudio|triton|cuda-(bindings|toolkit)"
    r"|nvidia-(cublas|cuda-\w+|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx)(-cu\d+)?"
)

GLIBC = 35
"""Minor version of the newest glibc 2 that a wheel may need: the image is built on Ubuntu 22.04."""

_OLD = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
"""The older names of some manylinux tags, by glibc's minor version."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its Python (X.Y or X.Y.Z) and the version of each distribution by canonical name."""

    name: str
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> str:
        """Its Python as X.Y."""
        return ".".join(self.python.split(".")[:2])


def canonical(name: str) -> str:
    """Return a distribution's name in its normalised form (PEP 503): `Flash_Attn` is `flash-attn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_protected(name: str) -> bool:
    """Whether the distribution of this canonical name is built with the image's CUDA, and so is never replaced.

    numpy or transformers are not: another version of them works with the same driver.
    """
    return _BUILT_WITH_CUDA.fullmatch(name) is not None


def freeze() -> str:
    """Return this kernel as the text that `image_of` reads: its Python, and each distribution except this library."""
    python = ".".join(map(str, sys.version_info[:3]))
    lines = sorted(f"{name}=={version}\n" for name, version in installed().items() if name != "sctir-kaggle")
    return f"# python: {python}\n{''.join(lines)}"


def installed() -> dict[str, str]:
    """Return the distributions of this kernel; of two with one name, the first on the path, which Python imports."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:
            found.setdefault(canonical(name), distribution.version)
    return found


def here() -> Image:
    """Return the image of this kernel."""
    return Image("this image", ".".join(map(str, sys.version_info[:3])), installed())


def image_of(named: str | Path | None, python: str | None = None) -> Image:
    """Return the image of a `pip freeze` in a file, of a snapshot, or `NONE`; without a name, the newest snapshot.

    Raises `UserError` if there is none, or if it has another Python than `python` (X.Y).
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
    """Return the image as the text that `image_of` reads."""
    lines = (f"{name}=={version}\n" for name, version in sorted(image.versions.items()))
    return f"# python: {image.python}\n{''.join(lines)}"


def snapshots() -> list[str]:
    """Return the names of the snapshots that ship with the package."""
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
    """Name and version of `name==version` and of `name @ .../name-version-....whl`; other lines have no version."""
    for line in text.splitlines():
        found = _LINE.match(line.strip())
        if not found:
            continue
        wheel = _WHEEL.search(found["place"] or "")
        version = found["version"] or (wheel and wheel["version"].replace("%2B", "+"))
        if version:
            yield canonical(found["name"]), version


@cache
def tags_of(python: str) -> tuple[Tag, ...]:
    """Return the tags of wheels that CPython `python` (X.Y or X.Y.Z) installs on Kaggle's Linux, the best first."""
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = map(int, python.split(".")[:2])
    platforms = []
    for glibc in range(GLIBC, 4, -1):
        platforms += [f"manylinux_2_{glibc}_x86_64", *([_OLD[glibc]] if glibc in _OLD else [])]
    platforms.append("linux_x86_64")
    own = cpython_tags((major, minor), platforms=platforms)
    return (*own, *compatible_tags((major, minor), f"cp{major}{minor}", platforms))


def fits(wheel: str, python: str) -> bool:
    """Whether the wheel of this file name is for that Python and Kaggle's Linux."""
    from packaging.utils import parse_wheel_filename

    return not parse_wheel_filename(wheel)[3].isdisjoint(tags_of(python))
