"""One problem of a run, worked: statement, prompt, what the winning candidate wrote and ran, and how the vote went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.kaggle import html
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Turn

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
    trace = max(winners(result), key=_executions)
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
    ran = any(_executions(trace) for trace in winners(result))
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    return result.correct is not False, ran, len(result.vote.ranking) > 1, answered


def winners(result: SolveResult) -> list[Trace]:
    """The candidates that voted for the answer."""
    return [trace for trace in result.traces if not result.fallback and trace.answer == result.answer]


def _executions(trace: Trace) -> int:
    return sum(turn.execution is not None for turn in trace.turns)


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
    ends = Counter(trace.status for trace in result.traces if trace.status is not TraceStatus.ANSWERED)
    if ends:
        yield "without a vote: " + ", ".join(f"{count} {status.value}" for status, count in ends.most_common())
    yield f"{result.seconds:.1f} s, ended by: {result.stopped}"


def _checked(result: SolveResult) -> str:
    return {True: ", which is right", False: f"; right is {result.problem.answer}", None: ""}[result.correct]
