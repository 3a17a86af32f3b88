"""The defaults are the winner's sizes, and a wrong value says what is right."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from sctir_kaggle import AIMO3, MATH, SolverConfig, UserError


def test_the_defaults_are_the_winners_sizes() -> None:
    config = SolverConfig()
    assert (config.candidates, config.turns, config.temperature, config.top_p) == (48, 4, 0.8, 1.0)
    assert (config.max_tokens, config.code_seconds) == (2048, 5.0)
    assert (config.modulus, config.lowest, config.highest, config.default_answer) == (1000, 0, 999, 0)


def test_the_other_competitions_differ_in_their_answers_only() -> None:
    assert (AIMO3.modulus, AIMO3.lowest, AIMO3.highest) == (None, 0, 99_999)
    assert (MATH.modulus, MATH.lowest, MATH.highest) == (None, None, None)
    assert AIMO3.candidates == MATH.candidates == 48


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SolverConfig().candidates = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": 0},
        {"candidates": 1025},
        {"turns": -1},
        {"temperature": -0.1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"code_seconds": 0.0},
        {"modulus": 0},
        {"default_answer": 1000},
        {"force_tokens": 0},
        {"stop_delta": -0.1},
        {"stop_delta": 0.5},
        {"stop_ballots": 0},
        {"contested_risk": 1.1},
    ],
)
def test_a_wrong_value_is_named_with_its_limit(wrong: dict[str, Any]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(UserError, match=f"{name} is {value}; it must be"):
        SolverConfig(**wrong)
