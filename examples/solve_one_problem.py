"""Solve one problem with the bundled model: 16 candidates, their code in the sandbox, a vote. Needs `pip install -e ".[cpu]"`.

python examples/solve_one_problem.py
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from sctir_kaggle import Problem, Solver, SolverConfig, Trace, Vote
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox

PROBLEM = Problem("p1", "What is the remainder when 37 raised to the power 85 is divided by 412?")


def show(trace: Trace, vote: Vote) -> None:
    """Called with every candidate that ends, and the vote after it."""
    print(f"candidate {trace.candidate:2}: {trace.status.value:9} answer {trace.answer}, leading: {vote.winner}")


def main() -> None:
    """Print each candidate as it ends, then one that voted for the winner, turn by turn."""
    config = SolverConfig(candidates=16, seed=1)  # the other fields are the AIMO-1 winner's: 4 turns, T = 0.8, ...
    # Both are closed at the end: the sandbox has child processes, the engine a thread.
    with Sandbox() as sandbox, closing(TransformersEngine.load(EMBEDDED_MODEL)) as engine:
        solver = Solver(engine, sandbox, config)
        # A deadline is an absolute time.monotonic(). When it passes, the candidates that have ended elect the answer.
        result = asyncio.run(solver.solve(PROBLEM, deadline=time.monotonic() + 300, on_trace=show))

    print(f"\nanswer {result.answer}, stopped by {result.stopped!r}; votes: {result.vote.ranking}\n")
    winner = next(trace for trace in result.traces if trace.answer == result.answer)
    for turn in winner.turns:
        print(turn.completion.text, end="")
        print(turn.output_block, end="")  # what the sandbox printed, as the model was shown it
    print()


if __name__ == "__main__":
    main()
