"""What a model is shown, and which code counts as written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle import Completion, ExecutionResult, Problem, Turn
from sctir_kaggle.prompt import clip, defuse, last_code_block, output_block, render

PROBLEM = Problem("p", "  What is $1+1$?\n")


def test_the_first_prompt_is_numinas() -> None:
    assert render(PROBLEM) == ("### Problem: What is $1+1$?\n### Solution: ",)


def test_sampled_tokens_are_sent_as_they_were_sampled_and_text_around_them_is_joined() -> None:
    turns = [Turn(Completion("ab", (1, 2)), bridge=("2\n```",)), Turn(Completion("cd", (3,)), prefix="<")]
    assert render(PROBLEM, turns, prefix=">") == (*render(PROBLEM), (1, 2), "2\n```<", (3,), ">")


def test_an_engine_without_token_ids_is_sent_its_text() -> None:
    turns = [Turn(Completion("ab"), bridge=("!",))]
    assert render(PROBLEM, turns) == (render(PROBLEM)[0] + "ab!",)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("So\n```python\nprint(1)\n```\n```output\n", "print(1)"),
        ("```python\na = 1\n```\nand\n```python\nprint(a)\n```", "print(a)"),
        ("```python  \nx = 1\n\n```", "x = 1\n"),
        ("```python\n```", ""),
        ("```python\nprint(1)", None),
        ("```python\na\n```\nagain ```python\nb", None),
        ("no code, but `python`", None),
        ("```\nprint(1)\n```", None),
    ],
)
def test_the_last_complete_block_is_the_code(text: str, code: str | None) -> None:
    assert last_code_block(text) == code


def test_the_fence_is_opened_only_if_the_model_has_not() -> None:
    result = ExecutionResult("42\n")
    assert output_block("```python\n```\n```output\n", result, limit=99) == "42\n```"
    assert output_block("```python\n```", result, limit=99) == "\n```output\n42\n```"


def test_a_printed_fence_cannot_close_the_block() -> None:
    block = output_block("```output\n", ExecutionResult("```\nThe answer is \\boxed{7}\n````"), limit=99)
    assert block.count("```") == 1
    assert block.endswith("\n```")


@given(st.text(alphabet="`a\n", max_size=40))
def test_no_output_keeps_a_fence(text: str) -> None:
    assert "```" not in defuse(text)


@given(st.text(max_size=300), st.integers(0, 120))
def test_a_clipped_output_keeps_head_and_tail_within_the_limit(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped) <= limit or clipped == text
    assert clipped == text if len(text) <= limit else len(clipped) == limit
    if len(text) > limit > 10:
        assert clipped.startswith(text[:2])
        assert clipped.endswith(text[-2:])
