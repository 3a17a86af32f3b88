"""The results of a replay: what is kept of each, the table at the end, and the journal over several seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.journal import Journal, read_header
from sctir_kaggle.jsonlines import LineWriter
from sctir_kaggle.session import refusal_of
from sctir_kaggle.types import Answer, SolveResult, TraceStatus

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Outcome:
    """One (problem, seed): the answer, whether it is right (None: no reference), and its cost.

    `late` says that the deadline struck, `failed` counts the candidates that the engine or the sandbox failed, `tokens` are
    sampled ones, `executions` blocks of code that ran. `refused` is the reason why every candidate was refused, if it was.
    """

    problem_id: str
    seed: int
    answer: Answer
    correct: bool | None
    fallback: bool
    late: bool
    failed: int
    tokens: int
    executions: int
    refused: str = ""

    @classmethod
    def of(cls, result: SolveResult) -> Outcome:
        """Keep of `result` what the table needs; the texts stay on disk."""
        return cls(
            problem_id=result.problem.id,
            seed=result.seed,
            answer=result.answer,
            correct=result.correct,
            fallback=result.fallback,
            late=result.stopped == "deadline",
            failed=sum(trace.status is TraceStatus.FAILED for trace in result.traces),
            tokens=sum(trace.tokens for trace in result.traces),
            executions=sum(trace.executions for trace in result.traces),
            refused=refusal_of(result),
        )


def accuracies(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """For each seed, the percentage of the problems with a reference that are right."""
    right: Counter[int] = Counter()
    graded: Counter[int] = Counter()
    for outcome in outcomes:
        if outcome.correct is not None:
            graded[outcome.seed] += 1
            right[outcome.seed] += outcome.correct
    return {seed: 100 * right[seed] / graded[seed] for seed in sorted(graded)}


def seeds_table(outcomes: Sequence[Outcome]) -> Table:
    """One row per seed: problems, right, percent, without a vote, tokens, executions."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("seed", "problems", "right", "%", "no vote", "tokens", "executions"):
        table.add_column(name, justify="right")
    shares = accuracies(outcomes)
    for seed in sorted({outcome.seed for outcome in outcomes}):
        each = [outcome for outcome in outcomes if outcome.seed == seed]
        table.add_row(
            str(seed),
            str(len(each)),
            str(sum(outcome.correct is True for outcome in each)),
            f"{shares[seed]:.1f}" if seed in shares else "-",
            str(sum(outcome.fallback for outcome in each)),
            f"{sum(outcome.tokens for outcome in each):,}",
            f"{sum(outcome.executions for outcome in each):,}",
        )
    return table


def mean_line(outcomes: Sequence[Outcome]) -> str:
    """`62.7 ± 1.3 % right (mean ± sd of 5 seeds)`; the sample's standard deviation, none for one seed."""
    from sctir_kaggle.lab.statistics import format_mean_sd  # numpy: not before the run is over

    shares = list(accuracies(outcomes).values())
    if not shares:
        return f"{len(outcomes)} answered; no reference answers"
    seeds = "one seed: no spread" if len(shares) == 1 else f"mean ± sd of {len(shares)} seeds"
    return f"{format_mean_sd(shares)} % right ({seeds})"


def warnings_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Reasons why the score is worth less than it looks: no votes, deadlines, candidates that failed."""
    found = []
    if fallbacks := [outcome for outcome in outcomes if outcome.fallback]:
        late = sum(outcome.late for outcome in fallbacks)
        why = f", {late} of them ran out of time: give more --problem-seconds" if late else ""
        found.append(f"{len(fallbacks)} of {len(outcomes)} had no vote and got the default answer{why}")
    if refused := [outcome.refused for outcome in outcomes if outcome.refused]:
        found.append(f"every candidate of {len(refused)} was refused, the first with: {refused[0]}")
    if failed := sum(outcome.failed for outcome in outcomes):
        found.append(f"{failed} candidates were failed by the engine or the sandbox: their votes are missing")
    return found


class ReplayJournal(Journal):
    """A `Journal` of several seeds, whose header lists them. `outcomes` are those of both this run and earlier ones."""

    def __init__(self, lines: LineWriter, results: Iterable[SolveResult] = ()) -> None:
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        super().__init__(lines, results)

    @classmethod
    def resume(cls, path: Path, header: dict[str, Any]) -> ReplayJournal:
        """As `Journal.resume`; seeds of `header` that the run did not have are added to its header."""
        journal = super().resume(path, header)
        try:
            old = read_header(path)
            known = old.get("seeds", [old.get("config", {}).get("seed", 0)])
            wanted = sorted({*known, *header["seeds"]})
            if wanted != old.get("seeds"):
                journal.change_header({**old, "seeds": wanted})
        except BaseException:
            journal.close()
            raise
        return journal

    def remember(self, result: SolveResult) -> None:
        """Keep the outcome only: the traces of many seeds need not fit into memory."""
        self.outcomes[result.problem.id, result.seed] = Outcome.of(result)
