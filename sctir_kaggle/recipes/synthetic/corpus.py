"""Turn synthetic problems into training traces: draft a solution, run its code, keep it if it reaches the reference.

A trace is a list of segments; the model learns to write some and only reads the others (the problem, and what its code
printed). The texts around them are those of the dialect `numina`, so inference matches training.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.rendering import bridge
from sctir_kaggle.dialects.rows import FORCED_BOX, HEADER, NUMINA, OUTPUT_FENCE
from sctir_kaggle.recipes.synthetic.families import Family, Params, fill, phrase
from sctir_kaggle.recipes.synthetic.mistakes import make_mistake
from sctir_kaggle.types import Completion, ExecutionStatus, Executor

ENDINGS = (
    FORCED_BOX + "<answer>}$.",
    FORCED_BOX + "<answer>}$.",
    FORCED_BOX + "<answer>}$.",
    "\n[Thus|Therefore|So], the answer is $\\boxed{<answer>}$.",
    "\nThe [result|value] is $<answer>$. The answer is $\\boxed{<answer>}$.",
    "\nWe [get|obtain] $\\boxed{<answer>}$.",
)

THOUGHTS = (
    "We [write|use] a short [program|script].",
    "Let us compute this with [Python|code].",
    "We use brute force.",
)

NAMES = {
    "total": ("total", "result", "answer", "res"),
    "count": ("count", "total", "cnt", "number"),
    "result": ("result", "res", "ans", "value"),
}

MISTAKES = 0.15
"""The share of drafts whose last block fails at first."""

DIRECT = 0.5
"""The share of solutions without code, in families that have them."""

SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """The text before a block, the block, and whether it is meant to fail."""

    before: str
    code: str
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A solution whose code has not run yet. `params` are the family's, as pairs."""

    family: str
    problem: str
    answer: int
    steps: tuple[Step, ...]
    conclusion: str
    params: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a trace; `learned` if the model learns to write it."""

    text: str
    learned: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One training trace."""

    family: str
    problem: str
    answer: int
    segments: tuple[Segment, ...]


def draft(family: Family, params: Params, rng: Random) -> Draft:
    """Draw a phrasing of the problem and a solution, with or without code."""
    problem, answer = family.text(params, rng), family.answer(params)
    ending = phrase(rng.choice(ENDINGS), {"answer": answer}, rng)
    if family.direct and (not family.programs or rng.random() < DIRECT):
        direct = rng.choice(family.direct)(**params)
        return Draft(family.name, problem, answer, (), direct + ending, tuple(params.items()))
    return Draft(family.name, problem, answer, _steps(family, params, rng), ending, tuple(params.items()))


def _steps(family: Family, params: Params, rng: Random) -> tuple[Step, ...]:
    program = rng.choice(family.programs)
    parts = (program,) if isinstance(program, str) else program
    thought = phrase(rng.choice((*family.thoughts, rng.choice(THOUGHTS))), params, rng)
    texts = [thought, *rename([fill(part, params) for part in parts], rng)]
    steps = tuple(Step(before, code) for before, code in zip(texts[::2], texts[1::2], strict=True))
    return _stumble(steps, rng) if rng.random() < MISTAKES else steps


def _stumble(steps: tuple[Step, ...], rng: Random) -> tuple[Step, ...]:
    """Let the last step fail at first, where a mistake fits its code."""
    mistake = make_mistake(steps[-1].code, rng)
    if mistake is None:
        return steps
    broken = Step(steps[-1].before, mistake.broken, fails=True)
    return (*steps[:-1], broken, Step(mistake.remark, mistake.repair))


def rename(texts: Sequence[str], rng: Random) -> list[str]:
    """Rename the usual variables, alike in all texts."""
    chosen = {name: rng.choice(others) for name, others in NAMES.items()}
    return [re.sub(rf"\b({'|'.join(NAMES)})\b(?!\()", lambda match: chosen[match[1]], text) for text in texts]


async def run(drafts: Iterable[Draft], executor: Executor, *, at_once: int = 8) -> list[Example]:
    """Run every draft's code; keep, in order, the traces that ran as drafted and printed the reference answer."""
    gate = asyncio.Semaphore(at_once)

    async def run_one(number: int, item: Draft) -> Example | None:
        async with gate:
            return await _run_one(item, executor, f"corpus/{number}")

    examples = await asyncio.gather(*(run_one(number, item) for number, item in enumerate(drafts)))
    return [example for example in examples if example is not None]


async def _run_one(item: Draft, executor: Executor, candidate_id: str) -> Example | None:
    segments, text, output = [Segment(HEADER.format(problem=item.problem), False)], "", str(item.answer)
    try:
        for number, step in enumerate(item.steps):
            text = ("\n" if number else "") + f"{step.before}\n\n```python\n{step.code}\n```\n{OUTPUT_FENCE}"
            request_id, deadline = f"{candidate_id}/{number}", time.monotonic() + SECONDS
            result = await executor.execute(step.code, request_id=request_id, deadline=deadline)
            if result.status is not (ExecutionStatus.ERROR if step.fails else ExecutionStatus.OK):
                return None
            output = result.output
            shown = bridge(NUMINA, Completion(text), result, left=0, limit=SolverConfig().output_chars)
            segments += [Segment(text, True), Segment("".join(shown), False)]
    finally:
        executor.release(candidate_id)
    if output.strip().rpartition("\n")[2] != str(item.answer):
        return None
    segments.append(Segment(item.conclusion, True))
    return Example(item.family, item.problem, item.answer, tuple(segments))
