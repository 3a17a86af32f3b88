"""Rows that are not compared, by the `source` that AI-MO/NuminaMath-CoT names for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sctir_kaggle.recipes.rows import Row

SHOWN = 10
"""Sources that a notice names."""


@dataclass(slots=True)
class Exempt:
    """The sources whose rows are exempt, and how many rows of each source have been seen; `None` is no source.

    A row whose `source` is missing, empty or no text is never exempt.
    """

    sources: tuple[str, ...]
    seen: Counter[str | None] = field(default_factory=Counter)

    def covers(self, row: Row) -> bool:
        """Count the row; say whether it is exempt."""
        source = row.get("source")
        name = source if isinstance(source, str) and source else None
        self.seen[name] += 1
        return name in self.sources

    def counts(self) -> dict[str, int]:
        """Exempt rows by source, in the order of `sources`."""
        return {source: self.seen[source] for source in self.sources}

    def notices(self) -> Iterator[str]:
        """What may not be as meant, each on one line."""
        if not self.sources:
            return
        rows, without = self.seen.total(), self.seen[None]
        if without == rows:
            yield f"exempt is {', '.join(self.sources)}, but no row has a `source`: none is exempt"
            return
        known = [name for name, _ in self.seen.most_common() if name is not None]
        for source in self.sources:
            if source not in self.seen:
                more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
                yield f"exempt names {source}, which no row has as its `source`: there are {', '.join(known[:SHOWN])}{more}"
        if without:
            yield f"{without:,} of {rows:,} rows have no `source` and are not exempt"
