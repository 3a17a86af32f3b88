"""Whether folders of wheels hold all that is required on another Python than this one: from the wheels' own metadata.

pip cannot say it: under `--python-version` it still reads conditions (`python_version < "3.12"`) as those of the Python that
it runs on. Not covered: conflicts between versions, which pip finds, and lines of a requirements file that begin with `-`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

    House = dict[str, dict[Version, Path]]


@dataclass(frozen=True, slots=True)
class Lack:
    """A requirement that no wheel of the house meets, and what requires it."""

    requirement: str
    by: str

    def __str__(self) -> str:
        return f"{self.requirement} (for {self.by})"


def missing(folders: Sequence[Path], requirements: Path, python: str) -> list[Lack]:
    """What is required, directly or in turn, on CPython `python` for Linux on x86_64, and is not in `folders`."""
    if find_spec("packaging") is None:
        raise UserError("packaging, which reads requirements, is not installed: pip install 'sctir-kaggle[kaggle]'")
    house = _house(folders)
    environment = _environment(python)
    waiting = [(requirement, requirements.name) for requirement in _listed(requirements)]
    seen: set[tuple[str, str]] = set()
    lacking: dict[str, Lack] = {}
    while waiting:
        requirement, by = waiting.pop()
        if (str(requirement), by) in seen or not _applies(requirement, environment):
            continue
        seen.add((str(requirement), by))
        wheel = _wheel(house, requirement)
        if wheel is None:
            bare = f"{requirement.name}{requirement.specifier}"
            lacking.setdefault(bare, Lack(bare, by))
        else:
            waiting += [(each, wheel.name) for each in _needs(wheel, requirement.extras, environment)]
    return sorted(lacking.values(), key=str)


def _environment(python: str) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def _house(folders: Sequence[Path]) -> House:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    house: House = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.whl")):
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise UserError(f"{path} is no wheel ({error}): remove it") from None
        house.setdefault(name, {})[version] = path
    return house


def _listed(requirements: Path) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in requirements.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        try:
            yield Requirement(text)
        except InvalidRequirement as error:
            raise UserError(f"{requirements}: {text!r} is no requirement: {error}".splitlines()[0]) from None


def _applies(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def _wheel(house: House, requirement: Requirement) -> Path | None:
    """The newest that fits."""
    from packaging.utils import canonicalize_name

    versions = house.get(canonicalize_name(requirement.name), {})
    fitting = list(requirement.specifier.filter(versions, prereleases=True))
    return versions[max(fitting)] if fitting else None


def _needs(wheel: Path, extras: Iterable[str], environment: dict[str, str]) -> Iterator[Requirement]:
    """What the wheel requires there, with these extras; conditions are settled."""
    from packaging.requirements import Requirement

    for text in _metadata(wheel):
        requirement = Requirement(text)
        if any(_applies(requirement, environment, extra) for extra in ("", *extras)):
            requirement.marker = None
            yield requirement


def _metadata(wheel: Path) -> list[str]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            [name] = [
                name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
            ]
            return Parser().parsestr(archive.read(name).decode(), headersonly=True).get_all("Requires-Dist", [])
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel} cannot be read ({error}): download it again") from None
