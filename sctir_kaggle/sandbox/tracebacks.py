"""What a model is shown of an exception: its own lines, no path of the machine, and a bounded message."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import traceback
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


LINE_LIMIT = 300
MESSAGE_LIMIT = 3000
LAST_FRAMES = 4
_HERE = os.path.dirname(__file__) + os.sep


def format_frames(error: BaseException) -> str:
    """The traceback above the exception line, from the block's first line on; the middle of a long one is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    start = next((index for index, frame in enumerate(frames) if frame.filename.startswith("<cell")), None)
    if start is None:  # the block did not compile: its exception line says all
        return ""
    shown = [_format_frame(frame) for frame in frames[start:] if not frame.filename.startswith(_HERE)]
    if len(shown) > LAST_FRAMES + 2:
        shown[1:-LAST_FRAMES] = ["  ...\n"]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _format_frame(frame: traceback.FrameSummary) -> str:
    roots = [root for root in sys.path if root and frame.filename.startswith(root + os.sep)]
    name = frame.filename[len(max(roots, key=len)) + 1 :] if roots else frame.filename
    line = f"    {frame.line[:LINE_LIMIT]}\n" if frame.line else ""
    return f'  File "{name}", line {frame.lineno}, in {frame.name}\n{line}'


def message(error: BaseException) -> str:
    """The exception line, the middle of a long one left out, and the line for the limit that was met, if any."""
    text = "".join(traceback.format_exception_only(type(error), error))
    half = MESSAGE_LIMIT // 2
    shown = text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} ... {text[-half:]}"
    return shown + hint(error)


def install_hooks() -> None:
    """The same for exceptions that end a thread, and for those that Python can only mention."""
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
