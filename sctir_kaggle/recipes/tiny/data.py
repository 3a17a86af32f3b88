"""Everything that the recipes start from, written to a folder: problems, rows of both stages, a model with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sctir_kaggle.recipes.corpus import Example
from sctir_kaggle.recipes.problem_list import write_problems
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.tiny.base import make_base
from sctir_kaggle.recipes.tiny.problems import Posed, held_out, training_drafts, validation
from sctir_kaggle.recipes.tiny.settings import Tiny
from sctir_kaggle.recipes.tiny.traces import chains_of, rows_of, run_drafts, unseen_drafts


def make_data(tiny: Tiny) -> str:
    """Write all of it to the output; -> a line that counts it.

    `problems.csv` and `validation.csv`, `cot.jsonl.gz` and `tir.jsonl.gz` of the same training problems, `unseen.jsonl.gz` with
    traces of the validation problems, `base/`.
    """
    folder, seed = tiny.output, tiny.seed
    problems, checks = held_out(seed), validation(seed)
    write_problems(folder / "problems.csv", map(_row, problems))
    write_problems(folder / "validation.csv", map(_row, checks))
    drafts = training_drafts(seed, [*problems, *checks], tiny.traces)
    chains, programs = chains_of(drafts, seed), asyncio.run(run_drafts(drafts))
    write_rows(folder / "cot.jsonl.gz", rows_of(chains))
    write_rows(folder / "tir.jsonl.gz", rows_of(programs))
    write_rows(folder / "unseen.jsonl.gz", rows_of(asyncio.run(run_drafts(unseen_drafts(seed)))))
    make_base(_texts([*chains, *programs]), folder / "base", seed=seed)
    return f"{len(drafts)} problems, {len(chains)} chains of thought, {len(programs)} traces whose code ran as drafted"


def _row(posed: Posed) -> Row:
    problem = posed.problem
    return {"id": problem.id, "problem": problem.text, "answer": problem.answer}


def _texts(examples: Sequence[Example]) -> list[str]:
    return ["".join(segment.text for segment in example.segments) for example in examples]
