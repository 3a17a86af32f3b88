"""Signals that end a command: Ctrl-C, SIGTERM, SIGHUP.

The first one saves what can be saved, then raises `Stopped` in the main thread, so that everything is closed as after an
error. Closing an engine may take seconds, and a service manager may kill meanwhile, hence the order; a second signal ends
the process at once. A signal that this process was started to ignore (`nohup`, a shell's background job) stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sctir_kaggle.streams import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Save = Callable[[], str]
"""Save what is not saved yet, and say in a few words what is where."""


class Stopped(KeyboardInterrupt):
    """A signal ended the command. `kept` says what was saved, empty where there was nothing."""

    def __init__(self, number: int = signal.SIGINT, kept: str = "") -> None:
        super().__init__(number, kept)
        self.number = number
        self.kept = kept

    @property
    def line(self) -> str:
        """One line for standard error."""
        what = "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"
        return f"sctir: {what}{f'; {self.kept}' if self.kept else ''}"

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number


class _State:
    """Of this process: the signal that came first, what is still to be saved, and what was."""

    number = 0
    save: Save | None = None
    saving = False
    kept = ""


_state = _State()


def install() -> None:
    """Handle the signals in this process, until it ends. Only the main thread may call this."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _handle)


@contextmanager
def saving(save: Save) -> Iterator[None]:
    """Within it a signal calls `save`, once, and the `Stopped` that is raised says what was kept."""
    _state.save, _state.kept = save, ""
    try:
        yield
    except KeyboardInterrupt as stop:  # in a program that has its own handler, nothing is saved yet
        raise Stopped(getattr(stop, "number", signal.SIGINT), _saved()) from None
    finally:
        _state.save = None


def end() -> None:
    """The command has ended: from now on a signal ends the process without a word."""
    _state.number = _state.number or -1


def _saved() -> str:
    """Save what is still to be saved; return what was kept, now or before."""
    save, _state.save = _state.save, None
    if save is not None:
        _state.saving = True
        try:
            _state.kept = save()
        finally:
            _state.saving = False
    return _state.kept


def _handle(number: int, frame: FrameType | None) -> None:
    """Python calls this in the main thread, between two instructions."""
    if not _state.number:
        _state.number = number
        raise Stopped(number, _saved())
    if _state.saving:  # a moment longer
        return
    if sys.stdout is not None and sys.stdout.isatty():
        os.write(1, b"\x1b[?25h")  # the cursor, which a line that is redrawn hides
    first = Stopped(abs(_state.number), _state.kept)
    if _state.number > 0:
        say(first.line)
    os._exit(first.code if _state.number > 0 else 128 + number)
