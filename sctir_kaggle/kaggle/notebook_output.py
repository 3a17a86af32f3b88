"""HTML that the submission notebook displays: settings, source code, votes, one worked problem; and its verdict on the run.

Only the editor's run calls this. In a competition rerun nothing is shown, because nothing may fail.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

import sctir_kaggle
from sctir_kaggle import answers, rollout, solver, voting
from sctir_kaggle.competition.health import health_of
from sctir_kaggle.dialects import rendering, rows
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.display import warnings_of
from sctir_kaggle.header import dialect_of, without_secrets
from sctir_kaggle.journal import read_header
from sctir_kaggle.kaggle import html
from sctir_kaggle.kaggle.wheels.image import FREEZE, freeze
from sctir_kaggle.kinds import shown
from sctir_kaggle.settings import RunConfig, all_settings
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Turn, status_counts

PACKAGE = Path(sctir_kaggle.__file__).parent

MAIN_SETTINGS = (
    *("competition", "engine", "model", "preset", "dialect", "candidates", "turns", "temperature", "top_p"),
    *("max_tokens", "code_seconds", "vote", "stop", "seed", "budget"),
)
"""Settings that are shown first; the others are collapsed."""

SOURCES: tuple[tuple[str, ModuleType, str | None], ...] = (
    ("The prompt format of the NuminaMath models: one dialect", rows, "NUMINA"),
    ("How the prompt grows: problem, what the model wrote, what its code printed", rendering, None),
    ("The loop of one candidate: generate, run the code, append the output, until it has an answer", rollout, None),
    ("N candidates at once, a vote after each, and the end as soon as the vote is decided", solver, None),
    ("From the text in the box to an integer", answers, None),
    ("The vote", voting, None),
)
"""Title, module, and the one assignment of it that is shown; None shows the whole module."""

LISTED_VOTES = 64
"""Votes that are listed one by one."""

FENCES = ("```python", "```py", "```")
"""Markdown before a block of code; the block is shown highlighted instead."""

OPEN_OUTPUT = re.compile(r"```(?:output|out|stdout|console|result)s?\Z", re.IGNORECASE)
"""A fence that the model left open for the output, under the names that `dialects.fences` reads."""


class Run(Protocol):
    """The part of a `Submission` that is read here."""

    @property
    def results(self) -> list[SolveResult]: ...

    @property
    def faults(self) -> list[str]: ...

    @property
    def journal(self) -> Path: ...


class RunFailed(RuntimeError):
    """The editor's run counts as failed: engine or sandbox failed on too many problems."""


def settings_table(run: RunConfig) -> str:
    """Return a table of every setting: its value, which layer set it, and what it is."""

    def table(names: Sequence[str]) -> str:
        cells = [
            (name, shown(without_secrets(run.value(name))), run.source(name), all_settings()[name].help)
            for name in names
        ]
        return html.table(("setting", "value", "from", "what it is"), cells)

    others = [name for name in all_settings() if name not in MAIN_SETTINGS]
    return table(MAIN_SETTINGS) + html.details(f"{len(others)} more settings", table(others))


def write_image(folder: Path) -> Path:
    """Write `image.txt`, the Python and the distributions of this image, before any wheel is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FREEZE
    path.write_text(freeze(), encoding="utf-8")
    return path


def key_sources() -> str:
    """Return the source code of prompt, loop and vote, each part collapsed below its file name."""
    parts = []
    for title, module, name in SOURCES:
        source = inspect.getsource(module)
        place = Path(str(module.__file__)).relative_to(PACKAGE.parent)
        parts.append(html.details(f"{title}: {place}", html.python(_assignment(source, name) if name else source)))
    return "".join(parts)


def module_list() -> str:
    """Return all modules with the first paragraph of their docstrings, collapsed."""
    lines = []
    for path in sorted(PACKAGE.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"{path.relative_to(PACKAGE)!s:32}  {' '.join(doc.partition(chr(10) * 2)[0].split())}".rstrip())
    return html.details(f"All {len(lines)} modules, in {PACKAGE}", html.pre("\n".join(lines)))


def votes_table(results: Sequence[SolveResult]) -> str:
    """Return a row for each problem: answer, reference, votes, how many candidates answered, why it ended, seconds."""
    columns = ("problem", "answer", "reference", "votes", "answered", "ended by", "seconds")
    return html.table(columns, map(_row, results), right=("answer", "reference", "answered", "seconds"))


def worked(run: Run) -> str:
    """Return the most instructive problem of the run, with the prompt in the dialect of the journal's header."""
    header = read_header(run.journal)
    return worked_problem(run.results, dialect_of(header, run.journal)) or "no problem has a vote"


def worked_problem(results: Sequence[SolveResult], dialect: Dialect | None = None) -> str:
    """Return the most instructive problem: text, prompt (with `dialect`), one winning candidate turn by turn, the vote.

    Empty if no problem has a vote.
    """
    voted = [result for result in results if winners(result)]
    if not voted:
        return ""
    result = max(voted, key=instructiveness)
    trace = max(winners(result), key=_executions)
    verdict = {True: ", which is right", False: f"; right is {result.problem.answer}", None: ""}[result.correct]
    return "".join(
        (
            html.heading(f"Problem {result.problem.id}"),
            html.text(result.problem.text),
            _prompt(dialect, result.problem),
            html.heading(f"Candidate {trace.candidate + 1} of {len(result.traces)}, which voted for {trace.answer}"),
            *(_turn(number, turn) for number, turn in enumerate(trace.turns, 1)),
            html.heading(f"The vote: {result.answer}{verdict}"),
            _vote(result),
        )
    )


def instructiveness(result: SolveResult) -> tuple[bool, bool, bool, int]:
    """Rank a problem by how much it shows: not wrong, code that ran, rival answers, candidates that answered."""
    ran = any(_executions(trace) for trace in winners(result))
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    return result.correct is not False, ran, len(result.vote.ranking) > 1, answered


def winners(result: SolveResult) -> list[Trace]:
    """Return the candidates that voted for the answer."""
    return [trace for trace in result.traces if not result.fallback and trace.answer == result.answer]


def judge(run: Run) -> None:
    """Print every warning about the run. Raises `RunFailed`, with the first fault, if the run counts as failed."""
    health = health_of(run.results)
    for line in [*warnings_of(run.results), *run.faults]:
        print("warning:", line)
    if health.fault:
        raise RunFailed(f"{health.fault}; do not submit it: fix that, then run all cells again")
    if health.doubt:
        print("warning: think before you submit it:", health.doubt)


def _assignment(source: str, name: str) -> str:
    """The source of the top-level assignment to `name`."""
    assignments = (node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    [node] = [node for node in assignments if ast.unparse(node.targets[0]) == name]
    return ast.get_source_segment(source, node) or ""


def _row(result: SolveResult) -> tuple[str, ...]:
    answered = sum(trace.status is TraceStatus.ANSWERED for trace in result.traces)
    reference = "" if result.problem.answer is None else str(result.problem.answer)
    answer = f"{result.answer}{' (default)' if result.fallback else ''}"
    mark = {True: " \u2713", False: " \u2717", None: ""}[result.correct]
    return (
        result.problem.id,
        answer + mark,
        reference,
        _leading_votes(result),
        f"{answered} of {len(result.traces)}",
        result.stopped,
        f"{result.seconds:.1f}",
    )


def _leading_votes(result: SolveResult, most: int = 4) -> str:
    leading = ", ".join(f"{answer} \u00d7 {score:g}" for answer, score in result.vote.ranking[:most])
    more = len(result.vote.ranking) - most
    return f"{leading}, {more} more" if more > 0 else leading or "none"


def _executions(trace: Trace) -> int:
    return sum(turn.execution is not None for turn in trace.turns)


def _prompt(dialect: Dialect | None, problem: Problem) -> str:
    """The first prompt, character by character."""
    if dialect is None or not dialect.prompt:
        return ""
    prompt = "".join(segment for segment in rendering.render(dialect, problem) if isinstance(segment, str))
    return html.details(f"The prompt, in the dialect {dialect.name}", html.pre(html.cut(prompt)))


def _turn(number: int, turn: Turn) -> str:
    """The text of a turn, the code that ran, and what it printed."""
    before, after = _around_code(turn)
    parts = [html.text((turn.prefix + before).strip()) if (turn.prefix + before).strip() else ""]
    if turn.code:
        parts.append(html.python(html.cut(turn.code)))
    if turn.execution is not None:
        ended = f"turn {number} ran, {turn.execution.status.value}, {turn.execution.seconds:.2f} s; it printed:"
        output = html.cut(turn.execution.output.rstrip()) or "(nothing)"
        parts.append(f"<small>{ended}</small>{html.pre(output)}")
    if after.strip():
        parts.append(html.text(after.strip()))
    return "".join(parts)


def _around_code(turn: Turn) -> tuple[str, str]:
    """The text before and after the code. Where the text does not hold the code as it ran, all is before."""
    written = turn.completion.text
    code = (turn.code or "").strip()
    if not code or code not in written:
        return (written, "") if not code else (_without_fence(written.partition("```")[0]), "")
    before, _, after = written.partition(code)
    after = after.strip().removeprefix("```").strip()
    return _without_fence(before), OPEN_OUTPUT.sub("", after).strip()


def _without_fence(before: str) -> str:
    before = before.rstrip()
    return next((before.removesuffix(fence) for fence in FENCES if before.endswith(fence)), before)


def _vote(result: SolveResult) -> str:
    counts = Counter(trace.answer for trace in result.traces)
    cells = [(str(answer), f"{score:g}", str(counts[answer])) for answer, score in result.vote.ranking]
    columns = ("answer", "votes", "candidates")
    return html.table(columns, cells, right=columns) + "".join(f"<div>{line}</div>" for line in _vote_details(result))


def _vote_details(result: SolveResult) -> Iterator[str]:
    """The votes in the order in which they came, why the other candidates have none, and why the problem ended."""
    came = [str(trace.answer) for trace in result.traces if trace.answer is not None]
    yield f"as they came: {', '.join(came[:LISTED_VOTES])}{', ...' if len(came) > LISTED_VOTES else ''}"
    ends = status_counts(trace for trace in result.traces if trace.status is not TraceStatus.ANSWERED)
    if ends:
        yield "without a vote: " + ", ".join(f"{count} {status.value}" for status, count in ends.items())
    yield f"{result.seconds:.1f} s, ended by: {result.stopped}"
