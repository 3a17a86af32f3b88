"""The data of `benchmarks.ladder`, from the recorded data beside the project: problems of GSM8K's test set, and traces.

Held out are problems of the test set. Stage 1 learns the solutions of the training set, stage 2 programs that ToRA and
rho-math wrote for the other problems of the test set, whose recorded output and answer are right; both learn the synthetic
families too. Not covered: near copies of a held-out problem, which the decontamination takes out afterwards.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from sctir_kaggle.answers import read_answer
from sctir_kaggle.recipes.data.problem_list import write_problems
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.tiny.data import chains_of, rows_of, run_drafts
from sctir_kaggle.recipes.tiny.problems import training_drafts
from sctir_kaggle.types import UserError

RECORDED = ("traces/tora_gsm8k.jsonl.gz", "traces/rho_tir_math_gsm8k.jsonl.gz")
TRAIN = "train/gsm8k_train.jsonl.gz"
SET = "gsm8k-test"


def make_data(source: Path, folder: Path, *, problems: int, families: int, seed: int) -> str:
    """Write `problems.csv`, `all-cot.jsonl.gz` and `all-tir.jsonl.gz` to `folder`; return a line with counts.

    `families` are the synthetic problems of each family. Raises `UserError` where the data is not there or too small.
    """
    test = gsm8k_test(source)
    names = list(test)
    Random(f"ladder/{seed}").shuffle(names)
    if len(names) <= problems:
        raise UserError(
            f"{source} has {len(names)} problems of {SET}; problems is {problems}, and some must be left to learn"
        )
    held = names[:problems]
    drafts = training_drafts(seed, [], families) if families else []
    cot = [*solutions(source), *rows_of(chains_of(drafts, seed))]
    tir = [*programs(source, frozenset(held)), *rows_of(asyncio.run(run_drafts(drafts)))]
    if not cot or not tir:
        raise UserError(f"{source} has {len(cot)} solutions and {len(tir)} programs to learn from: both are needed")
    write_problems(
        folder / "problems.csv", ({"id": f"p{n}", "problem": p, "answer": test[p]} for n, p in enumerate(held))
    )
    write_rows(folder / "all-cot.jsonl.gz", cot)
    write_rows(folder / "all-tir.jsonl.gz", tir)
    return f"{problems} of {len(names)} problems held out; {len(cot)} solutions, {len(tir)} traces with programs"


def gsm8k_test(source: Path) -> dict[str, int]:
    """The problems of GSM8K's test set with an integer answer other than 0, which a solver gives without a vote."""
    found: dict[str, int] = {}
    for name in RECORDED:
        for row in _read(source / name):
            if row["dataset"] == SET and (answer := _integer(row["gt"])):
                found.setdefault(row["problem"], answer)
    return found


def solutions(source: Path) -> Iterator[Row]:
    """GSM8K's training set: the written solution without its calculator notes (`<<48/2=24>>`), and the answer in a box."""
    for row in _read(source / TRAIN):
        answer = _integer(row["answer"])
        if answer is not None:
            text = re.sub(r"<<.*?>>", "", row["solution"]).rpartition("\n#### ")[0]
            yield _row(row["id"], row["problem"], answer, f"{text}\nThe answer is $\\boxed{{{answer}}}$.")


def programs(source: Path, held: frozenset[str]) -> Iterator[Row]:
    """Recorded traces of other problems than `held`, whose last output and whose answer are both the reference."""
    for name in RECORDED:
        for row in _read(source / name):
            answer = _integer(row["gt"])
            if row["dataset"] != SET or row["problem"] in held or answer is None:
                continue
            for number, one in enumerate(row["completions"]):
                blocks = one["code_blocks"]
                if blocks and _integer(blocks[-1]["output"]) == answer and _read_answer(one["text"]) == answer:
                    yield _row(f"{row['id']}-{number}", row["problem"], answer, one["text"])


def _row(name: str, problem: str, answer: int, text: str) -> Row:
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": text}]
    return {"id": name, "problem": problem, "answer": answer, "messages": messages}


def _read_answer(text: str) -> object:
    return read_answer(text, modulus=None, highest=None).answer


def _integer(text: object) -> int | None:
    """The integer that a reference or an output is (`1,200`, `14.0`), else None."""
    try:
        value = float(str(text).strip().replace(",", ""))
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _read(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {file}: {reason}; --data is the folder of the recorded data") from None
