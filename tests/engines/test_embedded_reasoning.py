"""The embedded model really reasons with tools: its code, its outputs and its tracebacks decide the vote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle import Problem, Solver, SolverConfig, SolveResult
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[TransformersEngine]:
    engine = TransformersEngine.load(EMBEDDED_MODEL, slots=16)
    yield engine
    engine.close()


def solve(engine: Any, sandbox: Sandbox, problem: Problem, **fields: Any) -> SolveResult:
    return asyncio.run(Solver(engine, sandbox, SolverConfig(**fields)).solve(problem))


def test_its_votes_come_from_code_that_ran(engine: TransformersEngine, sandbox: Sandbox) -> None:
    problems = read_problems(HELD_OUT)[:12]
    results = [solve(engine, sandbox, problem, candidates=16) for problem in problems]
    assert sum(result.correct is True for result in results) >= 9
    right = [t for r in results for t in r.traces if t.answer == r.problem.answer]
    assert sum(any(turn.execution for turn in trace.turns) for trace in right) >= 0.8 * len(right)


def test_without_running_its_code_it_is_lost(engine: TransformersEngine, sandbox: Sandbox) -> None:
    problems = read_problems(HELD_OUT)[:12]
    results = [solve(engine, sandbox, problem, candidates=4, turns=0) for problem in problems]
    assert sum(result.correct is True for result in results) <= 4


def test_a_traceback_makes_it_repair_its_code(engine: TransformersEngine, sandbox: Sandbox) -> None:
    """Somewhere among its candidates a block fails and a later one, written after the traceback, does not."""
    repaired = 0
    for problem in read_problems(HELD_OUT)[:20]:
        for trace in solve(engine, sandbox, problem, candidates=16, stop="none").traces:
            ran = [turn.execution.status.value for turn in trace.turns if turn.execution]
            repaired += trace.answer == problem.answer and "error" in ran and ran[-1] == "ok"
    assert repaired >= 3


def test_a_turn_that_comes_back_is_not_computed_again(engine: TransformersEngine, sandbox: Sandbox) -> None:
    result = solve(engine, sandbox, read_problems(HELD_OUT)[0], candidates=8, stop="none")
    later = [turn.completion for trace in result.traces for turn in trace.turns[1:]]
    assert later
    assert sum(c.cached_tokens for c in later) >= 0.7 * sum(c.prompt_tokens for c in later)
