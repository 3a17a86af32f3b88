"""A process that removes the folders of dead children, so that nobody waits for the disk.

A folder can hold tens of thousands of entries before its block is stopped, and a disk that is busy removes some hundreds
a second. The zygote starts this process before it warms up; it is small, of lower priority, and ends with the zygote.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.folder import remove

_NUMBER = struct.Struct("!Q")
_NICENESS = 10


class Remover:
    """The process, as the zygote sees it: takes the numbers of folders below `folder`. Never blocks.

    `pid` is None where none could be forked: then folders stay until the zygote ends, as do those that it cannot take.
    """

    def __init__(self, folder: str) -> None:
        self.pid: int | None = None
        self._backlog = bytearray()
        numbers, self._numbers = os.pipe()
        os.set_blocking(self._numbers, False)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(numbers)
            return
        if pid == 0:
            try:
                _serve(folder, numbers, parent)
            finally:
                os._exit(0)
        self.pid = pid
        os.close(numbers)

    def remove(self, number: int) -> None:
        """Have the folder of that number removed, some time. What the pipe does not hold yet is sent the next time."""
        self._backlog += _NUMBER.pack(number)
        with contextlib.suppress(
            OSError
        ):  # full, or there is nobody: whole numbers, since a pipe takes 4 KiB or nothing
            while self._backlog:
                del self._backlog[: os.write(self._numbers, self._backlog[:4096])]

    def end(self) -> None:
        """Kill it and wait for it: what is left is the caller's."""
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


def _serve(folder: str, numbers: int, parent: int) -> None:
    """In the fork: remove what is asked for, until the zygote is gone."""
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.dup2(numbers, 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the host must see the end of its sockets when the zygote ends
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    while len(data := os.read(0, _NUMBER.size)) == _NUMBER.size:
        remove(f"{folder}/{_NUMBER.unpack(data)[0]}")
