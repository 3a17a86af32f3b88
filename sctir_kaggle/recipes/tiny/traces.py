"""Drafts become rows of training: chains of thought for stage 1, programs that were really run for stage 2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from sctir_kaggle.dialects.rows import HEADER
from sctir_kaggle.recipes.chains import CHAINS
from sctir_kaggle.recipes.corpus import ENDINGS, Draft, Example, Segment, draft, run
from sctir_kaggle.recipes.families import FAMILIES, phrase
from sctir_kaggle.recipes.rows import Row
from sctir_kaggle.recipes.tiny.problems import validation
from sctir_kaggle.sandbox import Sandbox


def chains_of(drafts: Sequence[Draft], seed: int) -> list[Example]:
    """A chain of thought for the problem of each draft; its program is not looked at."""
    rng = Random(f"chains/{seed}")
    return [think(draft, rng) for draft in drafts]


def think(draft: Draft, rng: Random) -> Example:
    """The problem of `draft` with a solution without code."""
    params = dict(draft.params)
    chain = CHAINS.get(draft.family) or rng.choice(FAMILIES[draft.family].direct)
    text = chain(**params) + rng.choice(ENDINGS).replace("<answer>", str(draft.answer))
    segments = (Segment(HEADER.format(problem=draft.problem), False), Segment(phrase(text, {}, rng), True))
    return Example(draft.family, draft.problem, draft.answer, segments)


async def run_drafts(drafts: Sequence[Draft]) -> list[Example]:
    """The drafts whose code ran as drafted, in the project's own sandbox."""
    async with Sandbox(workers=2) as sandbox:
        return await run(drafts, sandbox, at_once=4)


def unseen_drafts(seed: int) -> list[Draft]:
    """A solution of each validation problem, whose parameters are not in training."""
    rng = Random(f"unseen/{seed}")
    return [draft(FAMILIES[posed.family], posed.params, rng) for posed in validation(seed)]


def rows_of(examples: Iterable[Example]) -> Iterator[Row]:
    """Traces as training rows."""
    for number, example in enumerate(examples):
        text = "".join(segment.text for segment in example.segments[1:])
        messages = [{"role": "user", "content": example.problem}, {"role": "assistant", "content": text}]
        yield {
            "id": f"{example.family}-{number}",
            "problem": example.problem,
            "answer": example.answer,
            "messages": messages,
        }
