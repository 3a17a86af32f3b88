"""A problem solved in every dialect: the code of a transcript runs in the real sandbox, and the right answer gets the vote."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import ExecutionStatus, Problem, Rollout, SolverConfig, Trace, TraceStatus
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.recognition import bind
from sctir_kaggle.dialects.rows import DIALECTS
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.sandbox import Sandbox

CHATML = "<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"
CODE = "total = sum(range(10))\nprint(total)"
CALL = json.dumps({"name": "python", "arguments": {"code": CODE}})
XML = f"<function=python>\n<parameter=code>\n{CODE}\n</parameter>\n</function>"
THOUGHT = "<think>\nMaybe \\boxed{7}? Let me compute.\n</think>\n\n"
NEXT = "<|end|><|start|>assistant"
FINAL = "So it is \\boxed{45}."

TRANSCRIPTS: dict[str, tuple[str, ...]] = {
    "numina": (f"We sum.\n```python\n{CODE}\n```\n```output\n", "\n" + FINAL),
    "deepseek-math": (f" We sum.\n```python\n{CODE}\n```\n```output", FINAL),
    "qwen2.5-math": (f"We sum.\n```python\n{CODE}\n```\n```output", FINAL),
    "openmath-nemotron": (f"<think>\nWe sum.\n<tool_call>\n{CODE}\n</tool_call>", f"It is 45.\n</think>\n{FINAL}"),
    "qwen3": (f"{THOUGHT}<tool_call>\n{CALL}\n</tool_call>", f"<think>\nok\n</think>\n\n{FINAL}"),
    "hermes": (f"<tool_call>\n{CALL}\n</tool_call>", FINAL),
    "qwen3-coder": (f"We sum.\n\n<tool_call>\n{XML}\n</tool_call>", FINAL),
    "gpt-oss": (
        f"<|channel|>analysis<|message|>Perhaps \\boxed{{7}}.{NEXT}<|channel|>analysis to=python code<|message|>{CODE}",
        f"<|channel|>final<|message|>{FINAL}",
    ),
    "llama3": (f"<|python_tag|>{CODE}", FINAL),
    "r1": (f"We sum.\n```python\n{CODE}\n```\n```output", f"45.\n</think>\n\n{FINAL}"),
    "chat": (f"We sum.\n```python\n{CODE}\n```", FINAL),
    "chat-server": (f"<think>Hm.</think>\nWe sum.\n```python\n{CODE}\n```\n```output\n", "\n" + FINAL),
}


def bound(name: str) -> Dialect:
    """As it is with a checkpoint, here without one: a chat template's text stands in for the checkpoint's."""
    dialect = DIALECTS[name]
    if not dialect.prompt:
        opener = "<think>\n" if name == "r1" else ""
        dialect = replace(dialect, prompt=CHATML + opener, thinks_first=name == "r1")
        if name == "chat":
            dialect = replace(
                dialect, turn_end="<|im_end|>", output_begin="\n<|im_start|>user\n" + dialect.output_begin
            )
    return bind(dialect, None, model="m", turns=4)


def solve(dialect: Dialect, sandbox: Sandbox, *texts: str, **changes: Any) -> tuple[Trace, Scripted]:
    engine = Scripted({0: texts})
    config = SolverConfig(candidates=1, **changes)
    rollout = Rollout(
        Problem("p", "Sum 0 to 9."),
        0,
        engine=engine,
        executor=sandbox,
        config=config,
        deadline=time.monotonic() + 60,
        dialect=dialect,
    )
    return asyncio.run(rollout.run()), engine


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_code_runs_and_the_right_answer_gets_the_vote(name: str, sandbox: Sandbox) -> None:
    trace, engine = solve(bound(name), sandbox, *TRANSCRIPTS[name])
    first = trace.turns[0].execution
    assert first is not None
    assert (first.output.strip(), first.status) == ("45", ExecutionStatus.OK)
    assert (trace.status, trace.answer) == (TraceStatus.ANSWERED, 45)
    assert engine.prompts["p/0/1"].startswith(engine.prompts["p/0/0"] + TRANSCRIPTS[name][0])


def test_every_shipped_dialect_that_runs_code_has_a_transcript() -> None:
    assert set(TRANSCRIPTS) == {name for name, dialect in DIALECTS.items() if dialect.runs_code}


def test_a_dialect_without_code_answers_from_its_text(sandbox: Sandbox) -> None:
    trace, _ = solve(bound("qwen2.5-math-cot"), sandbox, "Adding up gives \\boxed{45}.")
    assert (trace.answer, trace.turns[0].execution) == (45, None)


GOLDEN = {
    "qwen2.5-math-tir": "qwen2.5-math",
    "numina-math-7b-tir": "numina",
    "openmath-nemotron-tir": "openmath-nemotron",
    "qwen3-json-tool": "qwen3",
    "qwen3-coder-xml": "qwen3-coder",
    "gpt-oss-harmony": "gpt-oss",
    "llama-3.1-ipython": "llama3",
    "deepseek-r1-distill-inline": "r1",
}
ENDS = ("<|im_end|>", "<|call|>", "<|return|>", "<|eom_id|>", "<|eot_id|>", "<｜end▁of▁sentence｜>")


def records(shared_data: Path) -> list[dict[str, Any]]:
    path = shared_data.parent / "reference" / "dialects-golden.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the project")
    return list(json.loads(path.read_text(encoding="utf-8"))["records"])


@pytest.mark.shared
@pytest.mark.parametrize("family", GOLDEN)
def test_prompts_code_and_vote_are_those_of_the_recorded_vectors(
    family: str, shared_data: Path, sandbox: Sandbox
) -> None:
    [record] = [one for one in records(shared_data) if one["family"] == family]
    dialect = bind(_of_record(GOLDEN[family], record), None, model="m", turns=8)
    texts = [record["completion_turn1"], record["completion_turn2"]]
    asked = Problem("p", record["problem"])
    engine = Scripted({0: [_without_end(text) for text in texts]})
    config = SolverConfig(candidates=1, turns=8)
    end = time.monotonic() + 60
    rollout = Rollout(asked, 0, engine=engine, executor=sandbox, config=config, deadline=end, dialect=dialect)
    trace = asyncio.run(rollout.run())
    bos = "<｜begin▁of▁sentence｜>" if family == "numina-math-7b-tir" else ""  # the tokenizer's, not the prompt's
    assert bos + engine.prompts["p/0/0"] == record["prompt_turn1"]
    assert trace.turns[0].code == record["code_to_execute"]
    assert bos + engine.prompts["p/0/1"] == record["prompt_turn2"]
    assert trace.answer == record["expected_answer"]


def _without_end(text: str) -> str:
    """The token that ends a turn is no part of a completion's text."""
    return next((text.removesuffix(end) for end in ENDS if text.endswith(end)), text)


def _of_record(name: str, record: dict[str, Any]) -> Dialect:
    """The row; where a template renders it, with the record's own rendering, and with the record's day."""
    dialect = DIALECTS[name]
    if dialect.prompt:
        return replace(dialect, prompt=dialect.prompt.replace("{date}", "2026-01-01"))
    prompt = record["prompt_turn1"].replace(record["problem"], "{problem}")
    return replace(dialect, prompt=prompt, thinks_first=prompt.endswith("<think>\n"))
