"""The runs of `benchmarks.comparison` as a table and as a figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.lab.statistics import format_mean_sd, mean_sd

VOTE, SINGLE = "#2a7f62", "#e69f00"


@dataclass(frozen=True)
class Run:
    """One way with one seed: percent of problems answered right, percent of single candidates right, seconds."""

    right: float
    single: float
    seconds: float


@dataclass(frozen=True)
class Way:
    """A row: its name, the training stage of its model, and its runs."""

    name: str
    stage: str
    runs: list[Run]


def table(title: str, ways: Sequence[Way], seeds: int) -> str:
    """Markdown: a row a way."""
    lines = [
        f"| {title} | stage | right (%), mean ± sd of {seeds} seeds | single candidates right (%) | seconds (median) |",
        "|---|---|---|---|---|",
        *map(_row, ways),
    ]
    return "\n".join(lines)


def _row(way: Way) -> str:
    rights, singles = [run.right for run in way.runs], [run.single for run in way.runs]
    seconds = statistics.median(run.seconds for run in way.runs)
    return f"| {way.name} | {way.stage} | {format_mean_sd(rights)} | {format_mean_sd(singles)} | {seconds:.0f} |"


def stop_line(stops: Sequence[tuple[int, float]], problems: int) -> str:
    """What the exact stop changed and saved in all runs: `stops` are (answers changed, share of tokens needed)."""
    changed, share = sum(changed for changed, _ in stops), statistics.fmean(share for _, share in stops)
    return (
        f"Exact stop, replayed from the {len(stops)} SC-TIR runs: {changed} of {len(stops) * problems} answers differ; "
        f"with candidates replayed one after the other, {100 * share:.0f} % of the tokens do."
    )


def figure(ways: Sequence[Way], path: Path) -> None:
    """Bars of the votes' means with their standard deviations, and a mark for single candidates; the first way on top."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]

    matplotlib.use("agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    matplotlib.rcParams["svg.hashsalt"] = "comparison"  # the same runs, the same file
    drawing, axis = pyplot.subplots(figsize=(7, 0.5 * len(ways) + 0.9), layout="constrained")
    rows = list(reversed(ways))
    for label, shift, colour, values in (
        ("the answer given", 0.19, VOTE, [[run.right for run in way.runs] for way in rows]),
        ("single candidates", -0.19, SINGLE, [[run.single for run in way.runs] for way in rows]),
    ):
        means, spreads = zip(*((mean, sd or 0.0) for mean, sd in map(mean_sd, values)), strict=True)
        heights = [row + shift for row in range(len(rows))]
        axis.barh(heights, means, height=0.38, xerr=spreads, capsize=3, color=colour, label=label)
    axis.set_yticks(range(len(rows)), [way.name for way in rows])
    axis.set_xlabel("right (%), mean and standard deviation over seeds")
    axis.set_xlim(0, 100)
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    axis.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(drawing)
