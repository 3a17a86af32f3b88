"""Which wheels Kaggle's Linux takes, for any Python: tags, without asking the Python that runs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.tags import Tag

GLIBC = 35
"""Minor version of the newest glibc that a wheel may want: the image is built on Ubuntu 22.04."""

_OLD = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}


@cache
def tags_of(python: str) -> tuple[Tag, ...]:
    """What a wheel may be tagged with on CPython `python` (X.Y or X.Y.Z), the best first."""
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = map(int, python.split(".")[:2])
    platforms = list(_platforms())
    own = cpython_tags((major, minor), platforms=platforms)
    return (*own, *compatible_tags((major, minor), f"cp{major}{minor}", platforms))


def fits(wheel: str, python: str) -> bool:
    """Whether the file of this name is for that Python."""
    from packaging.utils import parse_wheel_filename

    return not parse_wheel_filename(wheel)[3].isdisjoint(tags_of(python))


def _platforms() -> list[str]:
    found = []
    for minor in range(GLIBC, 4, -1):
        found += [f"manylinux_2_{minor}_x86_64", *([_OLD[minor]] if minor in _OLD else [])]
    return [*found, "linux_x86_64"]
