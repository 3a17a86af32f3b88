"""A whole AIMO-3 run with the public notebooks' settings: harmony texts, the gateway's process, five simulated hours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sctir_kaggle import Completion, ExecutionResult, Problem, Prompt, SamplingParams, Solver, SolveResult, TraceStatus
from sctir_kaggle.budget import Budget
from sctir_kaggle.competition.dry_run import serve
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import Journal, read_journal
from sctir_kaggle.lab.whatif.timed import SimulatedLoop
from sctir_kaggle.runtime import RESERVE, bind_dialect
from sctir_kaggle.session import Session
from sctir_kaggle.settings import Layer, resolve

pytestmark = pytest.mark.slow

T = TypeVar("T")

PROBLEMS = [Problem(f"p{number}", f"What is {number} squared?", number**2) for number in range(50)]
CALL = "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant<|channel|>analysis to=python code<|message|>"


class Harmony:
    """Model and interpreter with the simulated clock: four calls of Python on average, 10 to 90 s each; some are wrong."""

    tokenizer = None

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """A call, or at its end the final message."""
        problem, candidate, turn = request_id.rsplit("/", 2)
        draws = random.Random(f"{problem}/{candidate}")
        calls = 1 + int(draws.expovariate(1 / 3))
        await asyncio.sleep(random.Random(request_id).uniform(10, 90))
        square = int(problem[1:]) ** 2 + (draws.random() < 0.3)
        said = f"{CALL}print({square})" if int(turn) < calls else f"<|channel|>final<|message|>\\boxed{{{square}}}"
        return Completion(said, (), "stop", 200012, tokens=900)

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        """What `print` prints."""
        await asyncio.sleep(1.0)
        return ExecutionResult(code.removeprefix("print(").removesuffix(")") + "\n", seconds=1.0)

    def release(self, candidate_id: str) -> None:
        """Nothing is kept."""

    def describe(self) -> dict[str, str | int]:
        """For the journal."""
        return {"engine": "simulated"}


class OnTheClock:
    """Runs a session's work on one simulated loop, from whatever thread the gateway calls in."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


@pytest.mark.parametrize("stop", ["exact", "k=4"])
def test_fifty_problems_are_answered_and_none_overruns(stop: str, tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')
    pytest.importorskip("polars", reason='needs polars: pip install "sctir-kaggle[competition]"')
    from sctir_kaggle.competition.stand_in import check_installed

    check_installed()
    chosen = {"competition": "aimo3", "preset": "aimo3-gpt-oss", "engine": "vllm", "stop": stop}
    run, model, clock = resolve([Layer("the test", chosen)]), Harmony(), OnTheClock()
    run, dialect = bind_dialect(model, run)
    config, limits = run.solver, run.clock
    assert (config.candidates, config.turns, config.min_p, dialect) == (
        8,
        128,
        0.02,
        choose("gpt-oss", None, model="m"),
    )
    budget = Budget(
        limits.budget,
        len(PROBLEMS),
        reserve=RESERVE * limits.budget,
        grace=config.grace_seconds,
        cap=limits.cap,
        draw=limits.draw,
        floor=limits.floor,
        high=limits.high,
        started=0.0,
        clock=clock.loop.time,
    )
    solver = Solver(model, model, config, clock=clock.loop.time, dialect=dialect)
    overruns: list[str] = []
    with Journal.create(
        tmp_path / "journal.jsonl", journal_header(run, PROBLEMS, dialect=dialect, engine=model.describe(), executor={})
    ) as journal:
        session = Session(solver, budget, journal, clock)  # type: ignore[arg-type]

        def solve(problem: Problem) -> SolveResult:
            limits = budget.next_deadlines()
            result = session.solve(problem, limits)
            if clock.loop.time() > limits.hard + config.grace_seconds:
                overruns.append(problem.id)
            return result

        serve(run.profile, PROBLEMS, solve, submission=tmp_path / "submission.parquet", seed=3)
    header, results = read_journal(tmp_path / "journal.jsonl")
    assert (len(results), overruns) == (50, [])
    assert clock.loop.time() <= limits.budget
    assert header["dialect"]["name"] == "gpt-oss"
    assert sum(result.correct or False for result in results) > 40
    assert any(trace.status is TraceStatus.CANCELLED for result in results for trace in result.traces)
    assert max(len(trace.turns) for result in results for trace in result.traces) > 10
    assert not [trace for result in results for trace in result.traces if trace.status is TraceStatus.FAILED]
