"""The command `sctir`: one place that turns a command's errors and signals into a line and an exit code.

It imports nothing of the package before signals are handled, so that Ctrl-C in the first moment leaves no traceback. The
commands are in `sctir_kaggle.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

GONE = 141
"""The exit code where the reader of the output has gone, as `head` does: that of a program which SIGPIPE ends."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    0: all is done. 1: a run failed. 2: something that the user can fix, said in one line. 130, 143, 129: ended by Ctrl-C,
    SIGTERM, SIGHUP. 141: the reader of the output has gone. With `argv` it is called by a program, which keeps its own
    streams and signals.
    """
    try:
        from sctir_kaggle import interrupts, streams

        if argv is None:
            streams.open_standard_streams()
            interrupts.install()
        code = _run(argv)
        if argv is None:
            interrupts.end()
        return code
    except KeyboardInterrupt as stop:
        try:
            print(getattr(stop, "line", "sctir: interrupted"), file=sys.stderr, flush=True)
        except OSError:  # the terminal has gone
            pass
        return int(getattr(stop, "code", 130))


def _run(argv: Sequence[str] | None) -> int:
    """Parse, run, and write out what is left in standard output, which may be on a full disk or have no reader."""
    from sctir_kaggle import streams

    try:
        code: int | SystemExit = _code_of(argv)
    except SystemExit as refused:  # by the parser, or after --help
        code = refused
    try:
        streams.flush()
    except BrokenPipeError:
        return GONE
    except OSError as error:
        streams.say(f"sctir: {error.filename}: {error.strerror}")
        return 2
    if isinstance(code, SystemExit):
        raise code
    return code


def _code_of(argv: Sequence[str] | None) -> int:
    """Run; errors that a user can do something about become a line."""
    from sctir_kaggle import streams
    from sctir_kaggle.commands import run
    from sctir_kaggle.types import EngineDown, EngineError, ExecutorError, UserError

    try:
        return run(argv)
    except EngineDown as error:
        streams.say(f"sctir: the run failed: {error}")
        return 1
    except (UserError, EngineError, ExecutorError) as error:
        streams.say(f"sctir: {error}")
    except BrokenPipeError:
        streams.discard_output()
        return GONE
    except OSError as error:
        where = error.filename or ("standard output" if streams.has_failed() else "the system")
        streams.say(f"sctir: {where}: {error.strerror or error}")
    return 2
