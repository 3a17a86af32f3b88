"""What the tests of what-if share: runs of a model that says anything, solved on a simulated clock in no time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from sctir_kaggle import (
    Completion,
    EngineError,
    ExecutionResult,
    ExecutorError,
    Problem,
    Prompt,
    PromptTooLong,
    SamplingParams,
    SolverConfig,
    SolveResult,
)
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import result_from_json, result_to_json
from sctir_kaggle.lab.whatif.timed import SimulatedLoop, run_simulated
from sctir_kaggle.solver import Solver

VOTES = ("plain", "small", "small=0", "statement=0.3", "confirmed")

STOPS = ("none", "exact", "beta", "k=2", "k=4", "margin=2")

RULES = [{"vote": vote, "stop": stop} for vote in VOTES for stop in STOPS if vote == "plain" or stop != "beta"]
"""Fields of a config, for every vote and stop that go together."""

PROBLEM = Problem("p", "Add $2$ and 1,000.", answer=2)

CODE = "```python\nprint({})\n```\n```output\n"


class Chaotic(Scripted):
    """Engine and executor at once: every fate a candidate can have, each after seconds of its own.

    Unless it is `orderly`, many things happen at the same moment, and code waits for a process, which no record tells from
    other waiting.
    """

    def __init__(self, seed: int, *, orderly: bool) -> None:
        super().__init__(self.say)
        self.seed = seed
        self.orderly = orderly

    def say(self, prompt: str, candidate: int, turn: int) -> str:
        rng = self._rng("say", f"{candidate}/{turn}")
        fate = rng.random()
        if fate < 0.4:
            return CODE.format(rng.randint(1, 3))
        if fate < 0.85:
            return f"So $\\boxed{{{rng.choice([1, 1, 2, 2, 2, 3, 1234, 'x'])}}}$."
        if fate < 0.9:
            raise EngineError("dropped")
        if fate < 0.95:
            raise PromptTooLong("too long")
        return "Hm."

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        rng = self._rng("write", request_id)
        await asyncio.sleep(rng.uniform(0.1, 10) if self.orderly else rng.choice([0.0, 1.0, 2.0, rng.uniform(0, 10)]))
        return await super().generate(prompt, params, request_id=request_id)

    async def execute(self, code: str, *, request_id: str, deadline: float) -> ExecutionResult:
        rng = self._rng("run", request_id)
        seconds = 3 * rng.random()
        await asyncio.sleep(seconds if self.orderly else 1.2 * seconds)
        if rng.random() < 0.05:
            raise ExecutorError("no processes")
        return ExecutionResult(code.removeprefix("print(").rstrip(")\n") + "\n", seconds=seconds)

    def release(self, candidate_id: str) -> None: ...

    def _rng(self, *parts: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *parts))))


def solved(
    seed: int, *, orderly: bool = False, soft: float | None = None, hard: float | None = None, **fields: Any
) -> SolveResult:
    """What a `Chaotic` model and a real solver make of `PROBLEM`, as a journal gives it back. Deadlines in seconds."""
    loop, model = SimulatedLoop(), Chaotic(seed, orderly=orderly)
    solver = Solver(model, model, SolverConfig(seed=seed, **fields), clock=loop.time)
    soft = float("inf") if soft is None else soft
    result = run_simulated(loop, solver.solve(PROBLEM, deadline=soft, hard_deadline=hard))
    return result_from_json(result_to_json(result))
