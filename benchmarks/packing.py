"""What long traces cost, by way of packing: `python -m benchmarks.packing`.

Packs the recorded traces of `../shared/data/traces` as training would, and counts what is learned and what is not. Another
tokenizer than the embedded one, whose tokens are short: `--model FOLDER`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.traces import FOLDER
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.rows import Row
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from sctir_kaggle.recipes.train.packing import Packing, pack

SETS = ("mathcoder_math", "rho_tir_math_gsm8k")


def recorded(file: Path) -> Iterator[Row]:
    """Training rows made of recorded completions."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for item in map(json.loads, lines):
            for completion in item["completions"]:
                texts = {"user": item["problem"], "assistant": completion["text"]}
                messages = [{"role": role, "content": text} for role, text in texts.items()]
                yield {"id": item["id"], "problem": item["problem"], "messages": messages}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ASSETS / "model"), help="the folder of a tokenizer (default: embedded)")
    parser.add_argument("--block", type=int, default=1024, help="tokens of a block (default: stage 2's)")
    args = parser.parse_args()
    tokenizer = load_transformers_tokenizer(args.model)
    table = Table(title=f"blocks of {args.block} tokens, tokenizer of {Path(args.model).name}")
    counted = ("traces", "split", "pieces", "cut short", "too long", "learned", "dropped")
    for number, name in enumerate(("set", "packing", *counted, "dropped (%)", "repeated (%)", "blocks")):
        table.add_column(name, justify="right" if number > 1 else "left")
    for name in SETS:
        rows = list(recorded(FOLDER / f"{name}.jsonl.gz"))
        for how in ("whole", "split"):
            packed = pack(rows, tokenizer, Packing(args.block, "split" if how == "split" else "whole"))
            counts = packed.counts
            share = 100 * counts["dropped"] / (counts["learned"] + counts["dropped"])
            numbers = [f"{counts[column]:,}" for column in counted]
            repeated = 100 * counts["repeated"] / counts["tokens"]
            table.add_row(name, how, *numbers, f"{share:.2f}", f"{repeated:.2f}", f"{len(packed.blocks):,}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
