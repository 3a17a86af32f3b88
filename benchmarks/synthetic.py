"""A synthetic run on disk, of any size and with known truth: candidates of problem i are right with the chance that it says.

Lines are those of `journal.result_to_json`, built directly: dataclasses of half a million candidates would take minutes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sctir_kaggle.config import MATH
from sctir_kaggle.journal import SCHEMA

Json = dict[str, Any]

WORDS = (
    "we",
    "let",
    "the sum",
    "of all",
    "integers",
    "$n$",
    "with",
    "\\frac{a}{b}",
    "so that",
    "count",
    "therefore",
    "é",
)

CODE = "from math import gcd\n\ntotal = 0\nfor a in range(1, {0}):\n    for b in range(a, {0}):\n        if gcd(a, b) == 1:\n"
CODE += "            total += a * b % {1}\nprint(total % {1})"


def write_run(path: Path, *, problems: int, candidates: int, seeds: int = 1, chance: float | None = None) -> None:
    """A journal without stops: `chance` that a candidate is right, or one drawn for each problem evenly from 0 to 1."""
    config = asdict(MATH) | {"candidates": candidates, "stop": "none"}
    header = {
        "schema": SCHEMA,
        "config": config,
        "prompt": "synthetic",
        "problems": "synthetic",
        "engine": {"engine": "none"},
    }
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header | {"seeds": list(range(seeds))}) + "\n")
        for number in range(problems):
            skill = rng.random() if chance is None else chance
            problem = _problem(random.Random(number), f"synthetic-{number}")
            for seed in range(seeds):
                line = _result(rng, problem, seed, skill, candidates)
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def _problem(rng: random.Random, id_: str) -> Json:
    level, subject = str(rng.randint(1, 5)), rng.choice(("algebra", "geometry", "number theory"))
    return {"id": id_, "text": _prose(rng, 40), "answer": rng.randrange(1000), "level": level, "subject": subject}


def _result(rng: random.Random, problem: Json, seed: int, skill: float, candidates: int) -> Json:
    traces = [_trace(rng, number, problem["answer"], skill) for number in range(candidates)]
    rng.shuffle(traces)  # they end in any order
    votes = Counter(trace["answer"] for trace in sorted(traces, key=lambda trace: trace["candidate"]))
    del votes[None]
    ranking = [[answer, float(score)] for answer, score in votes.most_common()]
    return {
        "problem": problem,
        "answer": ranking[0][0] if ranking else 0,
        "vote": {"ranking": ranking},
        "traces": traces,
        "stopped": "all",
        "fallback": not ranking,
        "seconds": round(rng.uniform(20, 200), 3),
        "risk": None,
        "seed": seed,
    }


def _trace(rng: random.Random, candidate: int, reference: int, skill: float) -> Json:
    """Two turns, 700 characters of text and code: right by `skill`, else one of four wrong answers, or now and then none."""
    wrong = None if rng.random() < 0.1 else (reference + rng.randint(1, 4)) % 1000
    answer = reference if rng.random() < skill else wrong
    code = CODE.format(rng.randint(50, 500), rng.randint(100, 999))
    first = _turn(f"{_prose(rng, 50)}\n\n```python\n{code}\n```\n```output\n", "```output\n", code, f"{answer}\n")
    last = _turn(f"{_prose(rng, 20)} $\\boxed{{{answer}}}$.", None, None, None)
    status = "exhausted" if answer is None else "answered"
    return {
        "candidate": candidate,
        "turns": [first, last],
        "status": status,
        "answer": answer,
        "boxed": None if answer is None else str(answer),
        "detail": "",
        "seconds": 12.5,
        "cut": None,
    }


def _turn(text: str, stop: str | None, code: str | None, output: str | None) -> Json:
    tokens = len(text) // 4
    return {
        "completion": {
            "text": text,
            "finish_reason": "stop",
            "stop_reason": stop,
            "tokens": tokens,
            "prompt_tokens": 120,
            "cached_tokens": 96,
        },
        "prefix": "",
        "code": code,
        "execution": None if output is None else {"output": output, "status": "ok", "seconds": 0.0125},
        "output_block": "" if output is None else f"{output}```",
        "generate_seconds": 6.25,
    }


def _prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))
