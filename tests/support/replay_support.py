"""What the tests of the replay share: a scripted model whose texts follow its seeds, and a run of it as a process of its own.

`python -m tests.support.replay_support FOLDER [--resume]` is that run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sctir_kaggle import MATH, Completion, Problem, Prompt, SamplingParams, SolverConfig, SolveResult
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.lab.replay.progress import Progress
from sctir_kaggle.lab.replay.results import Outcome
from sctir_kaggle.lab.replay.run import Plan, replay
from sctir_kaggle.settings import ClockConfig, RunConfig
from sctir_kaggle.types import TraceStatus

PROBLEMS = [Problem(f"p/{number}", f"What is {number}?", number) for number in range(20)]
SEEDS = range(5)


class Drawn(Scripted):
    """Writes code with a number that it draws from its request's seed, then boxes the problem's number or the next."""

    def __init__(self, delay: float = 0.002) -> None:
        super().__init__({}, delay=delay)

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        await asyncio.sleep(self._delay)
        text = "".join(part if isinstance(part, str) else "".join(map(chr, part)) for part in prompt)
        number, draw = int(text.split("What is ")[1].split("?")[0]), (params.seed or 0) % 1000
        if request_id.endswith("/0"):
            said, stop = f"Draws {draw}.\n```python\nprint({draw} * 7)\n```output\n", "```output\n"
        else:
            said, stop = f"Draws {draw}, so it is $\\boxed{{{number + draw % 2}}}$.", None
        return Completion(said, (), "stop", stop, len(said), len(text))


def load_drawn(run: RunConfig, slots: int) -> Drawn:
    """A `Load`: importable, so that a worker of Ray finds it."""
    return Drawn()


def plan(folder: Path, *, resume: bool = False, seeds: Sequence[int] = SEEDS, **choices: Any) -> Plan:
    """20 problems under 5 seeds, 2 candidates that all run to their end."""
    config = choices.pop("config", SolverConfig(**{**_MATH, "candidates": 2, "stop": "none", "seed": seeds[0]}))
    run = RunConfig(solver=config, clock=ClockConfig(budget=float("inf")))
    problems = choices.pop("problems", PROBLEMS)
    return Plan(run=run, folder=folder, resume=resume, problems=problems, seeds=seeds, **{"parallel": 4, **choices})


_MATH = {name: getattr(MATH, name) for name in ("modulus", "lowest", "highest")}


def run(folder: Path, *, load: Any = load_drawn, **choices: Any) -> list[Outcome]:
    """The plan's replay, with nobody watching."""
    return replay(plan(folder, **choices), Progress(), load=load)


def told(results: Sequence[SolveResult]) -> dict[tuple[str, int], object]:
    """Everything of a run but times and the order in which things ended."""
    keys = [(result.problem.id, result.seed) for result in results]
    assert len(set(keys)) == len(keys)
    return {key: (result.answer, sorted(_traces(result))) for key, result in zip(keys, results, strict=True)}


def _traces(result: SolveResult) -> Iterator[tuple[object, ...]]:
    for trace in result.traces:
        turns = [
            (turn.completion.text, turn.code, turn.execution and turn.execution.output, turn.output_block)
            for turn in trace.turns
        ]
        yield trace.candidate, trace.status is TraceStatus.ANSWERED, trace.answer, turns


if __name__ == "__main__":
    run(Path(sys.argv[1]), resume="--resume" in sys.argv)
