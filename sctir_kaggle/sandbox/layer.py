"""A layer of the confinement, as it is reported, checked and shown."""

from __future__ import annotations

from typing import NamedTuple

LAYERS = ("limits", "namespaces", "landlock", "seccomp", "user")
SWITCHED_OFF = "switched off"


class Layer(NamedTuple):
    """One means of confinement: whether it holds (None: there is no need here), and how, or why not."""

    name: str
    active: bool | None
    detail: str
