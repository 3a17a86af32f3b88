"""The reward of a completion by execution: 1 if what it wrote leads to the reference, in the project's sandbox, else 0.

Covered: one program, whose last printed line is the answer; a completion without a program, by its box. Not covered: what the
model would go on to write after the output (a box that contradicts it, a second program).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from sctir_kaggle.answers import parse, read_answer, to_vote
from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.dialects.fences import python_code
from sctir_kaggle.dialects.rows import OUTPUT_FENCE
from sctir_kaggle.types import ExecutionStatus, Executor


class ExecutionReward:
    """A reward function as TRL calls it. `seconds` is the longest time from asking for a program's run to its end."""

    __name__ = "execution"

    def __init__(self, executor: Executor, loop: BackgroundLoop, *, seconds: float = 60.0) -> None:
        self._executor, self._loop, self._seconds = executor, loop, seconds
        self._numbers = itertools.count()

    def __call__(self, *, completions: Sequence[str], answer: Sequence[int], **_: Any) -> list[float]:
        """A reward for each completion; `answer` holds their references."""
        return self._loop.run(self._all(completions, answer))

    async def _all(self, completions: Sequence[str], answers: Sequence[int]) -> list[float]:
        found = await asyncio.gather(*map(self._answer, completions))
        return [float(one == answer) for one, answer in zip(found, answers, strict=True)]

    async def _answer(self, completion: str) -> int | None:
        text = completion.partition(OUTPUT_FENCE)[0]
        code = python_code(text, last=True)
        if code is None:
            return read_answer(text, modulus=None, lowest=None, highest=None).answer
        candidate_id = f"reward/{next(self._numbers)}"
        try:
            deadline = time.monotonic() + self._seconds
            result = await self._executor.execute(code, request_id=f"{candidate_id}/0", deadline=deadline)
        finally:
            self._executor.release(candidate_id)
        if result.status is not ExecutionStatus.OK:
            return None
        last_line = result.output.rstrip().rpartition("\n")[2]
        return to_vote(parse(last_line), modulus=None, lowest=None, highest=None)
