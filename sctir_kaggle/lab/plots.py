"""Plot a run: for each problem its seconds and its candidates' votes. matplotlib is imported only to draw."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from sctir_kaggle.display import is_correct
from sctir_kaggle.types import SolveResult, TraceStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

VOTES = {
    "leader": "#0072b2",
    "runner-up": "#e69f00",
    "others": "#cc79a7",
    "no answer": "#a6a6a6",
    "cancelled": "#e9e9e9",
}
"""Parts of a bar of votes from left to right, in the colours of Okabe and Ito, which colour-blind readers can distinguish."""

TIMES = {"deadline": ("deadline", "#d55e00"), "error": ("error", "#000000")}
IN_TIME = ("in time", "#56b4e9")

LEGEND = {"frameon": False, "fontsize": 8, "borderpad": 0, "handlelength": 1.2, "columnspacing": 1.2}

ROW = 0.23
"""Height of a problem in inches."""

ID, ANSWER = 20, 12
"""Characters shown of an id and of an answer."""

CHARACTER = 1.3
"""Percent of the bar's width that a character of an answer takes."""


def votes_and_times(results: Sequence[SolveResult], *, share: float | None = None) -> Figure:
    """One row per problem: seconds on the left, the candidates' votes and the leading answers on the right.

    `share` is an equal share of the clock in seconds, drawn as a line where it is not far beyond the bars.
    """
    from matplotlib import style  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    with style.context("default"):  # light, whatever the notebook's theme is
        figure = Figure(figsize=(11, 1.2 + ROW * max(3, len(results))), layout="constrained")
        times, votes = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
        _draw_times(times, results, share)
        _draw_votes(votes, results)
        for axes in (times, votes):
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
            if results:
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, **LEGEND)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG, for a notebook's output."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def vote_shares(result: SolveResult) -> dict[str, float]:
    """The share of the candidates in each of `VOTES`; they add up to 1, or are all 0 without candidates."""
    places = {answer: place for place, (answer, _) in enumerate(result.vote.ranking)}
    counts = dict.fromkeys(VOTES, 0)
    for trace in result.traces:
        if trace.answer in places:
            counts[("leader", "runner-up", "others")[min(places[trace.answer], 2)]] += 1
        else:
            counts["cancelled" if trace.status is TraceStatus.CANCELLED else "no answer"] += 1
    return {name: count / max(1, len(result.traces)) for name, count in counts.items()}


def _draw_times(axes: Axes, results: Sequence[SolveResult], share: float | None) -> None:
    kinds = [TIMES.get(result.stopped, IN_TIME) for result in results]
    for kind in dict.fromkeys(kinds):
        rows = [row for row, other in enumerate(kinds) if other == kind]
        axes.barh(rows, [results[row].seconds for row in rows], height=0.75, label=kind[0], color=kind[1])
    axes.set_yticks(range(len(results)), [_short(result.problem.id, ID) for result in results], fontsize=8)
    axes.set_ylim(max(3, len(results)) - 0.5, -0.5)
    axes.set_xlabel("seconds" if share is None else f"seconds; an equal share is {share:.0f}")
    if share is not None and share < 2 * axes.get_xlim()[1]:  # further away it would leave no room for the bars
        axes.axvline(share, color="#404040", linewidth=1, linestyle="--")


def _draw_votes(axes: Axes, results: Sequence[SolveResult]) -> None:
    shares = [vote_shares(result) for result in results]
    left = [0.0] * len(results)
    for name, colour in VOTES.items():
        widths = [100 * share[name] for share in shares]
        axes.barh(range(len(results)), widths, left=left, height=0.75, label=name, color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for row, (result, share) in enumerate(zip(results, shares, strict=True)):
        _write_answers(axes, row, result, share)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the candidates")


def _write_answers(axes: Axes, row: int, result: SolveResult, share: dict[str, float]) -> None:
    """Write the two leading answers into their bars, where they fit, and the verdict beside the bar."""
    start = 0.0
    for (answer, _), name, colour in zip(
        result.vote.ranking, ("leader", "runner-up"), ("white", "black"), strict=False
    ):
        text = _short(str(answer))
        if 100 * share[name] > CHARACTER * (len(text) + 1):
            axes.text(start + 0.6, row, text, color=colour, fontsize=8, va="center_baseline")
        start += 100 * share[name]
    axes.text(101, row, _verdict(result), fontsize=8, va="center_baseline", color="black")


def _verdict(result: SolveResult) -> str:
    """`421 ✓`, `421 ✗ 57`, `0 (default)`: the elected answer and, where it is wrong, the reference."""
    given = _short(str(result.answer)) + (" (default)" if result.fallback else "")
    if result.correct is None:
        return given
    return f"{given} ✓" if is_correct(result) else f"{given} ✗ {_short(str(result.problem.answer))}"


def _short(text: str, longest: int = ANSWER) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
