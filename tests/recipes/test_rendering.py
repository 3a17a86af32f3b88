"""A training row as the model sees it: token by token what the solver would send, and who is to write which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.dialects.rendering import bridge, render
from sctir_kaggle.dialects.rows import NUMINA, OUTPUT_FENCE
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.rendering import encode_row, segments_of
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, ExecutionResult, Problem, Turn, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CODE = "```python\nprint(6 * 7)\n```\n```output\n"
TEXT = f"We multiply.\n{CODE}42\n```\nAgain.\n{CODE}42\n```\nThe answer is $\\boxed{{42}}$."


def row(text: str, problem: str = "What is $6 \\cdot 7$?") -> dict[str, Any]:
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": text}]
    return {"id": "r", "problem": problem, "answer": 42, "messages": messages}


def parts(text: str) -> list[tuple[str, bool]]:
    return [(segment.text, segment.learned) for segment in segments_of(row(text))]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer

    return load_transformers_tokenizer(ASSETS / "model")


def test_the_model_writes_all_but_the_problem_and_the_outputs() -> None:
    assert parts(TEXT) == [
        ("### Problem: What is $6 \\cdot 7$?\n### Solution: ", False),
        (f"We multiply.\n{CODE}", True),
        ("42\n```", False),
        (f"\nAgain.\n{CODE}", True),
        ("42\n```", False),
        ("\nThe answer is $\\boxed{42}$.", True),
    ]


@pytest.mark.parametrize("output", ["", "\n", "1 ``` 2\n", "a\n\nb\n", "  ``\n"])
def test_an_output_ends_at_the_first_fence_that_begins_a_line(output: str) -> None:
    assert parts(f"{CODE}{output}```\nSo.")[1:] == [(CODE, True), (f"{output}```", False), ("\nSo.", True)]


def test_a_trace_may_end_with_an_output() -> None:
    assert parts(f"{CODE}42\n```\n")[1:] == [(CODE, True), ("42\n```", False)]


def test_a_chain_of_thought_is_learned_whole() -> None:
    assert parts("  It is\n42. ")[1:] == [("It is\n42.", True)]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (row(f"{CODE}42"), "row r: an output is not closed"),
        (row(CODE), "row r: an output is not closed"),
        (row(" "), "row r: an empty message"),
        ({"id": "r", "problem": "q"}, "row r: messages of []"),
        ({"id": "r", "messages": row("x")["messages"][::-1]}, "row r: messages of ['assistant', 'user']"),
    ],
)
def test_what_is_no_trace_is_refused(broken: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match="^" + said.replace("[", r"\[").replace("]", r"\]")):
        segments_of(broken)


def test_a_row_made_of_a_solved_problem_is_the_prompt_that_was_sent(sandbox: Sandbox) -> None:
    """A turn's text and the block that the solver appends to it, run for real, split where they were joined."""

    async def execute() -> ExecutionResult:
        loop = asyncio.get_running_loop()
        return await sandbox.execute("print('```')\n1/0", request_id="p/0/0", deadline=loop.time() + 60)

    turn = f"Try.\n```python\nprint('`' * 3)\n1/0\n```\n{OUTPUT_FENCE}"
    block = bridge(NUMINA, Completion(turn), asyncio.run(execute()), left=0, limit=600)
    assert "ZeroDivisionError" in "".join(block)
    problem = Problem("p", "  q ")
    prompt = render(
        NUMINA, problem, [Turn(Completion(turn), bridge=block), Turn(Completion("\nSo.", (7, 8), "length"))]
    )
    segments = segments_of(row(turn + "".join(block) + "\nSo.", problem.text))
    assert prompt[-1] == (7, 8)
    assert "".join(map(str, prompt[:-1])) == "".join(segment.text for segment in segments[:3])
    assert [segment.text for segment in segments[1:]] == [turn, "".join(block), "\nSo."]


def test_tokens_are_those_that_the_engine_sends(tokenizer: PreTrainedTokenizerFast) -> None:
    from sctir_kaggle.dialects.tokenizer import Tokenizer

    engine, segments = Tokenizer.load(ASSETS / "model"), segments_of(row(TEXT))
    written = [engine.encode_text(segment.text) if segment.learned else segment.text for segment in segments]
    ids, learned = encode_row(row(TEXT), tokenizer)
    assert ids == (*engine.encode(tuple(written)), tokenizer.eos_token_id)
    assert len(learned) == len(ids)


def test_bos_problem_and_outputs_are_not_learned_and_all_else_is(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, learned = encode_row(row(TEXT), tokenizer)
    read = [token for token, flag in zip(ids, learned, strict=True) if not flag]
    written = [token for token, flag in zip(ids, learned, strict=True) if flag]
    header = "### Problem: What is $6 \\cdot 7$?\n### Solution: "
    assert tokenizer.decode(read) == f"<s>{header}42\n```42\n```"
    solution = f"We multiply.\n{CODE}\nAgain.\n{CODE}\nThe answer is $\\boxed{{42}}$.</s>"
    assert tokenizer.decode(written) == solution
