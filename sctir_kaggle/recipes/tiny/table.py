"""What each stage's model scores on the held-out problems, from the journals of its runs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from sctir_kaggle._version import __version__
from sctir_kaggle.journal import stream_results
from sctir_kaggle.recipes.evaluation import by_family, score
from sctir_kaggle.recipes.gptq.card import version_of
from sctir_kaggle.report.records import journal_of
from sctir_kaggle.report.score import report_of
from sctir_kaggle.report.summary import Summary


def table(runs: Mapping[str, Path], *, title: str, seeds: int) -> str:
    """Markdown, a row a run: `runs` are their folders by the names of the rows."""
    rows = [_row(name, summary) for name, run in runs.items() for summary in report_of([run]).summaries]
    head = f"| {title} | right (%), mean ± sd of {seeds} seeds | single candidates right (%) | seconds a problem |"
    return "\n".join([head, "|---|---|---|---|", *rows, "", made_with()])


def _row(name: str, summary: Summary) -> str:
    accuracy = summary.accuracy
    if accuracy is None or accuracy.one is None:
        return f"| {name} | | | |"
    spread = f" ± {100 * accuracy.sd:.1f}" if accuracy.sd is not None else ""
    single, seconds = 100 * accuracy.one, summary.cost.seconds
    return f"| {name} | {100 * accuracy.mean:.1f}{spread} | {single:.1f} | {seconds:.2f} |"


def families(run: Path) -> str:
    """Markdown, a row a family of the problems in `run`, the hardest first."""
    results = list(stream_results(journal_of(run))[1])
    each = len(results[0].traces)
    rows = {**by_family(results), "all": score(results)}.items()
    head = f"| family | single candidates right | majority of {each} |\n|---|---|---|\n"
    return head + "\n".join(f"| {name} | {found.single:.2f} | {found.majority:.2f} |" for name, found in rows)


def made_with() -> str:
    """The versions that the figures hang on."""
    libraries = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "transformers", "trl", "gptqmodel"))
    return f"sctir_kaggle {__version__}, {libraries}, Python {platform.python_version()}."
