"""Find and drop training rows that contain a validation problem: `python -m sctir_kaggle.recipes.data.decontaminate`.

Two rules, NuminaMath's: ten words in a row shared with a validation item, or an embedding nearer than 0.15 to one; rows of
exempt sources are kept. Covered: the problems of rows and sets. Not covered: what a solution quotes; a problem in another
language, unless the embedding model sees it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sctir_kaggle.problems import read_problems
from sctir_kaggle.problems.hub import hub_name
from sctir_kaggle.recipes.data.exempt import Exempt
from sctir_kaggle.recipes.data.near import Embeddings, Nearness, TfIdf, sentence_transformer, served
from sctir_kaggle.recipes.data.overlap import Item, Match, Overlap, Reason
from sctir_kaggle.recipes.rows import KINDS, Row, read_rows, write_rows
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.train.packing import read_data
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from rich.table import Table


REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Found:
    """A row to drop, by its id, and why."""

    row: str
    match: Match


@dataclass(slots=True)
class Report:
    """All matches in `rows` rows; `sets` holds the number of items of each validation set.

    `nearness` names the measure of distance: an embedding model, shared words (tfidf), or none. A row counts once, under
    its first reason in the order equal, overlap, near. `exempt` counts the rows that were not compared, by their source, and
    `notices` say what of the exemption may not be as meant.
    """

    rows: int
    sets: dict[str, int]
    n: int
    limit: float
    nearness: str
    found: list[Found] = field(default_factory=list)
    exempt: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, dict[str, int]]:
        """Dropped rows by set and reason."""
        seen = Counter((found.match.item.split("/")[0], found.match.reason) for found in self.found)
        return {name: {reason: seen[name, reason] for reason in REASONS} for name in self.sets}  # type: ignore[index]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON, with all matches."""
        facts = asdict(self)
        matches = [{"row": found.row, **found.match._asdict()} for found in self.found]
        return {**facts, "dropped": len(self.found), "counts": self.counts(), "found": matches}

    def table(self) -> Table:
        """A table with a row for each validation set."""
        from rich.table import Table

        table = Table(title=f"{self.rows:,} rows, {len(self.found):,} to drop{self._exempt()}")
        for number, name in enumerate(("set", "items", *REASONS)):
            table.add_column(name, justify="right" if number else "left")
        for name, counts in self.counts().items():
            table.add_row(name, f"{self.sets[name]:,}", *(f"{counts[reason]:,}" for reason in REASONS))
        return table

    def _exempt(self) -> str:
        return f", {sum(self.exempt.values()):,} exempt" if self.exempt else ""

    def rules(self) -> str:
        """The rules for a match, on one line."""
        near = "no distance" if self.nearness == "none" else f"distance < {self.limit:g} ({self.nearness})"
        return f"dropped for: equal text, {self.n} words in a row, {near}"


def sizes(items: Iterable[str]) -> dict[str, int]:
    """The number of items of each set, counted from their ids."""
    return dict(Counter(item.split("/")[0] for item in items))


AT_ONCE = 1024
"""Rows whose distances are computed in one call."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields of `decontaminate.yaml`. The three output files may each be null."""

    rows: Path
    """The training rows: .jsonl(.gz) or .csv, or owner/name on the Hub, whose split `train` is taken."""
    validation: tuple[Path, ...]
    """The sets to compare with: files of rows, each named after its file, or data sets on the Hub (owner/name/config:split)."""
    kept: Path | None = None
    """Output: the rows that match nothing."""
    dropped: Path | None = None
    """Output: the other rows, each with `contamination`: reason, item, shared words or distance."""
    report: Path | None = None
    """Output: the counts and all matches as JSON."""
    exempt: tuple[str, ...] = ()
    """Rows with one of these as their `source` are kept without a look; a row without a source is always compared."""
    ngram: int = 10
    """Words in a row that no row may share with an item."""
    distance: float = 0.15
    """Cosine distance below which a row is dropped."""
    embedder: Literal["sentence-transformers", "endpoint", "tfidf", "none"] = "endpoint"
    """What measures it. tfidf counts shared words, which is not the same thing; none skips the rule."""
    model: str = "mistral-embed"
    """The embedding model: the name that an endpoint serves; for sentence-transformers a folder or a name on the Hub."""
    base_url: str | None = None
    """The endpoint's URL, which every problem is sent to; no default, so that nothing is sent that was not meant to be. The
    key is the environment's OPENAI_API_KEY."""
    batch: int = 64
    """Texts in a forward pass of the model, or in a request."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    from rich.console import Console

    settings = settings_of_command(Settings, __doc__, arguments)
    report = decontaminate(settings)
    console = Console()
    console.print(report.table(), report.rules())
    for notice in report.notices:
        console.print(notice, markup=False, soft_wrap=True)
    if settings.report:
        settings.report.parent.mkdir(parents=True, exist_ok=True)
        settings.report.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")


def decontaminate(settings: Settings) -> Report:
    """Compare every row with every item and write the requested files.

    The rows are read again for each file, so that only the matches are in memory. Raises `UserError` for a file that cannot
    be read or would be overwritten, `EngineError` for an endpoint that does not serve.
    """
    _refuse(settings)
    items = read_items(settings.validation)
    overlap, nearness = Overlap(items, settings.ngram), nearness_of(settings, items)
    exempt = Exempt(settings.exempt)
    rows, found = find(training_rows(settings.rows), overlap, nearness, settings.distance, exempt)
    if settings.kept:
        write_rows(settings.kept, (row for n, row in enumerate(training_rows(settings.rows)) if n not in found))
    if settings.dropped:
        write_rows(settings.dropped, _dropped(training_rows(settings.rows), found))
    named = settings.embedder if settings.embedder in ("none", "tfidf") else f"{settings.embedder}, {settings.model}"
    matches = [found[n] for n in sorted(found)]
    counted = sizes(item.id for item in items)
    limits = (settings.ngram, settings.distance, named)
    return Report(rows, counted, *limits, matches, exempt.counts(), list(exempt.notices()))


def training_rows(source: Path) -> Iterator[Row]:
    """The rows of a file, or of a data set on the Hub. Raises `UserError` where one has no problem."""
    if source.name.endswith(KINDS):
        yield from read_rows(source)
        return
    for row in read_data([str(source)]):
        if not isinstance(row.get("problem"), str) or not row["problem"].strip():
            raise UserError(f"{row['id']}: `problem` is {row.get('problem')!r}; a text is needed")
        yield dict(row)


def read_items(paths: Iterable[Path]) -> list[Item]:
    """The problems of validation sets, with ids "SET/ID". Raises `UserError` where there are none."""
    items = [item for path in paths for item in _items(path)]
    if not items:
        raise UserError("no validation problems: --set validation='[A.csv, B.csv]'; rows are held against these")
    return items


def _items(path: Path) -> Iterator[Item]:
    """The problems of a file of rows, or of a data set on the Hub or a copy in a folder, which is named after the data set."""
    on_hub = hub_name(str(path))
    if path.is_dir() or (on_hub and not path.exists()):
        name = on_hub.id.split("/")[-1] if on_hub else path.name
        yield from (Item(f"{name}/{problem.id}", problem.text) for problem in read_problems(path))
    else:
        yield from (Item(f"{path.name.split('.')[0]}/{row['id']}", row["problem"]) for row in read_rows(path))


def nearness_of(settings: Settings, items: Sequence[Item]) -> Nearness | None:
    """The measure that `embedder` names; None for none."""
    if settings.embedder == "none":
        return None
    if settings.embedder == "tfidf":
        return TfIdf(items)
    if settings.embedder == "sentence-transformers":
        return Embeddings(sentence_transformer(settings.model, batch=settings.batch), items)
    assert settings.base_url is not None  # `_refuse`
    return Embeddings(served(settings.base_url, settings.model, batch=settings.batch), items)


def find(
    rows: Iterable[Row], overlap: Overlap, nearness: Nearness | None, limit: float, exempt: Exempt
) -> tuple[int, dict[int, Found]]:
    """Return the number of rows, and the matches by the row's index; `exempt` counts the rows' sources."""
    found: dict[int, Found] = {}
    count = 0
    for count, batch in _batches(rows):
        start = count - len(batch)
        compared = [(start + n, row) for n, row in enumerate(batch) if not exempt.covers(row)]
        matches = [overlap.match(row["problem"]) for _, row in compared]
        if nearness:
            matches = _near(matches, [row["problem"] for _, row in compared], nearness, limit)
        for (n, row), match in zip(compared, matches, strict=True):
            if match:
                found[n] = Found(row["id"], match)
    return count, found


def _near(
    matches: Sequence[Match | None], texts: Sequence[str], nearness: Nearness, limit: float
) -> list[Match | None]:
    """`matches`, completed by those that only the distance finds."""
    left = [n for n, match in enumerate(matches) if match is None]
    filled = list(matches)
    for n, (item, distance) in zip(left, nearness.nearest([texts[n] for n in left]) if left else (), strict=True):
        if distance < limit:
            filled[n] = Match("near", item, distance=round(distance, 4))
    return filled


def _batches(rows: Iterable[Row]) -> Iterator[tuple[int, list[Row]]]:
    """Batches of rows, each with the number of rows up to its end."""
    iterator, count = iter(rows), 0
    while batch := list(islice(iterator, AT_ONCE)):
        count += len(batch)
        yield count, batch


def _dropped(rows: Iterable[Row], found: dict[int, Found]) -> Iterator[Row]:
    for n, row in enumerate(rows):
        if n in found:
            yield {**row, "contamination": found[n].match._asdict()}


def _refuse(settings: Settings) -> None:
    """Raise `UserError` where an output would overwrite an input, a server is not named, or a limit is out of range."""
    if settings.embedder == "endpoint" and settings.base_url is None:
        raise UserError(
            "embedder endpoint needs a server: --set base_url=https://api.mistral.ai, with its key in OPENAI_API_KEY, "
            "or another embedder (sentence-transformers, tfidf, none)"
        )
    inputs = {path.resolve() for path in (settings.rows, *settings.validation)}
    for path in (settings.kept, settings.dropped, settings.report):
        if path and path.resolve() in inputs:
            raise UserError(f"{path} is read and cannot be written too; name another file")
    if settings.ngram < 1:
        raise UserError(f"ngram is {settings.ngram}; at least 1, and 10 is usual")


if __name__ == "__main__":
    run_recipe(main)
