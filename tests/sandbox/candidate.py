"""A candidate of the sandbox for tests, and what its processes look like from outside."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionResult

CODE_SECONDS = 3.0


class Candidate:
    """A candidate's turns, one after the other, each on an event loop of its own."""

    def __init__(self, sandbox: Sandbox, candidate_id: str) -> None:
        self.sandbox, self.candidate_id = sandbox, candidate_id
        self._turns = itertools.count()

    def __call__(self, code: str, *, seconds: float = 30.0) -> ExecutionResult:
        return asyncio.run(self.turn(code, seconds=seconds))

    async def turn(self, code: str, *, seconds: float = 30.0) -> ExecutionResult:
        request_id = f"{self.candidate_id}/{next(self._turns)}"
        return await self.sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + seconds)

    def process(self) -> int:
        """The pid of the candidate's child, as seen here; in its own namespace it may have another one."""
        candidate = self.sandbox._candidates[self.candidate_id]
        assert candidate.child
        assert candidate.child._pidfd is not None
        info = Path(f"/proc/self/fdinfo/{candidate.child._pidfd}").read_text()
        return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:")))


def eventually(condition: Callable[[], bool], *, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def zygote_pid(sandbox: Sandbox) -> int:
    """The process that the sandbox started; with a pid namespace it waits for the one that forks."""
    assert sandbox._zygote
    return sandbox._zygote.process.pid
