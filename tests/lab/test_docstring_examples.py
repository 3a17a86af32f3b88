"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from sctir_kaggle.lab import statistics
from sctir_kaggle.lab.score import tables as score_tables
from sctir_kaggle.lab.whatif import tables as what_if_tables


@pytest.mark.parametrize("module", [statistics, score_tables, what_if_tables], ids=lambda module: module.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
