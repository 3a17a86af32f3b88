"""Implicit rewards of right and wrong candidates over a KTO training, as a CSV and as a picture.

A completion's implicit reward is beta x log(policy / reference) of its tokens (KTO, https://arxiv.org/abs/2402.01306).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.lab.plots import LEGEND, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


CURVES = {"chosen": "#0072b2", "rejected": "#d55e00", "margin": "#a6a6a6"}
"""Okabe and Ito's colours: colour-blind readers tell them apart."""


@dataclass(frozen=True, slots=True)
class Point:
    """Means since the last log: rewards of right (`chosen`) and wrong (`rejected`) completions, their difference, KL."""

    step: int
    chosen: float
    rejected: float
    margin: float
    kl: float
    loss: float


def points(history: Iterable[Mapping[str, float]]) -> list[Point]:
    """The points in a trainer's `state.log_history`, without evaluations and lines that saw only one kind of candidate."""
    return [
        Point(
            int(line["step"]),
            line["rewards/chosen"],
            line["rewards/rejected"],
            line["rewards/chosen"] - line["rewards/rejected"],
            line["kl"],
            line["loss"],
        )
        for line in history
        if {"step", "rewards/chosen", "rewards/rejected", "kl", "loss"} <= line.keys()
    ]


def write_csv(path: Path, found: Sequence[Point]) -> None:
    """Write a row a point; the columns are `Point`'s fields."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Point))
        writer.writerows(map(astuple, found))


def write_png(path: Path, found: Sequence[Point]) -> None:
    """Write the picture that `drawn` makes. Needs matplotlib."""
    path.write_bytes(png(drawn(found)))


def drawn(found: Sequence[Point]) -> Figure:
    """Draw the rewards over the training's steps."""
    from matplotlib import style  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    with style.context("default"):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for name, colour in CURVES.items():
            axes.plot(
                [point.step for point in found], [getattr(point, name) for point in found], color=colour, label=name
            )
        axes.axhline(0, color="#404040", linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel("implicit reward, beta x log ratio")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, **LEGEND)
    return figure
