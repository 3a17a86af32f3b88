"""Plot maj@k and pass@k, one colour per run, with 95 % bands. matplotlib is imported only to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.lab.plots import LEGEND, png
from sctir_kaggle.lab.score.summary import Summary
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of Okabe and Ito, which colour-blind readers can distinguish. More runs start over with another marker."""

MARKS = ("o", "s", "^", "D")

SPARSE = 12
"""Up to this many candidates each k has a marker."""


def curves(summaries: Sequence[Summary]) -> Figure:
    """maj@k (solid) and pass@k (dashed) over k, each in its 95 % band. Runs without a curve are left out."""
    from matplotlib import style  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    with style.context("default"):  # light, whatever the notebook's theme is
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for number, one in enumerate(summaries):
            _draw(axes, one, COLOURS[number % len(COLOURS)], MARKS[number // len(COLOURS) % len(MARKS)])
        _frame(axes, max((len(one.curve.maj) for one in summaries if one.curve), default=1))
    return figure


def write_png(summaries: Sequence[Summary], path: Path) -> None:
    """Write the figure as a PNG. Raises `UserError` where matplotlib is missing."""
    try:
        figure = curves(summaries)
    except ImportError:
        raise UserError('--png needs matplotlib: pip install "sctir-kaggle[plots]"') from None
    path.write_bytes(png(figure))


def _draw(axes: Axes, one: Summary, colour: str, mark: str) -> None:
    if not (curve := one.curve):
        return
    k = range(1, len(curve.maj) + 1)
    marker = mark if len(curve.maj) <= SPARSE else None
    for name, line, values, low, high in (
        ("maj@k", "-", curve.maj, curve.maj_low, curve.maj_high),
        ("pass@k", "--", curve.passed, curve.passed_low, curve.passed_high),
    ):
        mean, below, above = ([100 * value for value in part] for part in (values, low, high))
        axes.fill_between(k, below, above, color=colour, alpha=0.12, linewidth=0)
        axes.plot(k, mean, line, color=colour, marker=marker, markersize=4, label=f"{one.name} {name}")


def _frame(axes: Axes, longest: int) -> None:
    from matplotlib.ticker import MaxNLocator  # type: ignore[import-not-found,unused-ignore]

    axes.set_xlabel("k, candidates")
    axes.set_ylabel("% of the problems (band: 95 % for other problems)")
    axes.set_xlim(1 if longest > 1 else 0.5, max(longest, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, **LEGEND)
