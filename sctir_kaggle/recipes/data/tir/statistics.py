"""Statistics of a run: counts for each round, and how many exercises are kept, dropped or open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.data.tir.attempts import Attempt, Outcome, Tokens, outcome_of
from sctir_kaggle.recipes.data.tir.exercise import Exercise

if TYPE_CHECKING:
    from rich.table import Table

Cost = Callable[[Tokens], float]
"""The price of tokens."""


@dataclass(slots=True)
class Round:
    """One round, numbered from 1: attempts by outcome, and their tokens."""

    number: int
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    tokens: Tokens = field(default_factory=Tokens)

    def add(self, attempt: Attempt, reference: Fraction) -> None:
        self.outcomes[outcome_of(attempt.trace, reference)] += 1
        self.tokens += attempt.tokens

    def as_json(self, cost: Cost) -> dict[str, Any]:
        """The round as JSON; `asked` counts all attempts, failed ones of earlier runs included."""
        counts = {outcome.value.replace(" ", "_"): self.outcomes[outcome] for outcome in Outcome}
        tokens = {f"{name}_tokens": count for name, count in asdict(self.tokens).items()}
        return {
            "round": self.number,
            "asked": self.outcomes.total(),
            **counts,
            **tokens,
            "cost": round(cost(self.tokens), 6),
        }


def statistics_of(
    exercises: Sequence[Exercise], made: Collection[Attempt], failed: Collection[Attempt], *, seeds: range, cost: Cost
) -> dict[str, Any]:
    """Count each exercise once: `kept`, `dropped` (all rounds made, none kept) or `open` (rounds are left)."""
    last = max((attempt.seed for attempt in (*made, *failed)), default=seeds.start)
    references = {exercise.problem.id: exercise.reference for exercise in exercises}
    rounds = {seed: Round(number) for number, seed in enumerate(range(seeds.start, max(seeds.stop, last + 1)), 1)}
    kept: set[str] = set()
    tries: Counter[str] = Counter()
    for attempt in (*made, *failed):
        rounds[attempt.seed].add(attempt, references[attempt.problem_id])
    for attempt in made:
        tries[attempt.problem_id] += 1
        if outcome_of(attempt.trace, references[attempt.problem_id]) is Outcome.KEPT:
            kept.add(attempt.problem_id)
    dropped = sum(count >= len(seeds) and name not in kept for name, count in tries.items())
    lines = [one.as_json(cost) for one in rounds.values()]
    return {
        "problems": len(exercises),
        "kept": len(kept),
        "dropped": dropped,
        "open": len(exercises) - len(kept) - dropped,
        "cost": round(sum(line["cost"] for line in lines), 6),
        "rounds": lines,
    }


def table_of(statistics: dict[str, Any]) -> Table:
    """A table with a row for each round."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows = statistics["rounds"]
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" for value in row.values()))
    return table
