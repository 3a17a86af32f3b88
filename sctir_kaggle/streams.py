"""Standard input, output and error as they really are: closed, in ASCII, on a full disk, read by a program that has gone.

Not covered: what a child process writes.
"""

from __future__ import annotations

import codecs
import errno
import os
import sys
from typing import TextIO

ERRORS = "sctir"
"""Name of the error handler for characters that a stream cannot show."""

_ALIKE = {"±": "+-", "…": ".", "–": "-", "—": "-", "→": ">", "×": "x", "≥": ">=", "≤": "<=", "•": "*", "’": "'"}
"""What is written for a character that the terminal lacks. Any other one becomes its escape."""


def open_standard_streams() -> None:
    """Make the three streams usable whatever they are.

    A descriptor that was closed (`>&-`) is opened on the null device: otherwise the next file, say a journal, would get its
    number, and everything printed would go there. Characters that an encoding lacks, and bytes of a file name that are no
    UTF-8, are replaced.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one
    sys.stdout = sys.stdout or _null()
    sys.stderr = sys.stderr or _null()
    codecs.register_error(ERRORS, _alike)
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors=ERRORS)


def flush() -> None:
    """Write out what standard output still holds, so that an error is raised here and not at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        if error.errno == errno.EPIPE:
            raise
        raise OSError(error.errno, error.strerror, "standard output") from None


def has_failed() -> bool:
    """Whether standard output takes nothing, not even an empty line; then nothing more is written there."""
    try:
        print(flush=True)
    except OSError:
        discard_output()
        return True
    return False


def discard_output() -> None:
    """Send what standard output still holds, and what is printed from now on, to the null device."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # it has no descriptor: nothing is written at the end
        pass


def say(text: str) -> None:
    """Print an error to standard error, most often one line; where that has gone too, nobody is left to tell."""
    try:
        print(text, file=sys.stderr, flush=True)
    except RuntimeError:  # a signal came while the stream was being written to
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
    except (OSError, ValueError):
        pass


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _alike(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written in the place of characters that the encoding lacks.

    Bytes of a file name that Python could not read (in the C locale, any letter beyond ASCII) become the letters they are.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    read = bad.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(_shown(each, error.encoding) for each in read), error.end


def _shown(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
        return character
    except UnicodeEncodeError:
        return _ALIKE.get(character) or character.encode("ascii", "backslashreplace").decode()
