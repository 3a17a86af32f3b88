"""What one snippet of the corpus does, and what must be true afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from sctir_kaggle.types import ExecutionStatus

OK, ERROR, TIMEOUT = ExecutionStatus.OK, ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT
MEMORY, OUTPUT_LIMIT, CRASH = ExecutionStatus.MEMORY, ExecutionStatus.OUTPUT_LIMIT, ExecutionStatus.CRASH

SUCCESS = "DONE"
"""What the snippets print where they got what they must not get."""

GOT_IT = f"print('{SUCCESS}', flush=True); __import__('time').sleep(100)"
"""The end of a block that is `watched`: it waits to be stopped. Its limit of time is shorter."""


@dataclass(frozen=True)
class Attack:
    """A block of a candidate of its own, and what is expected of it.

    `says` is a regular expression that must match in the output, `never` are substrings that must not be in it, and
    `exactly` is the whole of it. `then` is a later turn of the same candidate and a pattern for its output; without it
    the candidate must still have its variables, or be told that they are gone. `ruins` marks a block after which its
    own candidate may stay broken. `watched` marks one whose limit is kept by the host's looks, which come late where the
    host is busy: it may get what it must not (`never`) as long as it is stopped then. `alone` keeps other blocks from
    running beside it. `needs` names modules, or a machine, without which it means nothing.
    """

    name: str
    cls: str
    code: str
    statuses: tuple[ExecutionStatus, ...] = (OK,)
    says: str = ""
    never: tuple[str, ...] = ()
    exactly: str | None = None
    then: tuple[str, str] | None = None
    ruins: bool = False
    watched: bool = False
    alone: bool = False
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What it is called in reports; unique in its family."""
        return f"{self.cls}: {self.name}"


_ATTEMPT = """
import os, errno
def attempt(name, function, *arguments, **options):
    try:
        result = function(*arguments, **options)
    except OSError as error:
        print(name, type(error).__name__, errno.errorcode.get(error.errno, error.errno))
    except Exception as error:
        print(name, type(error).__name__, error)
    else:
        print(name, 'DONE', str(result)[:200])
"""

_CALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    numbers = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *numbers)
    print(name, 'DONE' if result != -1 else errno.errorcode.get(ctypes.get_errno(), '?'), flush=True)
"""

DENIED = r"PermissionError|EACCES|EPERM|FileNotFoundError|EROFS"


def refused(name: str, cls: str, code: str, *, says: str = DENIED, alone: bool = False) -> Attack:
    """A block of calls of `attempt(name, function, ...)`, none of which may succeed."""
    return Attack(name, cls, _ATTEMPT + code, says=says, never=(SUCCESS,), alone=alone)


def system_call(
    name: str,
    cls: str,
    code: str,
    *,
    says: str = r"\bE(PERM|ACCES|ROFS|NOENT)\b",
    statuses: tuple[ExecutionStatus, ...] = (OK,),
    alone: bool = False,
) -> Attack:
    """A block of raw system calls, `call(name, number, ...)` with the numbers of x86-64, none of which may succeed."""
    needs = ("x86_64",)
    return Attack(name, cls, _CALL + code, statuses, says=says, never=(SUCCESS,), alone=alone, needs=needs)


def hang(name: str, cls: str, code: str, *, says: str = "^before$", alone: bool = False) -> Attack:
    """A block that never ends: its time is up, and what it printed before is kept."""
    return Attack(name, cls, "print('before')\n" + code, (TIMEOUT,), says=says, alone=alone)
