"""Format an exception for the model: its own lines, no paths of the machine, a bounded message, and a hint.

A hint says in a line which limit of the sandbox was met, so that the model tries another way and not the same again.
"""

from __future__ import annotations

import contextlib
import dis
import errno
import itertools
import linecache
import os
import socket
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from sctir_kaggle.sandbox import limits, source

LINE_LIMIT = 300
"""Characters of a source line that are shown."""

MESSAGE_LIMIT = 3000
"""Characters of an exception line that are shown; the middle of a longer one is left out."""

_ROOM_FOR_ROOTS = 4096

LAST_FRAMES = 4
"""Innermost frames of a long traceback that are shown, besides the outermost."""

_HERE = os.path.dirname(__file__) + os.sep

NO_PROCESSES = "Note: new processes and changes to the system are not allowed here."
_NO_NETWORK = "Note: there is no network here."
_BY_NUMBER = {
    errno.EPERM: NO_PROCESSES,
    errno.ENETDOWN: _NO_NETWORK,
    errno.EACCES: "Note: only Python's own files can be read, and only the working folder can be written here.",
    errno.EROFS: "Note: files cannot be written here.",
    errno.EFBIG: f"Note: a file can have at most {limits.FILE_MB} MB here.",
    errno.EMFILE: f"Note: at most {limits.OPEN_FILES} files can be open here.",
}
_THREADS = "Note: no more threads can be started here.\n"
_NO_INPUT = "Note: there is no input here: write the values into the code.\n"
_OF_IPYTHON = ("get_ipython", "In", "Out")
_CHAIN = 5
"""How many links of a chain of causes are searched for a limit."""


_roots: list[str] = []
"""Folders of this machine, the longest first, from which paths are shown; set by `install_hooks`."""


def format_frames(error: BaseException) -> str:
    """The traceback without its exception line, from the block's own frame on; the middle of a long one is left out."""
    frames = traceback.StackSummary.extract(_places(error.__traceback__))
    start = next((index for index, frame in enumerate(frames) if frame.filename.startswith("<cell")), None)
    if start is None:  # the block did not compile: the exception line says where
        return ""
    shown = [_format_frame(frame) for frame in frames[start:] if not frame.filename.startswith(_HERE)]
    if len(shown) > LAST_FRAMES + 2:
        shown[1:-LAST_FRAMES] = ["  ...\n"]
    return "Traceback (most recent call last):\n" + "".join(shown)


def _places(tb: types.TracebackType | None) -> Iterator[tuple[types.FrameType, int]]:
    """Each frame of a traceback and its line, also where the instruction has none."""
    while tb is not None:
        yield tb.tb_frame, _line_of(tb.tb_frame.f_code, tb.tb_lasti) if tb.tb_lineno is None else tb.tb_lineno
        tb = tb.tb_next


def _line_of(code: types.CodeType, offset: int) -> int:
    """The line of an instruction without one: that of the loop to whose head it jumps, else that of the one before it.

    The jump back behind an `if` belongs to no line in Python 3.11, and a time limit mostly strikes at such jumps.
    """
    jumps = [step.argval for step in dis.get_instructions(code) if step.offset == offset and step.opcode in dis.hasjrel]
    wanted = jumps[0] if jumps else offset
    known = [line for start, _, line in code.co_lines() if start <= wanted and line is not None]
    return known[-1] if known else code.co_firstlineno


def raised_by_python(error: BaseException) -> bool:
    """Whether a `raise` raised the exception, and neither the interpreter nor an extension module."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and dis.opname[tb.tb_frame.f_code.co_code[tb.tb_lasti]] == "RAISE_VARARGS"


def _format_frame(frame: traceback.FrameSummary) -> str:
    """A frame as Python prints it."""
    line = f"    {frame.line[:LINE_LIMIT]}\n" if frame.line else ""
    return f'  File "{without_roots(frame.filename)}", line {frame.lineno}, in {frame.name}\n{line}'


def without_roots(text: str) -> str:
    """`text` with paths relative to the folders that modules are imported from, which say nothing about the code."""
    for root in _roots:
        text = text.replace(root + os.sep, "")
    return text


def message(error: BaseException) -> str:
    """The exception line, its middle left out where it is long, and the hint if there is one."""
    if isinstance(error, SyntaxError) and error.text is None and error.filename:  # found after parsing: `return 1`, say
        error.text = linecache.getline(error.filename, error.lineno or 0) or None
    text, half = "".join(traceback.format_exception_only(type(error), error)), MESSAGE_LIMIT // 2
    room = half + _ROOM_FOR_ROOTS
    if len(text) > 2 * room:  # cut first: to look for folders in 100 MB takes as long as to make them
        return f"{without_roots(text[:room])[:half]} ... {without_roots(text[-room:])[-half:]}" + hint(error)
    text = without_roots(text)
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
    if isinstance(error, (socket.gaierror, socket.herror)):  # a name cannot be looked up; their numbers are not errno's
        return _NO_NETWORK + "\n"
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        # Without a file name it comes from a system call, as for a semaphore: no hint about files helps there.
        of_the_system = error.errno in (errno.EACCES, errno.EROFS) and error.filename is None
        return _BY_NUMBER[errno.EPERM if of_the_system else error.errno] + "\n"
    if isinstance(error, SyntaxError):
        return source.hint(error)
    if isinstance(error, NameError) and error.name in _OF_IPYTHON:
        return source.NOT_PYTHON + "\n"
    if isinstance(error, EOFError) and error.args == ("EOF when reading a line",):
        return _NO_INPUT
    return _THREADS if isinstance(error, RuntimeError) and error.args == ("can't start new thread",) else ""


def install_hooks() -> None:
    """Format exceptions that end a thread, those that Python can only report (in `__del__`, say), those that a block itself
    prints, and warnings in the same way: without paths of the machine and frames of the driver."""
    folders = {os.path.abspath(entry) for entry in sys.path if entry} | {os.getcwd(), sys.prefix, sys.base_prefix}
    _roots[:] = sorted(folders - {os.sep}, key=len, reverse=True)
    warnings.formatwarning = _formatter_of_warnings(warnings.formatwarning)
    vars(traceback)["walk_stack"] = _walker(traceback.walk_stack)
    summary: Any = traceback.StackSummary
    summary.format = _formatter_of_stacks(summary.format)
    threading.excepthook = _of_a_thread
    sys.unraisablehook = _unraisable


def _formatter_of_warnings(formatwarning: Callable[..., str]) -> Callable[..., str]:
    def formatted(message: object, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        line = linecache.getline(filename, lineno) if line is None else line
        return formatwarning(message, category, without_roots(filename), lineno, line)

    return formatted


def _formatter_of_stacks(format_stack: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Without the driver's own frames: one calls the block's handler of an alarm."""

    def formatted(summary: traceback.StackSummary, **options: Any) -> list[str]:
        own = traceback.StackSummary(frame for frame in summary if not frame.filename.startswith(_HERE))
        return [without_roots(entry) for entry in format_stack(own, **options)]

    return formatted


def _walker(walk_stack: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`traceback.walk_stack` up to the block's own frame: behind it are the driver's."""

    def walked(frame: types.FrameType | None) -> Iterator[Any]:
        start = frame or sys._getframe(1).f_back
        return itertools.takewhile(lambda pair: not pair[0].f_code.co_filename.startswith(_HERE), walk_stack(start))

    return walked


def _of_a_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "?"
        sys.stderr.write(f"Exception in thread {name}:\n{format_frames(args.exc_value)}{message(args.exc_value)}")


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_value is not None:
        shown = format_frames(unraisable.exc_value) + message(unraisable.exc_value)
        sys.stderr.write(f"{unraisable.err_msg or 'Exception ignored'}:\n{shown}")
