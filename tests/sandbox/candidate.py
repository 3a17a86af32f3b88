"""A candidate of the sandbox for tests, and what its processes look like from outside."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox, executor
from sctir_kaggle.sandbox.child import Child
from sctir_kaggle.types import ExecutionResult
from tests.support.patience import PATIENCE

CODE_SECONDS = 3.0
"""The limit of a block that is to run into it."""


class Candidate:
    """A candidate's turns, one after the other, each on an event loop of its own."""

    def __init__(self, sandbox: Sandbox, candidate_id: str) -> None:
        self.sandbox, self.candidate_id = sandbox, candidate_id
        self._turns = itertools.count()

    def __call__(self, code: str, *, seconds: float = 3 * PATIENCE) -> ExecutionResult:
        return asyncio.run(self.turn(code, seconds=seconds))

    def within(self, seconds: float, code: str, *, soft: bool = False) -> ExecutionResult:
        """A turn whose block may run so many seconds. `soft`: it is not killed before it has said where it was."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.sandbox, "code_seconds", seconds)
            if soft:
                patch.setattr(executor, "SOFT_SECONDS", PATIENCE)
            return self(code)

    async def turn(self, code: str, *, seconds: float = 3 * PATIENCE) -> ExecutionResult:
        request_id = f"{self.candidate_id}/{next(self._turns)}"
        return await self.sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + seconds)

    def process(self) -> int:
        """The pid of the candidate's child, as seen here; in its own namespace it may have another one."""
        child = self._child()
        assert child._pidfd is not None
        info = Path(f"/proc/self/fdinfo/{child._pidfd}").read_text()
        return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:")))

    def folder(self) -> Path:
        """The child's working folder, as seen here."""
        return Path(self._child()._watch._folder)

    def _child(self) -> Child:
        child = self.sandbox._candidates[self.candidate_id].child
        assert child
        return child


def eventually(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


async def until(condition: Callable[[], bool]) -> None:
    """Wait, without blocking the event loop, for what has to come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def zygote_pid(sandbox: Sandbox) -> int:
    """The process that the sandbox started; with a pid namespace it waits for the one that forks."""
    assert sandbox._zygote
    return sandbox._zygote.process.pid
