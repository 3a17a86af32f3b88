"""The runs of `benchmarks.loop` as a table and as a figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.spread import spread

NAMES = {
    "a": "(a) published algorithm",
    "b": "(b) ours, to the end",
    "c": "(c) ours, exact stop",
    "d": "(d) tokens of (b), no tools",
    "e": "(e) ours, outputs at hand",
}


COLOURS = {"a": "#c8553d", "b": "#7fb69f", "c": "#2a7f62", "d": "#bbbbbb", "e": "#dddddd"}


@dataclass(frozen=True)
class Run:
    """One way, once through the problems. Shares are of the wall clock, lags in seconds, `right` in percent.

    `resent` is how many prompt tokens were sent before, and how many of them were cached; `resent_blocks` is the same of
    full cache blocks.
    """

    seconds: float
    tokens: int
    steps: int
    busy: float
    cpu: float
    lags: list[float]
    resent: tuple[int, int]
    resent_blocks: tuple[int, int]
    right: float | None

    def line(self) -> str:
        """For the log."""
        return (
            f"{self.seconds:.1f} s, {self.tokens} tokens in {self.steps} steps, busy {100 * self.busy:.0f} %, "
            f"loop CPU {100 * self.cpu:.1f} %, lag {lag(self.lags)} ms, hits {_hits([self])}, right {self.right} %"
        )


def table(title: str, runs: dict[str, list[Run]]) -> str:
    """Markdown: a row a way, medians with ranges; below it, the ratios round by round."""
    lines = [
        f"| {title} | seconds | tokens | prefix hits | engine busy | loop CPU | lag p50 / p99, ms | right |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(NAMES[name], runs[name]) for name in runs),
        "",
        *_ratios(runs),
    ]
    return "\n".join(lines)


def _ratios(runs: dict[str, list[Run]]) -> list[str]:
    """Round by round, of the ways that were run."""
    lines = []
    if {"a", "c"} <= runs.keys():
        faster, fewer = (ratio(of(runs["a"]), of(runs["c"])) for of in (seconds, tokens))
        lines.append(f"(c) is {faster} x as fast as (a), and samples {fewer} x fewer tokens.")
    for name in sorted({"b", "e"} & runs.keys() if "d" in runs else ()):
        lines.append(f"({name}) takes {ratio(seconds(runs[name]), seconds(runs['d']))} x as long as (d).")
    return [*lines, f"Medians and ranges of {len(next(iter(runs.values())))} interleaved rounds."]


def seconds(runs: Iterable[Run]) -> list[float]:
    return [run.seconds for run in runs]


def tokens(runs: Iterable[Run]) -> list[float]:
    return [float(run.tokens) for run in runs]


def ratio(above: list[float], below: list[float]) -> str:
    """Median and range of the quotients, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)], ".2f")


def lag(lags: list[float]) -> str:
    """p50 / p99 in milliseconds."""
    ordered = sorted(lags)
    p50, p99 = (1000 * ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    return f"{p50:.1f} / {p99:.1f}"


def _row(name: str, runs: list[Run]) -> str:
    right = [run.right for run in runs if run.right is not None]
    cells = [
        name,
        spread(seconds(runs), ".1f"),
        f"{statistics.median(tokens(runs)):,.0f}",
        _hits(runs),
        f"{100 * statistics.median(run.busy for run in runs):.0f} %",
        f"{100 * statistics.median(run.cpu for run in runs):.1f} %",
        lag([late for run in runs for late in run.lags]),
        f"{statistics.fmean(right):.1f} %" if right else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _hits(runs: list[Run]) -> str:
    """Of all re-sent tokens, and of those in full blocks."""
    sent, found = (sum(column) for column in zip(*(run.resent for run in runs), strict=True))
    sent_blocks, found_blocks = (sum(column) for column in zip(*(run.resent_blocks for run in runs), strict=True))
    return f"{100 * found / sent:.0f} % ({100 * found_blocks / sent_blocks:.0f} %)" if sent else "-"


def figure(runs: dict[str, list[Run]], path: Path) -> None:
    """Bars of the median seconds and tokens of every way, with the range of the rounds."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]

    matplotlib.use("agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    drawing, axes = pyplot.subplots(1, 2, figsize=(9, 2.6), sharey=True, layout="constrained")
    for axis, title, of in zip(axes, ("seconds", "tokens sampled"), (seconds, tokens), strict=True):
        values = {NAMES[name]: of(runs[name]) for name in reversed(runs)}
        middle = [statistics.median(column) for column in values.values()]
        below = [m - min(column) for m, column in zip(middle, values.values(), strict=True)]
        above = [max(column) - m for m, column in zip(middle, values.values(), strict=True)]
        axis.barh(
            list(values), middle, xerr=[below, above], capsize=3, color=[COLOURS[name] for name in reversed(runs)]
        )
        axis.set_xlabel(title)
        axis.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path)
    pyplot.close(drawing)
