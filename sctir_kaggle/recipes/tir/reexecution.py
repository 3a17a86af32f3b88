"""Whether a trace's code, run again in a fresh process, prints what the trace shows.

Blocks run in order and share their variables, as they did. Their request ids are others, so that a trace whose output hangs
on chance is told apart. Not covered: what depends on the machine, its time limits above all.
"""

from __future__ import annotations

import time

from sctir_kaggle.dialects.rendering import bridge
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.types import Executor, Trace

PATIENCE = 600.0
"""Seconds that a block may wait for its turn; how long it may run is the executor's to say."""


async def prints_the_same(executor: Executor, output_chars: int, trace: Trace, candidate_id: str) -> bool:
    """Run the blocks of `trace` again as the candidate `candidate_id`, a new one to the executor."""
    try:
        for number, turn in enumerate(trace.turns):
            if turn.code is None:
                continue
            request_id, deadline = f"{candidate_id}/{number}", time.monotonic() + PATIENCE
            result = await executor.execute(turn.code, request_id=request_id, deadline=deadline)
            if "".join(bridge(NUMINA, turn.completion, result, left=0, limit=output_chars)) != turn.output_block:
                return False
        return True
    finally:
        executor.release(candidate_id)
