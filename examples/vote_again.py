"""Vote again on a recorded run under other rules, without the model: which answers change, and are they right?

python examples/vote_again.py runs/first small confirmed=0.5

`sctir what-if` does the same with stops, deadlines and tables; this shows the few library calls behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sctir_kaggle import SolveResult
from sctir_kaggle.journal import read_journal
from sctir_kaggle.voting import Ballot, VoteRule, tally


def answer_under(result: SolveResult, rule: VoteRule, modulus: int | None) -> int:
    """The answer that the recorded candidates elect under `rule`; the recorded one where none has voted."""
    weigh = rule.weigher(modulus)  # None is plain majority: every vote counts 1
    ballots = [
        Ballot(trace.candidate, trace.answer, 1.0 if weigh is None else weigh(result.problem, trace))
        for trace in result.traces
        if trace.answer is not None
    ]
    winner = tally(ballots).winner
    return result.answer if winner is None else winner


def main(arguments: Sequence[str]) -> None:
    """`arguments` are a run's folder and the votes to try, as `--vote` takes them."""
    folder, *rules = arguments
    header, results = read_journal(Path(folder) / "journal.jsonl")
    # Where a stop cancelled candidates, their votes are missing here: record with `--stop none` to compare rules fairly.
    cancelled = sum(result.stopped not in ("all", "deadline") for result in results)
    print(f"{len(results)} problems, {cancelled} of them stopped early")
    for text in ("plain", *rules):
        answers = [answer_under(result, VoteRule.parse(text), header["config"]["modulus"]) for result in results]
        changed = sum(answer != result.answer for answer, result in zip(answers, results, strict=True))
        right = sum(answer == result.problem.answer for answer, result in zip(answers, results, strict=True))
        print(f"{text:15} right {right}, changed {changed}")


if __name__ == "__main__":
    main(sys.argv[1:])
