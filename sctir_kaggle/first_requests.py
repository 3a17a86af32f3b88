"""End a run whose problems show that the engine, or the sandbox, serves nothing: no answer can come of the rest.

At its beginning one problem is enough where the engine says that it is down. Any other failure may be due to that problem's
own text, so a second one decides. Once something was served, the run ends with the first problem all of whose candidates
failed because the engine is down. A competition's rerun does without: it must answer every problem.
"""

from __future__ import annotations

from sctir_kaggle.types import EngineDown, SolveResult, TraceStatus

_DOWN = f"{EngineDown.__name__}: "


class FirstRequests:
    """Looks at the new results of a run of `problems` problems: closely until the first turn of any candidate."""

    def __init__(self, problems: int) -> None:
        self._enough = min(2, problems)
        self._served, self._failed = False, list[str]()

    def check(self, result: SolveResult) -> None:
        """Raise `EngineDown` with the first reason once it is clear that nothing is served, or nothing more."""
        reasons = [trace.detail for trace in result.traces if trace.status is TraceStatus.FAILED]
        self._served = self._served or any(trace.turns for trace in result.traces)
        if not reasons:
            return
        if self._served:
            if len(reasons) == len(result.traces) and all(reason.startswith(_DOWN) for reason in reasons):
                raise EngineDown(
                    f"nothing is served any more, {_counted(reasons)} of {result.problem.id} failed, the first: "
                    f"{reasons[0].removeprefix(_DOWN)}"
                )
            return
        self._failed += reasons
        self._enough -= 1
        if self._enough <= 0 or reasons[0].startswith(_DOWN):
            raise EngineDown(
                f"nothing was served, {_counted(self._failed)} so far failed, the first: "
                f"{self._failed[0].removeprefix(_DOWN)}"
            )


def _counted(failed: list[str]) -> str:
    return f"all {len(failed)} candidates" if len(failed) > 1 else "the only candidate"
