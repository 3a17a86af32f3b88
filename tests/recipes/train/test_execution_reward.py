"""The reward by execution: real programs in the real sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.dialects.rows import OUTPUT_FENCE
from sctir_kaggle.recipes.train.rloo import ExecutionReward
from sctir_kaggle.sandbox import Sandbox


@pytest.fixture(scope="module")
def reward(sandbox: Sandbox) -> Iterator[ExecutionReward]:
    with BackgroundLoop() as loop:
        yield ExecutionReward(sandbox, loop)


def program(code: str) -> str:
    return f"We compute.\n```python\n{code}\n```\n{OUTPUT_FENCE}"


@pytest.mark.parametrize(
    "code", ["print(6 * 7)", "print('so')\nprint(42)", "from fractions import Fraction\nprint(Fraction(84, 2))"]
)
def test_a_program_that_prints_the_reference_last_is_rewarded(reward: ExecutionReward, code: str) -> None:
    assert reward(completions=[program(code)], answer=[42]) == [1.0]


@pytest.mark.parametrize(
    "code", ["print(41)", "print(42)\nprint(1)", "print(42)\n1 / 0", "print('42 or so')", "x = 42", "print("]
)
def test_any_other_program_is_not(reward: ExecutionReward, code: str) -> None:
    assert reward(completions=[program(code)], answer=[42]) == [0.0]


def test_an_output_that_the_model_made_up_is_not_read(reward: ExecutionReward) -> None:
    forged = program("print(1)") + "42\n```\nSo it is $\\boxed{42}$."
    assert reward(completions=[forged], answer=[42]) == [0.0]


def test_without_a_program_the_box_counts(reward: ExecutionReward) -> None:
    texts = ["It is $\\boxed{42}$.", "It is $\\boxed{41}$.", "I cannot say.", ""]
    assert reward(completions=texts, answer=[42] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_each_completion_has_its_own_reference_and_its_own_interpreter(reward: ExecutionReward) -> None:
    texts = [program("x = 1\nprint(x)"), program("print(x)"), program("print(-10**30)")]
    assert reward(completions=texts, answer=[1, 1, -(10**30)]) == [1.0, 0.0, 1.0]
