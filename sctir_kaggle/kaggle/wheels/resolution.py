"""Resolve which wheels must be shipped to an image: what is required and not there, with as few replacements as possible.

uv resolves, with stand-ins (wheels without content) for the image's distributions. Distributions built with the image's CUDA
are never replaced unless they are shipped on purpose. Of the others the image's version is kept wherever it meets the
requirements.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sctir_kaggle.kaggle.transfer import LOG_SECONDS, size_text
from sctir_kaggle.kaggle.wheels import uv
from sctir_kaggle.kaggle.wheels.download import size_at, without_login
from sctir_kaggle.kaggle.wheels.image import NONE, Image, canonical, is_protected, tags_of
from sctir_kaggle.kaggle.wheels.requirements import Wheel
from sctir_kaggle.kinds import read_toml
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


log = logging.getLogger("sctir_kaggle")

_PIN = re.compile(r"^(?P<name>[\w.-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)

FOUND = "found.txt"
"""The file that uv writes beside the stand-ins."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The result of `resolve`."""

    roots: Sequence[str]
    """The requirements as they were met: without a version where the image's own replaces a pin."""

    wheels: Sequence[Wheel]
    kept: Mapping[str, str]
    """Distributions of the image that are needed and stay, with their version."""

    replaced: Mapping[str, str]
    """Distributions of the image that a wheel replaces, with the image's version."""

    @property
    def bytes(self) -> int:
        """Bytes of all wheels whose size the index says."""
        return sum(wheel.size or 0 for wheel in self.wheels)


def resolve(roots: Sequence[str], image: Image, *, ship: Sequence[str] = ()) -> Resolution:
    """Resolve `roots` beside the image. Raises `UserError`, with both versions and what to do, if they conflict with it."""
    whole, image = image, without(image, ship)
    beside = f" beside the {len(image.versions)} distributions of {image.name}" if image.versions else ""
    log.info("resolving %d requirements for Python %s%s", len(roots), image.minor, beside)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_stand_ins(place, valid(image.versions))
        try:
            met, pins = _met(roots, image, place)
        except uv.Unresolvable as error:
            raise UserError(_explained(error, roots, image, place)) from None
        wheels = wheels_of([f"{name}=={version}" for name, version in _shipped(pins, image).items()], image, place)
    there = {name: whole.versions[name] for name in pins if name in whole.versions}
    return Resolution(
        roots=met,
        wheels=wheels,
        kept={name: version for name, version in there.items() if pins[name] == version},
        replaced={name: version for name, version in there.items() if pins[name] != version},
    )


def without(image: Image, ship: Iterable[str]) -> Image:
    """Return the image without what is shipped in its place; `torch` stands for everything built with CUDA."""
    named = {canonical(name) for name in ship}
    if image.versions and (unknown := named - image.versions.keys() - {"torch"}):
        raise UserError(
            f"--ship {', '.join(sorted(unknown))}: {image.name} does not have it, and what it lacks is shipped anyhow"
        )

    def stays(name: str) -> bool:
        return name not in named and not ("torch" in named and is_protected(name))

    return replace(image, versions={name: version for name, version in image.versions.items() if stays(name)})


def valid(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the distributions with a valid version (PEP 440): a resolver refuses others."""
    from packaging.version import InvalidVersion, Version

    def is_one(version: str) -> bool:
        try:
            return bool(Version(version))
        except InvalidVersion:
            return False

    return {name: version for name, version in versions.items() if is_one(version)}


def wheels_of(pins: Sequence[str], image: Image, place: Path) -> list[Wheel]:
    """Return a wheel for each of `pins` (name==version), with URL and hash: the one that fits the image best."""
    if not pins:
        return []
    wanted, lock = place / "pins.in", place / "pylock.toml"
    wanted.write_text("\n".join(pins), encoding="utf-8")
    arguments = [str(wanted), "--no-deps", "--format", "pylock.toml", "-o", str(lock), *uv.index()]
    uv.compile_(arguments, python=image.python)
    packages = read_toml(lock).get("packages", [])
    log.info(
        "choosing among the wheels of %d distributions, and asking for sizes that the index leaves out", len(packages)
    )
    found: list[Wheel] = []
    said = time.monotonic()
    for package in packages:
        found.append(_wheel(package, image.minor, lock))
        if time.monotonic() - said > LOG_SECONDS:  # one request for each size: a slow index takes minutes
            said = time.monotonic()
            log.info(
                "%d of %d wheels, %s so far", len(found), len(packages), size_text(sum(w.size or 0 for w in found))
            )
    return found


def _met(roots: Sequence[str], image: Image, place: Path) -> tuple[list[str], dict[str, str]]:
    """The requirements and every distribution's version: the image's version replaces a pin wherever that resolves."""
    loose = [_loosened(root, image) for root in roots]
    # First without the pins that exclude the image's version: where uv then keeps that version, the pin is not needed.
    pins = _compile(loose, image, place)
    tight = [
        root if loosened != root and pins.get(name := _name(root)) != image.versions.get(name) else loosened
        for root, loosened in zip(roots, loose, strict=True)
    ]
    return tight, _fewest_replaced(tight, pins if tight == loose else _compile(tight, image, place), image, place)


def _fewest_replaced(roots: Sequence[str], pins: dict[str, str], image: Image, place: Path) -> dict[str, str]:
    """Hold the image's versions one by one: a stand-in does not say which versions other distributions of the image need."""
    held: list[str] = []
    for name in sorted(name for name in pins if name in image.versions and image.versions[name] != pins[name]):
        log.info("can %s %s of the image stay, in the place of %s?", name, image.versions[name], pins[name])
        try:
            pins = _compile(roots, image, place, [*held, name])
        except uv.Unresolvable:
            continue
        held.append(name)
    return pins


def _compile(roots: Sequence[str], image: Image, place: Path, held: Sequence[str] = ()) -> dict[str, str]:
    """Every distribution's version. uv prefers the versions that its output file already holds: here, the image's."""
    versions = valid(image.versions)
    wanted, fixed, found = (place / name for name in ("roots.in", "fixed.in", FOUND))
    wanted.write_text("\n".join(roots), encoding="utf-8")
    fast = {name: version for name, version in versions.items() if is_protected(name) or name in held}
    fixed.write_text("".join(f"{name}=={version}\n" for name, version in fast.items()), encoding="utf-8")
    found.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
    arguments = [str(wanted), "-c", str(fixed), "-o", str(found), "--find-links", str(place), *uv.index()]
    uv.compile_(arguments, python=image.python)
    pins = _PIN.finditer(found.read_text(encoding="utf-8"))
    return {canonical(pin["name"]): pin["version"] for pin in pins}


def _shipped(pins: Mapping[str, str], image: Image) -> dict[str, str]:
    return {name: version for name, version in pins.items() if image.versions.get(name) != version}


def _loosened(root: str, image: Image) -> str:
    """The requirement without its specifier if that excludes the image's version."""
    requirement = _requirement(root)
    there = image.versions.get(canonical(requirement.name))
    if there is None or requirement.specifier.contains(there, prereleases=True):
        return root
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras}{marker}"


def _name(root: str) -> str:
    return canonical(_requirement(root).name)


def _requirement(root: str) -> Requirement:
    from packaging.requirements import Requirement

    return Requirement(root)


def _wheel(package: Mapping[str, Any], python: str, lock: Path) -> Wheel:
    """The wheel of a package that pip would take: of those that uv lists, the one whose tags come first."""
    from packaging.utils import parse_wheel_filename

    order = {tag: number for number, tag in enumerate(tags_of(python))}

    def rank(listed: Mapping[str, Any]) -> int:
        return min((order[tag] for tag in parse_wheel_filename(_file(listed))[3] if tag in order), default=len(order))

    listed = min(package.get("wheels", []), key=rank, default=None)
    if listed is None or rank(listed) == len(order):
        raise UserError(f"{package['name']} {package.get('version')} has no wheel for Python {python}: pin another one")
    place = listed.get("url") or (lock.parent / listed["path"]).resolve().as_uri()
    sha256 = listed.get("hashes", {}).get("sha256")
    if not sha256:
        raise UserError(f"{_file(listed)} has no sha256 in its index: take another index, or a newer uv")
    size = listed.get("size") or size_at(place)
    return Wheel(package["name"], package["version"], _file(listed), sha256, without_login(place), size)


def _file(listed: Mapping[str, Any]) -> str:
    return str(listed.get("name") or unquote(urlsplit(listed.get("url") or listed["path"]).path).rpartition("/")[2])


def _explained(error: uv.Unresolvable, roots: Sequence[str], image: Image, place: Path) -> str:
    """Which requirement wants what in place of the image's, what shipping that costs, and what fits; else uv's own words."""
    shipped = without(image, ["torch"])
    with tempfile.TemporaryDirectory() as folder:
        free = Path(folder)
        write_stand_ins(free, valid(shipped.versions))
        try:
            _, pins = _met(roots, shipped, free)
        except uv.Unresolvable:
            pins = {}
        by = wanted_by((free / FOUND).read_text(encoding="utf-8"))
    other = sorted((name for name in pins if _is_other(name, pins, image)), key=lambda name: (name != "torch", name))
    if not other:
        where = f"Python {image.minor}" if image.name == NONE else f"{image.name} (Python {image.minor})"
        return f"no wheels for {where}: {error}"
    name, wanters = other[0], by.get(other[0], [])
    wanter = next((each for each in map(_name, roots) if each in wanters), wanters[0] if wanters else "")
    subject = f"{wanter} {pins.get(wanter, '')}" if wanter else "what is required"
    conflict = f"{subject} wants {name} {pins[name]}, and {image.name} has {image.versions[name]}"
    fits = _fitting(wanter, roots, image, place) if wanter else ""
    remedy = f"take one that fits (--pin {fits})" if fits else f"pin another {wanter or 'version'}"
    return f"{conflict}: {remedy}, or ship torch (--ship torch, {_cost(roots, image)})"


def wanted_by(compiled: str) -> dict[str, list[str]]:
    """By name, the distributions that a line's comment (`# via`) gives."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in compiled.splitlines():
        if pin := _PIN.match(line):
            name = canonical(pin["name"])
        elif name and (via := line.strip().removeprefix("#").strip().removeprefix("via").strip()) and via[0] != "-":
            found.setdefault(name, []).append(canonical(via))
    return found


def _is_other(name: str, pins: Mapping[str, str], image: Image) -> bool:
    """Whether a protected distribution of the image is wanted in another version, leaving local builds aside."""
    there = image.versions.get(name, "")
    return is_protected(name) and there != "" and there.partition("+")[0] != pins[name].partition("+")[0]


def _fitting(name: str, roots: Sequence[str], image: Image, place: Path) -> str:
    """The newest version of `name` that resolves beside the image."""
    try:
        _, pins = _met([name if _name(root) == name else root for root in roots], image, place)
    except uv.Unresolvable:
        return ""
    return f"{name}=={pins[name]}" if name in pins else ""


def _cost(roots: Sequence[str], image: Image) -> str:
    try:
        found = resolve(roots, image, ship=["torch"])
    except UserError:
        return "which does not resolve either"
    return f"{found.bytes / 1e9:.1f} GB in all"


def write_stand_ins(folder: Path, versions: Mapping[str, str]) -> None:
    """Write a wheel without content or requirements for each distribution: with them uv sees the image as an index."""
    for canonical_name, version in versions.items():
        name = canonical_name.replace("-", "_")
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
