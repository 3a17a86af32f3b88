"""A candidate's interpreter between its turns, and the blocks that wait for it, one at a time."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from sctir_kaggle.sandbox.child import Child
from sctir_kaggle.types import ExecutionResult


@dataclass
class Candidate:
    """What is kept between a candidate's turns.

    One block at a time has the candidate, from `take` to `leave`, and whoever runs that block may use or replace `child`;
    others may only end it. `lost` is set where variables of earlier turns are gone, which the next output tells the model.
    """

    released: bool = False
    child: Child | None = None
    lost: bool = False
    taken: bool = False
    waiting: deque[Block] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, block: Block) -> bool:
        """Whether the block has the candidate now; otherwise it waits until those before it are done."""
        with self.lock:
            if self.taken:
                self.waiting.append(block)
                return False
            self.taken = True
            return True

    def leave(self) -> Block | None:
        """The block that has the candidate next. If there is none, the child of a released candidate is dropped."""
        with self.lock:
            if self.waiting:
                return self.waiting.popleft()
            self.taken = False
            self._settle()
            return None

    def drop(self) -> None:
        """Kill the child, if any, and note that its variables are lost."""
        if self.child:
            self.discard()
            self.lost = True

    def discard(self) -> None:
        """Kill the child, if any, which has run nothing yet."""
        if self.child:
            self.child.close()
            self.child = None

    def died(self) -> bool:
        """Whether the child ended since the last block (out of memory, say); if so it is dropped."""
        if self.child and self.child.confined and not self.child.alive:
            self.drop()
            return True
        return False

    def release(self) -> None:
        """Kill the code that is running, if any; free the child now, or when the block that uses it ends."""
        self.released = True
        if child := self.child:
            child.end()
        with self.lock:
            self._settle()

    def _settle(self) -> None:
        if self.released and not self.taken:
            self.drop()


@dataclass
class Block:
    """One call of `execute`, on its way from the event loop to a worker's thread."""

    code: str
    request_id: str
    deadline: float
    candidate: Candidate
    future: Future[ExecutionResult] = field(default_factory=Future)
    child: Child | None = None
    started: bool = False
    cancelled: bool = False
    holds_ahead: bool = False
    failures: int = 0
    failed: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.child:
            self.child.end()

    def resolve(self, result: ExecutionResult, error: BaseException | None = None) -> None:
        """Set the outcome, unless the caller has cancelled it."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error) if error else self.future.set_result(result)
