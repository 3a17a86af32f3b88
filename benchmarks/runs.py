"""Many problems solved in turn, as the benchmarks do it, and what they count in the results."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterable
from dataclasses import replace

from sctir_kaggle import Executor, Problem, Solver, SolverConfig, SolveResult
from sctir_kaggle.engines.recorded import Recorded
from sctir_kaggle.types import Engine


async def solve(engine: Engine, executor: Executor, config: SolverConfig, problems: list[Problem]) -> list[SolveResult]:
    """Every problem in turn, without a deadline."""
    return [await Solver(engine, executor, config).solve(problem) for problem in problems]


def solve_all(engine: Engine, executor: Executor, config: SolverConfig, problems: list[Problem]) -> list[SolveResult]:
    """The same, on an event loop of its own."""
    return asyncio.run(solve(engine, executor, config, problems))


def changed_by_the_stop(results: list[SolveResult], config: SolverConfig) -> tuple[int, float]:
    """How many answers differ when the record is replayed with the exact stop, and the share of its tokens still needed."""
    recorded = Recorded(results)
    problems = [result.problem for result in results]
    stopped = solve_all(recorded, recorded, replace(config, stop="exact"), problems)
    changed = sum(a.answer != b.answer for a, b in zip(results, stopped, strict=True))
    return changed, tokens(stopped) / tokens(results)


def tokens(results: Iterable[SolveResult]) -> int:
    """Tokens sampled, those of cancelled candidates' finished turns too."""
    return sum(trace.tokens for result in results for trace in result.traces)


def score(results: list[SolveResult]) -> float:
    """Percent of answers that are right."""
    return 100 * statistics.fmean(result.correct is True for result in results)


def single(results: Iterable[SolveResult]) -> float:
    """Percent of all candidates that vote for the right answer."""
    return 100 * statistics.fmean(t.answer == result.problem.answer for result in results for t in result.traces)
