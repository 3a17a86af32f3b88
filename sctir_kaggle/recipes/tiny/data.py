"""Write the recipes' inputs to a folder: problems, rows of both stages, a model with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.dialects.rows import HEADER
from sctir_kaggle.recipes.data.problem_list import write_problems
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.synthetic.corpus import ENDINGS, Draft, Example, Segment, draft, run
from sctir_kaggle.recipes.synthetic.families import CHAINS, FAMILIES, phrase
from sctir_kaggle.recipes.tiny.problems import Posed, held_out, training_drafts, validation
from sctir_kaggle.recipes.tiny.settings import Tiny
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer, save_tokenizer, train_tokenizer
from sctir_kaggle.sandbox import Sandbox

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def chains_of(drafts: Sequence[Draft], seed: int) -> list[Example]:
    """A chain of thought for the problem of each draft; its program is not used."""
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
    """Run the drafts in the sandbox; return those whose code ran as drafted."""
    async with Sandbox(workers=2) as sandbox:
        return await run(drafts, sandbox, at_once=4)


def unseen_drafts(seed: int) -> list[Draft]:
    """A drafted solution of each validation problem; their parameters are not in training."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The model. Every width is a multiple of 128, so that it quantizes in groups of 128."""

    vocabulary: int = 1024
    layers: int = 4
    width: int = 128
    heads: int = 4
    inner: int = 512
    context: int = 2048


def make_base(texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write a model with random weights and a tokenizer trained on `texts` to `folder`."""
    import torch

    shape = Shape()
    tokenizer = train_tokenizer(texts, size=shape.vocabulary, context=shape.context)
    torch.manual_seed(seed)
    new_model(shape, tokenizer).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, embeddings untied."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    llama: Any = LlamaForCausalLM
    model: LlamaForCausalLM = llama(config)
    return model


def halve(model: Path, output: Path) -> None:
    """Write the checkpoint in `model` to `output` in float16."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    auto.from_pretrained(model, dtype=torch.float16).save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)
    save_tokenizer(load_transformers_tokenizer(model), output)


def make_data(tiny: Tiny) -> str:
    """Write everything to the output; return a line with counts.

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
