"""What a notebook's reader sees of a run: settings, votes of all problems, one worked, the viewer's page; and its verdict.

Only the editor calls this. In a rerun nothing may fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sctir_kaggle.competition.health import health_of
from sctir_kaggle.display import warnings_of
from sctir_kaggle.journal import read_faults, stream_journal
from sctir_kaggle.kaggle import html
from sctir_kaggle.kaggle.image import FREEZE, freeze
from sctir_kaggle.kaggle.worked import worked_problem
from sctir_kaggle.kinds import shown
from sctir_kaggle.opening import dialect_of, without_secrets
from sctir_kaggle.settings import DEFAULT, RunConfig, known
from sctir_kaggle.types import SolveResult, TraceStatus

TURNED = (
    *("competition", "engine", "model", "preset", "dialect", "candidates", "turns", "temperature", "top_p"),
    *("max_tokens", "code_seconds", "vote", "stop", "seed", "budget"),
)
"""The settings that are shown; the others are collapsed."""


class Run(Protocol):
    """What is read of a `Submission`."""

    @property
    def results(self) -> list[SolveResult]: ...

    @property
    def faults(self) -> list[str]: ...

    @property
    def journal(self) -> Path: ...


class RunFailed(RuntimeError):
    """The run in the editor counts as failed: too many candidates failed by a fault of engine or sandbox."""


def settings_table(run: RunConfig) -> str:
    """Every setting, its value and who gave it; those that are turned most often first."""

    def rows(names: Sequence[str]) -> str:
        cells = [
            (name, shown(without_secrets(run.value(name))), run.sources.get(name, DEFAULT), known()[name].help)
            for name in names
        ]
        return html.table(("setting", "value", "from", "what it is"), cells)

    others = [name for name in known() if name not in TURNED]
    return rows(TURNED) + html.details(f"{len(others)} more settings", rows(others))


def votes_table(results: Sequence[SolveResult]) -> str:
    """A row a problem: answer, reference, all votes, how its candidates ended, seconds."""
    columns = ("problem", "answer", "right is", "votes", "answered", "ended by", "seconds")
    return html.table(columns, map(_row, results), right=("answer", "right is", "answered", "seconds"))


def worked(run: Run) -> str:
    """One problem of it, with the prompt as its journal's header has it."""
    header: dict[str, Any] = stream_journal(run.journal)[0]
    return worked_problem(run.results, dialect_of(header, run.journal)) or "no problem has a vote"


def write_view(run: Run) -> Path:
    """The viewer's page of the run, beside its journal: every candidate of every problem. Its path."""
    from sctir_kaggle.viewer.page import write_page

    path = run.journal.with_name("view.html")
    header = stream_journal(run.journal)[0]
    write_page(run.results, [header], path, title="SC-TIR", faults=read_faults(run.journal))
    return path


def write_image(folder: Path) -> Path:
    """`image.txt`: this Python and the distributions that are installed here, before any wheel is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FREEZE
    path.write_text(freeze(), encoding="utf-8")
    return path


def judge(run: Run) -> None:
    """Prints what makes the run doubtful. Raises `RunFailed`, with the first fault, where it counts as failed."""
    health = health_of(run.results)
    for line in [*warnings_of(run.results), *run.faults]:
        print("warning:", line)
    if health.fault:
        raise RunFailed(f"{health.fault}; do not submit it: mend that, then run all cells again")
    if health.doubt:
        print("warning: think before you submit it:", health.doubt)


def _row(result: SolveResult) -> tuple[str, ...]:
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    reference = "" if result.problem.answer is None else str(result.problem.answer)
    answer = f"{result.answer}{' (default)' if result.fallback else ''}"
    mark = {True: " \u2713", False: " \u2717", None: ""}[result.correct]
    return (
        result.problem.id,
        answer + mark,
        reference,
        _votes(result),
        f"{answered} of {len(result.traces)}",
        result.stopped,
        f"{result.seconds:.1f}",
    )


def _votes(result: SolveResult, most: int = 4) -> str:
    leading = ", ".join(f"{answer} \u00d7 {score:g}" for answer, score in result.vote.ranking[:most])
    more = len(result.vote.ranking) - most
    return f"{leading}, {more} more" if more > 0 else leading or "none"
