"""A session that is opened in a thread of its own: whoever needs it waits, but not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sctir_kaggle.session import Session

Opener = Callable[[], AbstractContextManager["Session"]]

CLOSE_SECONDS = 30.0
"""How long the session that is replaced may take to free its GPUs."""


class Loading:
    """Begins at once. The thread that opened the session keeps it open and closes it: it is the parent of its processes."""

    def __init__(self, opener: Opener, after: Loading | None = None) -> None:
        self._opener = opener
        self._after = after
        self._over = threading.Event()
        self._session: Future[Session] = Future()
        self._began = time.monotonic()
        self.seconds = 0.0
        """How long it took, once it is loaded."""
        self._thread = threading.Thread(target=self._live, name="sctir-session", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, well or not, within so many seconds."""
        return bool(wait({self._session}, timeout=max(0.0, seconds)).done)

    @property
    def error(self) -> BaseException | None:
        """Why there is no session; only after the wait."""
        return self._session.exception()

    @property
    def session(self) -> Session:
        """The session; only after the wait and without an error."""
        return self._session.result()

    def close(self, seconds: float = 0.0) -> None:
        """Ask for the end, and wait so many seconds for it; not for a load that has not ended, which ends with the process."""
        self._over.set()
        if self._session.done():
            self._thread.join(seconds)

    def _live(self) -> None:
        if self._after is not None:
            self._after.close(CLOSE_SECONDS)
            self._after = None
        try:
            with self._opener() as session:
                self.seconds = time.monotonic() - self._began
                self._session.set_result(session)
                self._over.wait()
        except BaseException as error:  # whoever waits must be told, whatever it is
            if not self._session.done():
                self._session.set_exception(error)
