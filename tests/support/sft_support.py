"""What the tests of fine-tuning share: a random model of 200,000 parameters, and rows of sums with their traces."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.rows import Row, write_rows

MODEL = ASSETS / "model"


def row(number: int, a: int, b: int, remark: str = "") -> Row:
    """A sum by a program: a trace of about 60 tokens."""
    problem = f"What is {a} plus {b}?"
    text = f"We add.{remark}\n```python\nprint({a} + {b})\n```\n```output\n{a + b}\n```\nThe answer is $\\boxed{{{a + b}}}$."
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": text}]
    return {"id": str(number), "problem": problem, "answer": a + b, "messages": messages}


def rows(count: int) -> list[Row]:
    """Traces of different lengths."""
    rng = Random(0)
    return [row(n, rng.randrange(99), rng.randrange(99), " Slowly." * rng.randrange(8)) for n in range(count)]


def tiny(folder: Path) -> Path:
    """A Llama with random weights and the embedded model's tokenizer."""
    import torch

    from sctir_kaggle.recipes.tiny.data import Shape, new_model
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer, save_tokenizer

    torch.manual_seed(0)
    tokenizer = load_transformers_tokenizer(MODEL)
    new_model(Shape(layers=2, width=64, heads=2, inner=128, context=512), tokenizer).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


def changes(model: Path, data: Path, output: Path, **others: Any) -> list[str]:
    """`--set` changes that make a stage tiny."""
    settings = {"model": model, "data": data, "output": output, "block": 160, "batch": 2, "steps": 6, "log_every": 1}
    return [f"{name}={value}" for name, value in (settings | {"learning_rate": 1e-3} | others).items()]


def data(folder: Path, count: int = 60) -> Path:
    """A file of rows."""
    write_rows(folder / "rows.jsonl", rows(count))
    return folder / "rows.jsonl"


def loss_alone(model: Any, row: tuple[tuple[int, ...], tuple[bool, ...]], smoothing: float) -> Any:
    """The mean cross-entropy of what one trace teaches, in plain PyTorch."""
    import torch

    ids, learned = torch.tensor(row[0]), torch.tensor(row[1])
    logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0].float()
    return torch.nn.functional.cross_entropy(logits[learned[1:]], ids[1:][learned[1:]], label_smoothing=smoothing)
