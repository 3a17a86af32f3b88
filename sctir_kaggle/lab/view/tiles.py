"""The tiles at the top of the page, as text ready to be shown: right answers, tokens, executions, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median

from sctir_kaggle.display import clock_face
from sctir_kaggle.lab.statistics import format_mean_sd
from sctir_kaggle.lab.view.problems import runs
from sctir_kaggle.types import SolveResult, status_counts

Tile = dict[str, str]
"""A `name`, a `value`, and below it a `note`."""


def tiles(results: Sequence[SolveResult]) -> list[Tile]:
    """The tiles of a run; of a run without results one tile that says so."""
    if not results:
        return [_tile("Results", "none yet", "the journal has a header and no solved problem")]
    return [*_scores(results), *_defaults(results), _tokens(results), _executions(results), _time(results)]


def ends(results: Iterable[SolveResult]) -> list[tuple[str, int]]:
    """Why candidates ended, the most frequent reason first."""
    counts = status_counts(trace for result in results for trace in result.traces)
    return [(status.value, count) for status, count in counts.items()]


def stops(results: Iterable[SolveResult]) -> list[tuple[str, int]]:
    """Why the work on a problem stopped, the most frequent reason first."""
    return Counter(str(result.stopped) for result in results).most_common()


def _scores(results: Sequence[SolveResult]) -> list[Tile]:
    """A tile for each run."""
    numbers = runs(results)
    if max(numbers) == 1:
        return [_right(results, "Right")]
    groups = [
        [result for result, run in zip(results, numbers, strict=True) if run == one] for one in sorted(set(numbers))
    ]
    return [_right(group, f"Right, run {number}") for number, group in enumerate(groups, 1)]


def _right(results: Sequence[SolveResult], name: str) -> Tile:
    """The share of right answers among problems with a reference; of several seeds mean and sample standard deviation."""
    seeds: dict[int, list[bool]] = {}
    for result in results:
        if result.correct is not None:
            seeds.setdefault(result.seed, []).append(result.correct)
    if not seeds:
        return _tile("Answered", f"{len(results):,}", "no reference answers: right or wrong is not known")
    shares = [100 * fmean(marks) for marks in seeds.values()]
    if len(shares) == 1:
        [marks] = seeds.values()
        return _tile(name, f"{sum(marks)} of {len(marks)}", f"{shares[0]:.1f} %{_ungraded(results)}")
    note = f"%, mean ± sd of {len(shares)} seeds, {_sizes(seeds.values())}{_ungraded(results)}"
    return _tile(name, format_mean_sd(shares), note)


def _sizes(seeds: Iterable[list[bool]]) -> str:
    """The number of problems per seed; in an unfinished run it differs between seeds."""
    sizes = sorted({len(marks) for marks in seeds})
    return f"{sizes[0]} problems" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} problems: not all are complete"


def _ungraded(results: Sequence[SolveResult]) -> str:
    count = sum(result.correct is None for result in results)
    return f"; {count} without a reference" if count else ""


def _defaults(results: Sequence[SolveResult]) -> list[Tile]:
    defaults = [result for result in results if result.fallback]
    late = sum(result.stopped == "deadline" for result in defaults)
    why = f"no votes; {late} out of time" if late else "no votes"
    return [_tile("Defaults", str(len(defaults)), why)] if defaults else []


def _tokens(results: Sequence[SolveResult]) -> Tile:
    total = sum(trace.tokens for result in results for trace in result.traces)
    return _tile("Tokens", _short(total), f"{_short(total / len(results))} a problem")


def _executions(results: Sequence[SolveResult]) -> Tile:
    total = sum(trace.executions for result in results for trace in result.traces)
    candidates = sum(len(result.traces) for result in results)
    return _tile("Executions", _short(total), f"{total / max(1, candidates):.1f} a candidate")


def _time(results: Sequence[SolveResult]) -> Tile:
    seconds = [result.seconds for result in results]
    note = f"sum over {len(seconds):,} results; median {median(seconds):.1f} s, longest {max(seconds):.1f} s"
    return _tile("Time", clock_face(sum(seconds)), note)


def _tile(name: str, value: str, note: str) -> Tile:
    return {"name": name, "value": value, "note": note}


def _short(number: float) -> str:
    """`812`, `45.2k`, `3.1M`: three digits."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.{1 if number < 100 * limit else 0}f}{unit}"
    return f"{number:.0f}"
