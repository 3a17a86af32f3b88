"""How large the viewer's page is and how fast it opens: `python -m benchmarks.viewer [--publish]`.

A made-up run (`benchmarks.written`) of 50 problems x 48 candidates x 4 turns, in headless Chromium from a file. Opening
counts from the start of the navigation until the list and the pictures stand; a problem, from Enter until its first
candidate is drawn. Not covered: a browser that is started for it, and a disk that has not the file in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.spread import spread
from benchmarks.tables import publish
from benchmarks.written import run
from sctir_kaggle.lab.view.page import write_page

SHAPE = (50, 48, 4)

OPEN = """
const done = arguments[arguments.length - 1];
const started = performance.now();
const row = document.querySelectorAll("#list tbody tr")[arguments[0]];
const drawn = () => document.getElementById("problem-title")?.textContent === row.dataset.id
  ? done(performance.now() - started) : requestAnimationFrame(drawn);
row.click();
drawn();
"""
"""Milliseconds from a click on a row until its candidate is drawn."""


@dataclass(frozen=True)
class Measured:
    """Megabytes; seconds of each round."""

    megabytes: float
    characters: int
    writing: float
    opening: list[float]
    problem: list[float]


def measure(browser: Any, folder: Path, rounds: int) -> Measured:
    """The page is written once and opened `rounds` times, a problem in it each time."""
    header, results = run(*SHAPE)
    path = folder / "view.html"
    started = time.perf_counter()
    write_page(results, [header], path)
    writing = time.perf_counter() - started
    opening, problem = [], []
    for number in range(rounds):
        browser.get("about:blank")
        browser.get(path.as_uri())
        while not browser.execute_script("return performance.getEntriesByName('ready').length"):
            time.sleep(0.01)
        opening.append(browser.execute_script("return performance.getEntriesByName('ready')[0].startTime") / 1000)
        problem.append(browser.execute_async_script(OPEN, number % len(results)) / 1000)
    texts = [turn.completion.text for result in results for trace in result.traces for turn in trace.turns]
    return Measured(path.stat().st_size / 1e6, sum(map(len, texts)), writing, opening, problem)


def table(measured: Measured) -> str:
    """In Markdown, with the commit."""
    rows = [
        "| 50 problems x 48 candidates x 4 turns | |",
        "|---|---|",
        f"| the page | {measured.megabytes:.1f} MB for {measured.characters / 1e6:.1f} million characters of text |",
        f"| to write it | {measured.writing:.1f} s |",
        f"| to open it | {spread(measured.opening, '.2f')} s |",
        f"| to open a problem | {spread(measured.problem, '.2f')} s |",
    ]
    rounds = f"Chromium without a window, {len(measured.opening)} rounds"
    return "\n".join([*rows, "", machine("viewer", rounds)])


def main() -> None:
    """Measure, print, and with `--publish` write the table into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--publish", action="store_true", help="write the table into README.md")
    args = parser.parse_args()
    from tests.support.pages import chromium

    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        shown = table(measure(browser, Path(folder), args.rounds))
    print(shown)
    if args.publish:
        publish(Path("README.md"), "viewer", shown)


if __name__ == "__main__":
    main()
