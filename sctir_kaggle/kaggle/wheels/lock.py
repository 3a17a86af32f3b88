"""requirements.lock: the wheels that are shipped, each with its hash, size and address; pip reads it too.

Not covered: source distributions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.types import UserError

LOCK = "requirements.lock"

_HEAD = re.compile(r"^# (?P<key>python|image|ship|of): (?P<value>.*)$", re.MULTILINE)
_ENTRY = re.compile(
    r"^# (?P<file>\S+\.whl) (?P<size>\d+|-) (?P<url>\S+)\n"
    r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file to be shipped. `size` is None where the index does not say it."""

    name: str
    version: str
    file: str
    sha256: str
    url: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """`of` is a digest of all that it was made from; `ship` names what takes the place of the image's own."""

    python: str
    image: str
    of: str
    wheels: Sequence[Wheel]
    ship: Sequence[str] = ()


def write(path: Path, lock: Lock) -> None:
    """The file, in full or not at all."""
    head = [
        "# What `sctir wheels` ships; pip install --no-deps --no-index --require-hashes --find-links . -r this",
        f"# python: {lock.python}",
        f"# image: {lock.image}",
        f"# ship: {' '.join(lock.ship)}",
        f"# of: {lock.of}",
    ]
    new = path.with_name(f"{path.name}.new")
    new.write_text("\n".join([*head, *map(_entry, lock.wheels), ""]), encoding="utf-8")
    new.replace(path)


def read(path: Path) -> Lock:
    """Raises `UserError` where it is none of ours."""
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


def find(folders: Iterable[Path]) -> Lock | None:
    """The lock that lies with the wheels: a wheelhouse that was split has it in one of its folders."""
    return next((read(folder / LOCK) for folder in folders if (folder / LOCK).is_file()), None)


def _entry(wheel: Wheel) -> str:
    size = "-" if wheel.size is None else wheel.size
    return f"# {wheel.file} {size} {wheel.url}\n{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}"
