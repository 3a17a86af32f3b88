"""Vote again on a recorded run under rules of your own, without the model: which answers change, and are they right?

python examples/vote_again.py runs/first

`sctir what-if` does this for the votes and stops that ship, and for deadlines and budgets; the library calls are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from sctir_kaggle import ExecutionStatus, SolveResult, Trace
from sctir_kaggle.journal import read_journal
from sctir_kaggle.voting import Ballot, tally


def plain(trace: Trace) -> float:
    """Majority: every vote counts 1."""
    return 1.0


def clean(trace: Trace) -> float:
    """Half a vote for a candidate whose code raised, timed out or crashed at least once."""
    runs = [turn.execution.status for turn in trace.turns if turn.execution is not None]
    return 1.0 if all(status is ExecutionStatus.OK for status in runs) else 0.5


def computed(trace: Trace) -> float:
    """No vote for a candidate that never ran any code."""
    return float(any(turn.execution is not None for turn in trace.turns))


RULES: tuple[Callable[[Trace], float], ...] = (plain, clean, computed)
"""A weight lies from 0 to 1 and depends on the one candidate alone: so the exact stop would stay exact under it."""


def elected(result: SolveResult, weight: Callable[[Trace], float]) -> int:
    """The answer that the recorded candidates elect under `weight`; the recorded one where none has a vote."""
    ballots = [
        Ballot(trace.candidate, trace.answer, weight(trace)) for trace in result.traces if trace.answer is not None
    ]
    winner = tally(ballots).winner
    return result.answer if winner is None else winner


def main(run: Path) -> None:
    """Print a line per rule: how many answers are right, and how many differ from the recorded ones."""
    _, results = read_journal(run / "journal.jsonl")
    # A stop cancelled the other candidates of these: their votes are missing. Record with `--stop none` to compare fairly.
    early = sum(result.stopped not in ("all", "deadline") for result in results)
    print(f"{len(results)} problems, {early} of them stopped early")
    for rule in RULES:
        answers = [elected(result, rule) for result in results]
        right = sum(answer == result.problem.answer for answer, result in zip(answers, results, strict=True))
        changed = sum(answer != result.answer for answer, result in zip(answers, results, strict=True))
        print(f"{rule.__name__:9} right {right}, changed {changed}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
