"""The one constant line that tells a model which limit its code met, beside the exception that Python raised."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from sctir_kaggle.sandbox import limits

_BY_NUMBER = {
    errno.EPERM: "Note: new processes and changes to the system are not allowed here.",
    errno.ENETDOWN: "Note: there is no network here.",
    errno.EACCES: "Note: only Python's own files can be read, and only the working folder can be written here.",
    errno.EROFS: "Note: files cannot be written here.",
    errno.EFBIG: f"Note: a file can have at most {limits.FILE_MB} MB here.",
    errno.EMFILE: f"Note: at most {limits.OPEN_FILES} files can be open here.",
}
_THREADS = "Note: no more threads can be started here.\n"
_CHAIN = 5


def hint(error: BaseException) -> str:
    """The line for a limit that caused the exception, or one of those that led to it; else nothing."""
    with contextlib.suppress(BaseException):  # an exception of the block's own making can do anything
        return next(filter(None, map(_line, _causes(error))), "")
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: object = error
    for _ in range(_CHAIN):
        if not isinstance(link, BaseException):
            return
        yield link
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        of_the_system = error.errno == errno.EACCES and error.filename is None  # as of a semaphore
        return _BY_NUMBER[errno.EPERM if of_the_system else error.errno] + "\n"
    return _THREADS if isinstance(error, RuntimeError) and error.args == ("can't start new thread",) else ""
