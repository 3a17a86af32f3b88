"""What was found: counts by reason and set, and each match, as JSON and as a table in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from sctir_kaggle.recipes.decontamination.overlap import Match, Reason

if TYPE_CHECKING:
    from rich.table import Table

REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Found:
    """One row that is dropped, and why; `row` is its id."""

    row: str
    match: Match


@dataclass(slots=True)
class Report:
    """All that was found in `rows` rows; `sets` are the numbers of items of the validation sets.

    `nearness` says what measured the distance: an embedding model, shared words (tfidf), or none. A row is counted once,
    under the first reason in the order equal, overlap, near.
    """

    rows: int
    sets: dict[str, int]
    n: int
    limit: float
    nearness: str
    found: list[Found] = field(default_factory=list)

    def counts(self) -> dict[str, dict[str, int]]:
        """Dropped rows by set and reason."""
        seen = Counter((found.match.item.split("/")[0], found.match.reason) for found in self.found)
        return {name: {reason: seen[name, reason] for reason in REASONS} for name in self.sets}  # type: ignore[index]

    def as_json(self) -> dict[str, Any]:
        """Everything, with a line a match."""
        facts = asdict(self)
        matches = [{"row": found.row, **found.match._asdict()} for found in self.found]
        return {**facts, "dropped": len(self.found), "counts": self.counts(), "found": matches}

    def table(self) -> Table:
        """A row a validation set."""
        from rich.table import Table

        table = Table(title=f"{self.rows:,} rows, {len(self.found):,} to drop")
        for number, name in enumerate(("set", "items", *REASONS)):
            table.add_column(name, justify="right" if number else "left")
        for name, counts in self.counts().items():
            table.add_row(name, f"{self.sets[name]:,}", *(f"{counts[reason]:,}" for reason in REASONS))
        return table

    def rules(self) -> str:
        """What counts as a match, on one line."""
        near = "no distance" if self.nearness == "none" else f"distance < {self.limit:g} ({self.nearness})"
        return f"dropped for: equal text, {self.n} words in a row, {near}"


def sizes(items: Iterable[str]) -> dict[str, int]:
    """How many items each set has, of their ids."""
    return dict(Counter(item.split("/")[0] for item in items))
