"""What a notebook's reader sees of a run: settings, votes of all problems, one worked, the viewer's page; and its verdict.

Only the editor calls this. In a rerun nothing may fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sctir_kaggle.competition.health import health_of
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.display import warnings_of
from sctir_kaggle.header import dialect_of, without_secrets
from sctir_kaggle.journal import stream_journal
from sctir_kaggle.kaggle import html
from sctir_kaggle.kaggle.wheels.image import FREEZE, freeze
from sctir_kaggle.kinds import shown
from sctir_kaggle.settings import RunConfig, all_settings
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Turn, status_counts

ORDERED = 64
"""Votes that are listed one by one."""

FENCES = ("```python", "```py", "```")
"""What a model writes before its code; the code is shown in their place."""


def worked_problem(results: Sequence[SolveResult], dialect: Dialect | None = None) -> str:
    """The most telling one of `results`; empty where no problem has a vote. With `dialect` its prompt is shown, too."""
    voted = [result for result in results if winners(result)]
    if not voted:
        return ""
    result = max(voted, key=telling)
    trace = max(winners(result), key=lambda trace: trace.executions)
    return "".join(
        (
            html.heading(f"Problem {result.problem.id}"),
            html.text(result.problem.text),
            _prompt(dialect, result.problem),
            html.heading(f"Candidate {trace.candidate + 1} of {len(result.traces)}, which voted for {trace.answer}"),
            *(_turn(number, turn) for number, turn in enumerate(trace.turns, 1)),
            html.heading(f"The vote: {result.answer}{_checked(result)}"),
            _vote(result),
        )
    )


def telling(result: SolveResult) -> tuple[bool, bool, bool, int]:
    """How much a problem shows: a right answer, code that ran, a vote with a rival, candidates that answered."""
    ran = any(trace.executions for trace in winners(result))
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    return result.correct is not False, ran, len(result.vote.ranking) > 1, answered


def winners(result: SolveResult) -> list[Trace]:
    """The candidates that voted for the answer."""
    return [trace for trace in result.traces if not result.fallback and trace.answer == result.answer]


def _prompt(dialect: Dialect | None, problem: Problem) -> str:
    """What the model goes on from, character by character."""
    if dialect is None or not dialect.prompt:
        return ""
    prompt = "".join(segment for segment in render(dialect, problem) if isinstance(segment, str))
    return html.details(f"The prompt, in the dialect {dialect.name}", html.pre(html.cut(prompt)))


def _turn(number: int, turn: Turn) -> str:
    """What was written, the code that ran, and what it printed."""
    before, after = _around(turn)
    return "".join(
        (
            html.text((turn.prefix + before).strip()) if (turn.prefix + before).strip() else "",
            html.python(html.cut(turn.code)) if turn.code else "",
            _output(number, turn),
            html.text(after.strip()) if after.strip() else "",
        )
    )


def _around(turn: Turn) -> tuple[str, str]:
    """The text before and after the code; all of it is before where the code does not stand in it as it ran."""
    written = turn.completion.text
    code = (turn.code or "").strip()
    if not code or code not in written:
        return (written, "") if not code else (_without_fence(written.partition("```")[0]), "")
    before, _, after = written.partition(code)
    return _without_fence(before), after.strip().removeprefix("```").strip().removesuffix("```output").strip()


def _without_fence(before: str) -> str:
    before = before.rstrip()
    return next((before.removesuffix(fence) for fence in FENCES if before.endswith(fence)), before)


def _output(number: int, turn: Turn) -> str:
    if turn.execution is None:
        return ""
    ended = f"turn {number} ran, {turn.execution.status.value}, {turn.execution.seconds:.2f} s; it printed:"
    return f"<small>{ended}</small>{html.pre(html.cut(turn.execution.output.rstrip()) or '(nothing)')}"


def _vote(result: SolveResult) -> str:
    counts = Counter(trace.answer for trace in result.traces)
    rows = [(str(answer), f"{score:g}", str(counts[answer])) for answer, score in result.vote.ranking]
    return html.table(("answer", "votes", "candidates"), rows, right=("answer", "votes", "candidates")) + "".join(
        f"<div>{line}</div>" for line in _course(result)
    )


def _course(result: SolveResult) -> Iterator[str]:
    """The votes in the order in which they came, why the other candidates have none, and why it ended."""
    came = [str(trace.answer) for trace in result.traces if trace.answer is not None]
    yield f"as they came: {', '.join(came[:ORDERED])}{', ...' if len(came) > ORDERED else ''}"
    if ends := status_counts(trace for trace in result.traces if trace.status is not TraceStatus.ANSWERED):
        yield "without a vote: " + ", ".join(f"{count} {status.value}" for status, count in ends.items())
    yield f"{result.seconds:.1f} s, ended by: {result.stopped}"


def _checked(result: SolveResult) -> str:
    return {True: ", which is right", False: f"; right is {result.problem.answer}", None: ""}[result.correct]


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
            (name, shown(without_secrets(run.value(name))), run.source(name), all_settings()[name].help)
            for name in names
        ]
        return html.table(("setting", "value", "from", "what it is"), cells)

    others = [name for name in all_settings() if name not in TURNED]
    return rows(TURNED) + html.details(f"{len(others)} more settings", rows(others))


def votes_table(results: Sequence[SolveResult]) -> str:
    """A row a problem: answer, reference, all votes, how its candidates ended, seconds."""
    columns = ("problem", "answer", "right is", "votes", "answered", "ended by", "seconds")
    return html.table(columns, map(_row, results), right=("answer", "right is", "answered", "seconds"))


def worked(run: Run) -> str:
    """One problem of it, with the prompt as its journal's header has it."""
    header: dict[str, Any] = stream_journal(run.journal)[0]
    return worked_problem(run.results, dialect_of(header, run.journal)) or "no problem has a vote"


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
