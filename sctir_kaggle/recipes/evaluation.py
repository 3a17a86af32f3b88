"""How well a checkpoint solves problems: single candidates and their vote, a family at a time, by the project's solver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Problem, SolveResult


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of right answers: of all candidates, and of the problems' votes."""

    problems: int
    single: float
    majority: float


async def solve_all(
    model: Path, problems: Sequence[Problem], config: SolverConfig, *, workers: int = 2
) -> list[SolveResult]:
    """Solve the problems, a few at a time, and let every candidate finish if `config` says so."""
    engine, gate = TransformersEngine.load(model, slots=96), asyncio.Semaphore(max(1, 96 // config.candidates))
    try:
        async with Sandbox(workers=workers) as sandbox:
            solver = Solver(engine, sandbox, config)

            async def solve(problem: Problem) -> SolveResult:
                async with gate:
                    return await solver.solve(problem)

            return list(await asyncio.gather(*map(solve, problems)))
    finally:
        engine.close()


def score(results: Sequence[SolveResult]) -> Score:
    """The share of candidates and of votes that equal the reference."""
    votes = [trace.answer == result.problem.answer for result in results for trace in result.traces]
    return Score(len(results), sum(votes) / len(votes), sum(bool(result.correct) for result in results) / len(results))


def by_family(results: Iterable[SolveResult]) -> dict[str, Score]:
    """Scores of problems whose ids are "family-number", the hardest family first."""
    groups: dict[str, list[SolveResult]] = {}
    for result in results:
        groups.setdefault(result.problem.id.rpartition("-")[0], []).append(result)
    scores = {name: score(group) for name, group in groups.items()}
    return dict(sorted(scores.items(), key=lambda item: item[1].single))
