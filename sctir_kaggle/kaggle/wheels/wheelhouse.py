"""Plan which wheels of a wheelhouse are installed beside an image, from the wheels' own metadata, before pip is called.

pip itself will not do: away from Kaggle it evaluates conditions for the Python that it runs on, and at Kaggle it would replace
distributions of the image without asking. Not covered: what the image's own distributions require, and their extras; the
image is taken to be consistent.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.kaggle.wheels.image import Image, canonical, fits
from sctir_kaggle.kaggle.wheels.requirements import Lock, parsed
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

House = Mapping[str, Mapping["Version", Path]]
"""Wheels by canonical name and version."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A requirement that neither the image nor a wheel meets, what requires it, and the image's version if it has one."""

    requirement: str
    by: str
    there: str = ""

    def __str__(self) -> str:
        return f"{self.requirement} (for {self.by}{f'; the image has {self.there}' if self.there else ''})"


@dataclass(frozen=True, slots=True)
class Plan:
    """Wheels to install by canonical name, the image's versions that they replace, and what is lacking."""

    install: Mapping[str, Path]
    replaced: Mapping[str, str]
    lacking: Sequence[Lack]

    def replacements(self) -> str:
        """Return the replacements as text: `numba 0.60.0 by 0.61.2, ...`."""
        new = {name: self.install[name].name.split("-")[1] for name in self.replaced}
        return ", ".join(f"{name} {there} by {new[name]}" for name, there in sorted(self.replaced.items()))


def plan(folders: Sequence[Path], roots: Iterable[str], image: Image, lock: Lock | None = None) -> Plan:
    """Follow the requirements from `roots` on; take the image's version if it meets them all, else the newest wheel.

    With a lock, only its wheels count: others may be attached, too.
    """
    house = house_of(folders, image.python, lock)
    search = _Search(house, image, _environment(image.python))
    for root in roots:
        search.require(parsed(root, "the requirements"), "the notebook")
    search.run()
    install = {name: path for name, path in search.chosen.items() if path is not None}
    replaced = {name: image.versions[name] for name in install if name in image.versions}
    return Plan(dict(sorted(install.items())), replaced, sorted(search.lacking.values(), key=str))


def house_of(folders: Sequence[Path], python: str, lock: Lock | None = None) -> House:
    """Return the wheels for this Python, by canonical name and version."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    listed = None if lock is None else {wheel.file for wheel in lock.wheels}
    house: dict[str, dict[Version, Path]] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.whl")):
        if listed is not None and path.name not in listed:
            continue
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise UserError(f"{path} is no wheel ({error}): remove it") from None
        if fits(path.name, python):
            house.setdefault(name, {})[version] = path
    return house


@dataclass(slots=True)
class _Search:
    """A worklist without backtracking: requirements are collected by name, and a choice is made again when one is added."""

    house: House
    image: Image
    environment: dict[str, str]
    required: dict[str, list[tuple[Requirement, str]]] = field(default_factory=dict)
    chosen: dict[str, Path | None] = field(default_factory=dict)  # None is the image's own
    lacking: dict[str, Lack] = field(default_factory=dict)
    _waiting: list[str] = field(default_factory=list)
    _read: set[tuple[Path, str]] = field(default_factory=set)

    def require(self, requirement: Requirement, by: str) -> None:
        """Add a requirement if its condition holds on the image."""
        if requirement.marker is None or requirement.marker.evaluate({**self.environment, "extra": ""}):
            name = canonical(requirement.name)
            self.required.setdefault(name, []).append((requirement, by))
            self._waiting.append(name)

    def run(self) -> None:
        """Choose until no requirement waits; a wheel's own requirements are read once for each of its extras."""
        while self._waiting:
            name = self._waiting.pop()
            if not self._choose(name):
                continue
            wheel = self.chosen[name]
            extras = {extra for requirement, _ in self.required[name] for extra in requirement.extras}
            for extra in ("", *sorted(extras)):
                if wheel is not None and (wheel, extra) not in self._read:
                    self._read.add((wheel, extra))
                    self._needs(wheel, extra)

    def _choose(self, name: str) -> bool:
        """Choose what meets everything required of `name` so far, or record a lack and return False."""
        wanted = self.required[name]
        there = self.image.versions.get(name)
        if there is not None and all(
            requirement.specifier.contains(there, prereleases=True) for requirement, _ in wanted
        ):
            self.chosen[name] = None
            return True
        for version, path in sorted(self.house.get(name, {}).items(), reverse=True):
            if all(requirement.specifier.contains(version, prereleases=True) for requirement, _ in wanted):
                if not _takes(path, self.image.python):
                    continue
                self.chosen[name] = path
                return True
        # The message names a requirement that nothing meets, or else the last of those that conflict.
        requirement, by = next(((each, by) for each, by in wanted if not self._met(name, each, there)), wanted[-1])
        bare = f"{requirement.name}{requirement.specifier}"
        self.lacking.setdefault(bare, Lack(bare, by, there or ""))
        return False

    def _met(self, name: str, requirement: Requirement, there: str | None) -> bool:
        versions = [*map(str, self.house.get(name, {})), *([there] if there else [])]
        return any(requirement.specifier.contains(version, prereleases=True) for version in versions)

    def _needs(self, wheel: Path, extra: str) -> None:
        """Add what the wheel requires with this extra, evaluating the conditions for the image."""
        for text in metadata_of(wheel).get_all("Requires-Dist", []):
            requirement = parsed(text, wheel.name)
            if requirement.marker is None:
                applies = not extra
            else:
                applies = requirement.marker.evaluate({**self.environment, "extra": extra})
            if applies:
                requirement.marker = None  # it holds; `require` would evaluate it again, without the extra
                self.require(requirement, wheel.name)


def _takes(wheel: Path, python: str) -> bool:
    """Whether Requires-Python admits that Python: tags such as py3-none-any do not say it."""
    from packaging.specifiers import SpecifierSet

    full = python if python.count(".") > 1 else f"{python}.0"
    return SpecifierSet(metadata_of(wheel).get("Requires-Python", "")).contains(full, prereleases=True)


def metadata_of(wheel: Path) -> Message:
    """Return the METADATA of a wheel. Raises `UserError` if the file is damaged."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            [name] = [
                name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
            ]
            return Parser().parsestr(archive.read(name).decode(), headersonly=True)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel} cannot be read ({error}): download it again") from None


def _environment(python: str) -> dict[str, str]:
    """The values of the image for conditions such as `python_version < "3.11"` (PEP 508)."""
    full = python if python.count(".") > 1 else f"{python}.0"
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": ".".join(full.split(".")[:2]),
        "sys_platform": "linux",
    }
