"""A sandbox that waits as long as a busy machine takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sctir_kaggle.sandbox import child, executor

PATIENCE = 120.0
"""Seconds in which everything that does not hang comes to its end, however busy the machine is."""


@contextmanager
def patient_sandbox() -> Iterator[None]:
    """No sandbox of this process gives anything up, or does it otherwise, since a process had to wait for a core."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CODE_SECONDS", "KILL_SECONDS"):
            patch.setattr(child, name, PATIENCE)
        for name in ("READY_SECONDS", "ANSWER_SECONDS"):
            patch.setattr(executor, name, PATIENCE)
        yield
