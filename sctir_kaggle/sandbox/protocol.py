"""What host, zygote and child must agree on: descriptors, bytes of the control socket, and the names of the layers."""

from __future__ import annotations

import struct
from typing import NamedTuple

CHANNEL = 3
"""The child's descriptor for requests and replies. 0 is empty, 1 and 2 are the output pipe, all others are closed."""

CHILD_PLEASE = b"c"
"""The byte with which the host asks the zygote for a child."""

ANSWER = struct.Struct("!q")
"""The zygote's answer to it: the child's number, or minus the errno with which the fork failed."""

ENDED = struct.Struct("!Ii")
"""What the zygote writes to a child's channel after its end: ENDED_MARK, which is the length of no frame, and the exit code
(negative: the signal)."""

ENDED_MARK = (1 << 32) - 1

RUINED = 99
"""The exit code of a child whose driver fails after it was confined: the block broke something that it needs."""

TOKEN_BYTES = 16
"""A request ends with so many random bytes, and its reply must begin with them."""

LAYERS = ("limits", "namespaces", "landlock", "view", "seccomp", "user")
"""The layers of confinement by name; `confinement` says what each holds."""

SWITCHED_OFF = "switched off"
"""The detail of a layer that the caller did without."""


class Layer(NamedTuple):
    """A layer of confinement on this machine.

    `active` is None where it is not needed (a user id of its own where nothing runs as root, a view where there is
    Landlock). `detail` says how it holds, or why it does not.
    """

    name: str
    active: bool | None
    detail: str
