"""The command lines of the steps."""

from __future__ import annotations

from pathlib import Path

from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.recipes.tiny.settings import Tiny

Command = tuple[str, ...]


def stage(tiny: Tiny, number: int, start: Path, rows: str) -> Command:
    """Fine-tuning, stage 1 or 2."""
    name = f"stage{number}"
    settings = (f"model={start}", f"data=[{tiny.at(rows)}]", f"output={tiny.at(name)}")
    return recipe("train.sft", f"tiny_{name}.yaml", *settings, *few(tiny))


def problem_list(tiny: Tiny) -> Command:
    """The training problems as a CSV."""
    return ("sctir_kaggle.recipes.data.problem_list", str(tiny.at("tir.jsonl.gz")), str(tiny.at("kto.csv")))


def kto(tiny: Tiny) -> Command:
    """KTO on stage 2's own candidates."""
    settings = (f"model={tiny.at('stage2/model')}", f"runs=[{tiny.at('on-policy')}]", f"output={tiny.at('kto')}")
    return recipe("train.kto", "tiny_kto.yaml", *settings, *few(tiny))


def quantize(tiny: Tiny) -> Command:
    """8-bit GPTQ of the model that was chosen."""
    settings = (f"model={tiny.at('model')}", f"data=[{tiny.at('tir.jsonl.gz')}]", f"output={tiny.at('model-gptq')}")
    return recipe("quantize", "tiny_quantize.yaml", *settings)


def check_quantized(tiny: Tiny) -> Command:
    """Compare it with the original by perplexity, top tokens and accuracy."""
    settings = (
        *(f"model={tiny.at('model')}", f"quantized={tiny.at('model-gptq')}", f"data=[{tiny.at('unseen.jsonl.gz')}]"),
        *(f"problems={tiny.at('problems.csv')}", f"runs={tiny.at('runs')}", "answers=aimo1"),
        *("engine=transformers", "stop=none", f"candidates={tiny.candidates}", f"seeds={tiny.seeds}"),
        *(() if tiny.limit is None else (f"limit={tiny.limit}",)),
    )
    return recipe("quantize.check", "check_quantized.yaml", *settings)


def recipe(module: str, config: str, *settings: str) -> Command:
    """A recipe's command line."""
    return (f"sctir_kaggle.recipes.{module}", "--config", config, "--set", *settings)


def few(tiny: Tiny) -> Command:
    """The setting that ends a training early, if `steps` is given."""
    return () if tiny.steps is None else (f"steps={tiny.steps}",)


def first(tiny: Tiny) -> Command:
    """The replay option that leaves problems out, if `limit` is given."""
    return () if tiny.limit is None else ("--limit", str(tiny.limit))


def solve(tiny: Tiny, problems: str, model: str, run: str, *options: str) -> Command:
    """A replay, which goes on with what an earlier one left."""
    resume = ["--resume"] if (tiny.at(run) / JOURNAL).exists() else []
    where = ("--model", str(tiny.at(model)), "--output", str(tiny.at(run)), *resume)
    return ("sctir_kaggle", "replay", str(tiny.at(problems)), "--answers", "aimo1", "--stop", "none", *options, *where)
