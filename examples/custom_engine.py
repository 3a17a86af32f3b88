"""An engine of your own: any object with `async generate(prompt, params, *, request_id) -> Completion` will do.

python examples/custom_engine.py

This one is a stand-in for a model behind some API: it writes a program for every problem, sometimes a wrong one. Replace
`_write` with a call to your server; the loop, the sandbox, the vote and the early stop stay as they are.
"""

from __future__ import annotations

import asyncio
import random

from sctir_kaggle import Completion, Problem, Prompt, SamplingParams, Solver, SolverConfig
from sctir_kaggle.sandbox import Sandbox


class MyEngine:
    """Writes in NuminaMath's format, the default dialect: ```python blocks, then an answer in a box."""

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """Continue `prompt` under `params`; called once per turn of each candidate, for all candidates at once.

        `request_id` is "{problem}/{candidate}/{turn}". When a candidate is cancelled this coroutine is cancelled, too: let
        the CancelledError through, and stop the request at your server. Raise `EngineError` where the server failed.
        """
        text = "".join(part for part in prompt if isinstance(part, str))  # no token ids are returned, so none come back
        await asyncio.sleep(0.01)  # the network
        written = self._write(text, random.Random(params.seed))  # params.seed differs for each request
        for stop in params.stop:  # end behind the first stop string, and keep it: the loop looks for it
            if stop in written:
                written = written[: written.index(stop) + len(stop)]
        return Completion(written, tokens=len(written) // 4)

    def _write(self, prompt: str, draw: random.Random) -> str:
        if "```output" not in prompt:
            upper = 101 if draw.random() < 0.7 else 100  # the usual mistake
            return f"We add them up.\n\n```python\nprint(sum(range({upper})))\n```\n```output\n"
        printed = prompt.rsplit("```output\n", 1)[1].split("\n", 1)[0]
        return f"\nThe answer is $\\boxed{{{printed}}}$."


def main() -> None:
    """Print the answer and the votes."""
    problem = Problem("sum", "What is 1 + 2 + ... + 100, modulo 1000?", answer=50)
    with Sandbox() as sandbox:
        result = asyncio.run(Solver(MyEngine(), sandbox, SolverConfig(candidates=16)).solve(problem))
    print(
        f"answer {result.answer}, right: {result.correct}; votes: {result.vote.ranking}; stopped by {result.stopped!r}"
    )


if __name__ == "__main__":
    main()
