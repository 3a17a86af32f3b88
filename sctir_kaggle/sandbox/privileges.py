"""An unprivileged user id for every child where the zygote is root, and no capabilities in any case.

A user id of its own keeps a child from the files and processes of everyone else, and makes RLIMIT_NPROC count: that
limit does not bind user id 0. See credentials(7) and capabilities(7).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sysconfig

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.folder import remove

FIRST_USER = 1_500_000_000  # far above what people, services and containers are given
USERS = 100_000
"""Of one zygote; each zygote has a range of its own, or the limit on threads would count those of another's children."""
_RANGES = 20_000
_READ_ALL = 1 << kernel.CAP_DAC_READ_SEARCH


class Unprivileged:
    """How children become somebody else; decided once, by trying it in a fork."""

    def __init__(self, folder: str, *, confined_files: bool) -> None:
        """PermissionError, with the reason, where children have to stay root. It is tried out beneath `folder`.

        Python may lie where only root can read, as in /root. If the file view of `landlock` holds, a child may then
        keep the one capability that ignores read permissions.
        """
        self.capabilities, self._first = 0, FIRST_USER + secrets.randbelow(_RANGES) * USERS
        if self._works(folder):
            return
        self.capabilities = _READ_ALL
        if not confined_files or not self._works(folder):
            raise PermissionError("another user could not read this Python, or user ids cannot be changed")

    def enter(self, number: int, folder: str) -> None:
        """Become the user of the child of that number, for ever, and take the folder along."""
        user = self._first + number % USERS
        os.chown(folder, user, user)
        become(user, self.capabilities)

    def __str__(self) -> str:
        return "a user id for each child" + (", that may read what root can" if self.capabilities else "")

    def _works(self, folder: str) -> bool:
        """Whether a process that became another user can read Python and write to its folder."""
        probe = f"{folder}/probe"
        os.mkdir(probe, 0o700)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                self.enter(USERS - 1, probe)
                for kind in ("stdlib", "purelib"):
                    os.listdir(sysconfig.get_paths()[kind])
                os.mkdir(f"{probe}/inner")
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        remove(probe)
        return status == 0


def become(user: int, capabilities: int) -> None:
    """Change all user and group ids to `user`, and keep only the capabilities of that bit mask."""
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1 if capabilities else 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.keep_capabilities(capabilities)
