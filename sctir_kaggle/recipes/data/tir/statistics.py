"""Statistics of a run: counts for each round, how many exercises are kept, dropped or open, and how hard they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.data.tir.attempts import Attempt, Attempts, Tokens
from sctir_kaggle.recipes.data.tir.exercise import Exercise
from sctir_kaggle.recipes.data.tir.outcomes import Choice, Chosen, Outcome

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

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
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


def chosen_of(exercises: Iterable[Exercise], attempts: Attempts, choice: Choice) -> dict[str, Chosen]:
    """What became of each exercise so far, by id."""
    return {one.problem.id: choice.of(one, attempts.of(one.problem.id)) for one in exercises}


def statistics_of(
    exercises: Sequence[Exercise], attempts: Attempts, chosen: Mapping[str, Chosen], *, seeds: range, cost: Cost
) -> dict[str, Any]:
    """Count each exercise once: `kept` (as many as are wanted, or all rounds made), `dropped` (none kept) or `open`.

    `rows` are the kept attempts. `right` says of how many exercises with all rounds made so many attempts were right: the
    fewer, the harder. `labels` counts exercises without a reference.
    """
    last = max((attempt.seed for attempt in (*attempts.made, *attempts.failed)), default=seeds.start)
    rounds = {seed: Round(number) for number, seed in enumerate(range(seeds.start, max(seeds.stop, last + 1)), 1)}
    for attempt in attempts.made:
        rounds[attempt.seed].add(attempt, chosen[attempt.problem_id].outcomes[attempt.seed])
    for attempt in attempts.failed:
        rounds[attempt.seed].add(attempt, Outcome.FAILED)
    done = [one for one in chosen.values() if not one.wants_more]
    kept = sum(one.kept > 0 for one in done)
    lines = [one.as_json(cost) for one in rounds.values()]
    return {
        "problems": len(exercises),
        "kept": kept,
        "dropped": len(done) - kept,
        "open": len(exercises) - len(done),
        "rows": sum(one.kept for one in chosen.values()),
        "cost": round(sum(line["cost"] for line in lines), 6),
        "right": _histogram(chosen.values(), len(seeds)),
        "labels": _labels(exercises, chosen),
        "rounds": lines,
    }


def _histogram(chosen: Iterable[Chosen], rounds: int) -> dict[str, int]:
    """Exercises with all rounds made and a label, by the number of right attempts: "0" to the number of rounds."""
    whole = [one for one in chosen if len(one.outcomes) >= rounds and one.label is not None]
    right = Counter(one.right for one in whole)
    return {str(count): right[count] for count in range(max(rounds, *right, 0) + 1)}


def _labels(exercises: Iterable[Exercise], chosen: Mapping[str, Chosen]) -> dict[str, int]:
    """Exercises without a reference: how many there are, have a label by majority, have none, are not asked to the end."""
    found = [chosen[exercise.problem.id] for exercise in exercises if exercise.reference is None]
    waiting = sum(one.wants_more for one in found)
    labelled = sum(one.label is not None for one in found)
    return {
        "unanswered": len(found),
        "majority": labelled,
        "none": len(found) - labelled - waiting,
        "open": waiting,
    }


def table_of(statistics: dict[str, Any]) -> Table:
    """A table with a row for each round; outcomes that no attempt had are left out."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rows = statistics["rounds"]
    names = [name for name in rows[0] if name in ("round", "asked", "kept", "cost") or any(row[name] for row in rows)]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{row[name]:,}" for name in names))
    return table
