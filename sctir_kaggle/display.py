"""Show a run to a person: log lines, a live line in a terminal, and a table with the score at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeVar

from sctir_kaggle.session import Observer, refusal_of
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Vote

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


log = logging.getLogger("sctir_kaggle")

LineT = TypeVar("LineT")


def setup_logging(*, stream: TextIO | None = None, results: bool = True) -> None:
    """Write log records as bare lines to `stream`, by default standard output.

    Warnings and what a run decides before its first problem (the logger `sctir_kaggle.start`) are always written; a line a
    problem or task only with `results`.
    """
    logging.raiseExceptions = False  # a closed pipe (`| head`) is no reason for a traceback per line
    logging.basicConfig(stream=stream or sys.stdout, format="%(message)s")
    logging.getLogger("sctir_kaggle.start").setLevel(logging.INFO)
    if results:
        log.setLevel(logging.INFO)


@contextmanager
def live(line: LineT) -> Iterator[LineT]:
    """Draw `line` (anything that rich can print) 4 times a second in a terminal; elsewhere write log lines instead.

    Warnings appear above the line. It leaves nothing behind when it ends.
    """
    terminal = console()
    redrawn = terminal.is_terminal and can_redraw(sys.stdout)
    setup_logging(results=not redrawn)
    if not redrawn:
        yield line
        return
    from rich.live import Live

    with Live(line, console=terminal, refresh_per_second=4, transient=True):  # type: ignore[arg-type]
        yield line


class LiveLine(Observer):
    """One line for the problem at hand: its number, candidates done, leading answer, seconds, budget left, score so far."""

    def __init__(self, *, problems: int, candidates: int) -> None:
        self._problems = problems
        self._candidates = candidates
        self._ended: list[SolveResult] = []
        self._problem: Problem | None = None
        self._begun = False
        self._done = 0
        self._vote = Vote()
        self._started = self._until = time.monotonic()

    def problem_started(self, problem: Problem, seconds_left: float) -> None:
        now = time.monotonic()
        self._problem, self._begun, self._done, self._vote = problem, True, 0, Vote()
        self._started, self._until = now, now + seconds_left

    def candidate_ended(self, trace: Trace, vote: Vote) -> None:
        self._done += 1
        self._vote = vote

    def problem_ended(self, result: SolveResult, seconds_left: float) -> None:
        self._ended.append(result)
        self._problem, self._until = None, time.monotonic() + seconds_left

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text(" | ".join(self._parts()), no_wrap=True, overflow="ellipsis")

    def _parts(self) -> list[str]:
        now = time.monotonic()
        if not self._begun:
            return [f"loading | {now - self._started:.0f} s"]
        parts = [f"problem {min(len(self._ended) + 1, self._problems)} of {self._problems}"]
        if graded := [result for result in self._ended if result.correct is not None]:
            parts.append(f"right {sum(map(is_correct, graded))}/{len(graded)}")
        if self._problem is not None:
            leader = f"{self._vote.winner} x {self._vote.ranking[0][1]:g}" if self._vote.ranking else "none yet"
            parts += [
                f"candidates {self._done}/{self._candidates}",
                f"leading {leader}",
                f"{now - self._started:.0f} s",
            ]
        return [*parts, f"{clock_face(self._until - now)} left on the clock"]


def console(width: int = 160) -> Console:
    """Standard output; as wide as a table needs, `width`, where that is no terminal.

    Printing to a pipe whose reader has gone raises `BrokenPipeError`, as `print` does.
    """
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich itself would end the process here, with exit code 1

    return Output() if sys.stdout.isatty() else Output(width=width)


def can_redraw(stream: TextIO) -> bool:
    """Whether a line of `stream` can be drawn again: a terminal, and one that knows how to go back."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def is_correct(result: SolveResult) -> bool:
    """Whether the answer is known, and right."""
    return result.correct is True


def results_table(results: Sequence[SolveResult]) -> Table:
    """One row per problem: id, answer, reference, the two leading votes, how many candidates answered, seconds."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("id", "answer", "ref", "", "votes", "answered", "seconds"):
        table.add_column(name, justify="right" if name in ("answer", "ref", "answered", "seconds") else "left")
    for result in results:
        table.add_row(*_row(result))
    return table


def score_line(results: Sequence[SolveResult], *, seconds: float) -> str:
    """`46/50 right (92.0 %)` and its cost: time, sampled tokens, executions of code."""
    graded = [result for result in results if result.correct is not None]
    right = sum(map(is_correct, graded))
    score = f"{right}/{len(graded)} right ({100 * right / len(graded):.1f} %)" if graded else f"{len(results)} answered"
    traces = [trace for result in results for trace in result.traces]
    tokens = sum(trace.tokens for trace in traces)
    executions = sum(trace.executions for trace in traces)
    return f"{score} in {clock_face(seconds)}: {tokens:,} tokens, {executions:,} executions"


def warnings_of(results: Sequence[SolveResult]) -> list[str]:
    """Reasons why a score says little about the model: default answers, candidates that engine or sandbox failed."""
    warnings = []
    if defaults := [result for result in results if result.fallback]:
        late = sum(result.stopped == "deadline" for result in defaults)
        why = f", {late} of them ran out of time: give more --budget" if late else ""
        warnings.append(f"{len(defaults)} of {len(results)} problems had no vote and got the default answer{why}")
    failed = [trace for result in results for trace in result.traces if trace.status is TraceStatus.FAILED]
    if failed:
        warnings.append(f"{len(failed)} candidates failed, the first with: {failed[0].detail}")
    unfailed = [result for result in results if not any(trace.status is TraceStatus.FAILED for trace in result.traces)]
    if refused := [reason for result in unfailed if (reason := refusal_of(result))]:
        warnings.append(f"every candidate of {len(refused)} problems was refused, the first with: {refused[0]}")
    return warnings


def risk_line(results: Sequence[SolveResult]) -> str:
    """What each stop rule that is not exact risked, one line for each that stopped a problem; empty where none did."""
    stops = ("beta", "k", "margin")
    stopped = {name: [result.risk for result in results if result.stopped == name] for name in stops}
    return "\n".join(_risk_of(name, risks, len(results)) for name, risks in stopped.items() if risks)


def _risk_of(name: str, risks: Sequence[float | None], total: int) -> str:
    """The line for one stop rule. A risk is None where the vote is not plain: the model behind it knows plain votes only."""
    estimates = [risk for risk in risks if risk is not None]
    head = f"{name} stopped {len(risks)} of {total} problems; "
    if not estimates:
        return (
            head
            + "its risk is known for plain votes only: sctir what-if on a run with stop none counts what it changes"
        )
    return head + (
        f"under beta's model each answer differs from the full vote's with probability at most {100 * max(estimates):.2g} %, "
        f"and at most {sum(estimates):.2g} of them are expected to (not where quick candidates vote otherwise than slow ones)"
    )


def print_failure(line: str) -> None:
    """Print to standard error, red in a terminal, on one line however long it is."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(line, style="bold red"), soft_wrap=True)


def clock_face(seconds: float) -> str:
    """A time as a clock shows it, with hours only where there are any.

    >>> clock_face(32343), clock_face(247)
    ('8:59:03', '4:07')
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _row(result: SolveResult) -> tuple[str, ...]:
    from rich.markup import escape

    reference = "" if result.problem.answer is None else str(result.problem.answer)
    mark = {True: "[green]right", False: "[red]wrong", None: ""}[result.correct]
    answer = f"{result.answer} [yellow](default)" if result.fallback else str(result.answer)
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    cut = sum(trace.status is TraceStatus.CANCELLED for trace in result.traces)
    of_all = f"{answered}/{len(result.traces)}" + (f", {cut} cut" if cut else "")
    return escape(result.problem.id), answer, reference, mark, _votes(result.vote), of_all, f"{result.seconds:.1f}"


def _votes(vote: Vote) -> str:
    leaders = "  ".join(f"{answer} x {score:g}" for answer, score in vote.ranking[:2])
    return leaders + (f"  +{len(vote.ranking) - 2}" if len(vote.ranking) > 2 else "")
