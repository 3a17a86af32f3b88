"""The examples in the core's docstrings run and print what they show."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["types", "voting", "stopping", "solver", "rollout", "budget", "jsonlines", "journal"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"sctir_kaggle.{name}")).failed == 0


@pytest.mark.parametrize("name", ["types", "voting", "stopping", "solver", "budget"])
def test_a_module_that_is_read_first_has_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"sctir_kaggle.{name}")).attempted > 0
