"""What host, zygote and child say to each other besides frames of JSON."""

from __future__ import annotations

from typing import NamedTuple

CHANNEL = 3
"""The child's descriptor for requests and replies; 0 is empty, 1 and 2 are the output pipe, all others are closed."""

CHILD_PLEASE = b"c"
NO_CHILD = (1 << 64) - 1
"""The zygote's answer in place of a child's number where it cannot fork one."""

TOKEN_BYTES = 16
"""A request ends with as many random bytes, and its reply begins with them."""


LAYERS = ("limits", "namespaces", "landlock", "seccomp", "user")
SWITCHED_OFF = "switched off"


class Layer(NamedTuple):
    """One means of confinement: whether it holds (None: there is no need here), and how, or why not."""

    name: str
    active: bool | None
    detail: str
