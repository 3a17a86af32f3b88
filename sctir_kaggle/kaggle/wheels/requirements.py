"""The two lists that lie with the wheels: requirements.txt, what is asked for, and requirements.lock, the wheels that meet it.

`sctir wheels` reads the checkout's requirements.txt; a line that ends in `# at home` is not for the notebook. The lock holds
hash, size and URL of each wheel, and pip can read it, too. Not covered: lines that begin with `-`, and source distributions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.kaggle.wheels.image import canonical
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PINS = "requirements.txt"

LOCK = "requirements.lock"

HOME = "at home"
"""The comment of a line that is installed on a laptop and is of no use in a notebook without a network."""

_HEAD = re.compile(r"^# (?P<key>python|image|ship|of): (?P<value>.*)$", re.MULTILINE)
_ENTRY = re.compile(
    r"^# (?P<file>\S+\.whl) (?P<size>\d+|-) (?P<url>\S+)\n"
    r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$",
    re.MULTILINE,
)


def for_the_notebook(path: Path, pins: Iterable[str] = ()) -> list[str]:
    """Return the notebook's requirements; each of `pins` (NAME==VERSION) replaces the line of that name.

    Raises `UserError` if the file is missing, or if a pin pins nothing or nothing that the file names.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file of requirements with --requirements")
    listed = [parsed(text, str(path)) for text in _notebook_lines(path.read_text(encoding="utf-8"))]
    pinned = {canonical(made.name): made for made in (parsed(pin, "--pin") for pin in pins)}
    if loose := [str(made) for made in pinned.values() if not made.specifier]:
        raise UserError(f"--pin {loose[0]} pins nothing: write --pin {loose[0]}==VERSION")
    if unknown := pinned.keys() - {canonical(made.name) for made in listed}:
        raise UserError(f"--pin {', '.join(sorted(unknown))}: {path} names none such for the notebook: add it there")
    return [str(pinned.get(canonical(made.name), made)) for made in listed]


def parsed(text: str, where: str) -> Requirement:
    """Parse one requirement. Raises `UserError`, which begins with `where`."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        raise UserError(
            "packaging, which reads requirements, is not installed: pip install 'sctir-kaggle[kaggle]'"
        ) from None
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UserError(f"{where}: {text!r} is no requirement: {error}".splitlines()[0]) from None


def _notebook_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        requirement, _, comment = line.partition("#")
        if requirement.strip() and not requirement.strip().startswith("-") and comment.strip() != HOME:
            yield requirement.strip()


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that is shipped; `size` in bytes is None if the index does not say it."""

    name: str
    version: str
    file: str
    sha256: str
    url: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """All wheels that are shipped to an image with this Python (X.Y)."""

    python: str
    image: str
    """The image's name, see `Image`."""

    of: str
    """A digest of everything that the lock was made from."""

    wheels: Sequence[Wheel]
    ship: Sequence[str] = ()
    """Distributions that are shipped although the image has them."""


def write_lock(path: Path, lock: Lock) -> None:
    """Write the lock in one step, so that half a lock is never read."""
    head = [
        "# What `sctir wheels` ships; pip install --no-deps --no-index --require-hashes --find-links . -r this",
        f"# python: {lock.python}",
        f"# image: {lock.image}",
        f"# ship: {' '.join(lock.ship)}",
        f"# of: {lock.of}",
    ]
    entries = [
        f"# {wheel.file} {'-' if wheel.size is None else wheel.size} {wheel.url}\n"
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}"
        for wheel in lock.wheels
    ]
    new = path.with_name(f"{path.name}.new")
    new.write_text("\n".join([*head, *entries, ""]), encoding="utf-8")
    new.replace(path)


def read_lock(path: Path) -> Lock:
    """Read a lock of `write_lock`. Raises `UserError` if it is none."""
    text = path.read_text(encoding="utf-8")
    head = {found["key"]: found["value"].strip() for found in _HEAD.finditer(text)}
    if not {"python", "image", "of"} <= head.keys():
        raise UserError(f"{path} is no lock of `sctir wheels`: delete it, and make the wheels again")
    wheels = [
        Wheel(
            name=found["name"],
            version=found["version"],
            file=found["file"],
            sha256=found["sha256"],
            url=found["url"],
            size=None if found["size"] == "-" else int(found["size"]),
        )
        for found in _ENTRY.finditer(text)
    ]
    return Lock(head["python"], head["image"], head["of"], wheels, head.get("ship", "").split())


def find_lock(folders: Iterable[Path]) -> Lock | None:
    """Return the lock that lies with the wheels: a wheelhouse in several folders has it in one of them."""
    return next((read_lock(folder / LOCK) for folder in folders if (folder / LOCK).is_file()), None)
