"""Format an exception for the model: its own lines, no paths of the machine, a bounded message, and a hint.

A hint says in a line which limit of the sandbox was met, so that the model tries another way and not the same again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import traceback
from collections.abc import Iterator

from sctir_kaggle.sandbox import limits

LINE_LIMIT = 300
"""Characters of a source line that are shown."""

MESSAGE_LIMIT = 3000
"""Characters of an exception line that are shown; the middle of a longer one is left out."""

LAST_FRAMES = 4
"""Innermost frames of a long traceback that are shown, besides the outermost."""

_HERE = os.path.dirname(__file__) + os.sep

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
"""How many links of a chain of causes are searched for a limit."""


def format_frames(error: BaseException) -> str:
    """The traceback without its exception line, from the block's own frame on; the middle of a long one is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    start = next((index for index, frame in enumerate(frames) if frame.filename.startswith("<cell")), None)
    if start is None:  # the block did not compile: the exception line says where
        return ""
    shown = [_format_frame(frame) for frame in frames[start:] if not frame.filename.startswith(_HERE)]
    if len(shown) > LAST_FRAMES + 2:
        shown[1:-LAST_FRAMES] = ["  ...\n"]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _format_frame(frame: traceback.FrameSummary) -> str:
    """A frame as Python prints it, with the file's path relative to the longest matching entry of `sys.path`."""
    roots = [root for root in sys.path if root and frame.filename.startswith(root + os.sep)]
    name = frame.filename[len(max(roots, key=len)) + 1 :] if roots else frame.filename
    line = f"    {frame.line[:LINE_LIMIT]}\n" if frame.line else ""
    return f'  File "{name}", line {frame.lineno}, in {frame.name}\n{line}'


def message(error: BaseException) -> str:
    """The exception line, its middle left out where it is long, and the hint if there is one."""
    text = "".join(traceback.format_exception_only(type(error), error))
    half = MESSAGE_LIMIT // 2
    shown = text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} ... {text[-half:]}"
    return shown + hint(error)


def hint(error: BaseException) -> str:
    """A line about the limit that caused the exception or one in its chain of causes; "" where there is none."""
    with contextlib.suppress(BaseException):  # attributes of an exception class of the block's own can raise anything
        return next(filter(None, map(_line, _causes(error))), "")
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what led to it; `reason` is where urllib keeps the cause."""
    link: object = error
    for _ in range(_CHAIN):
        if not isinstance(link, BaseException):
            return
        yield link
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        # EACCES without a file name comes from a system call, as for a semaphore: no hint about files helps there.
        of_the_system = error.errno == errno.EACCES and error.filename is None
        return _BY_NUMBER[errno.EPERM if of_the_system else error.errno] + "\n"
    return _THREADS if isinstance(error, RuntimeError) and error.args == ("can't start new thread",) else ""


def install_hooks() -> None:
    """Format exceptions that end a thread, or that Python can only report (in `__del__`, say), in the same way."""
    threading.excepthook = _of_a_thread
    sys.unraisablehook = _unraisable


def _of_a_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "?"
        sys.stderr.write(f"Exception in thread {name}:\n{format_frames(args.exc_value)}{message(args.exc_value)}")


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_value is not None:
        shown = format_frames(unraisable.exc_value) + message(unraisable.exc_value)
        sys.stderr.write(f"{unraisable.err_msg or 'Exception ignored'}:\n{shown}")
