"""In place of the sandbox: what code printed at hand, and code that takes its time."""

from __future__ import annotations

from collections.abc import Iterable

from sctir_kaggle.types import ExecutionResult, Executor, ExecutorError, SolveResult


class AtHand:
    """Gives at once what the same turn's code printed when it was recorded, whatever the code is now.

    Engines do not repeat themselves to the bit: a turn that has none takes the output of its problem's last one.
    """

    def __init__(self, results: Iterable[SolveResult]) -> None:
        self._outputs: dict[str, ExecutionResult] = {}
        self._last: dict[str, ExecutionResult] = {}
        for result in results:
            for trace in result.traces:
                for number, turn in enumerate(trace.turns):
                    if turn.execution is not None:
                        self._outputs[f"{result.problem.id}/{trace.candidate}/{number}"] = turn.execution
                        self._last[result.problem.id] = turn.execution

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        found = self._outputs.get(request_id) or self._last.get(request_id.rsplit("/", 2)[0])
        if found is None:
            raise ExecutorError(f"{request_id}: nothing was recorded for this problem")
        return found

    def release(self, candidate_id: str) -> None:
        """Nothing to free."""


class Slowed:
    """An `Executor` whose every block first computes for `seconds`, as the blocks of a large model do."""

    def __init__(self, executor: Executor, seconds: float) -> None:
        self.busy = 0.0
        self._executor = executor
        self._burn = f"import time as _t\n_u = _t.perf_counter() + {seconds}\nwhile _t.perf_counter() < _u: pass\n"

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        result = await self._executor.execute(self._burn + code, request_id=request_id, deadline=deadline)
        self.busy += result.seconds
        return result

    def release(self, candidate_id: str) -> None:
        self._executor.release(candidate_id)
