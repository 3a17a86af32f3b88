"""What a cell with an answer is worth: an exact number, or none; read as a candidate's answer is."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sctir_kaggle.problems.references import reference_of

VALUES: list[tuple[Any, Any]] = [
    (52, 52),
    (52.0, 52),
    (-0.0, 0),
    (0.1, Fraction(1, 10)),
    (Decimal("2.50"), Fraction(5, 2)),
    (np.int64(7), 7),
    (np.float64(7.0), 7),
    ("52", 52),
    (" 52 \n", 52),
    ("052", 52),
    ("52.0", 52),
    ("52.", 52),
    ("+52", 52),
    ("-52", -52),
    ("−52", -52),
    ("1,234", 1234),
    ('="1,234"', 1234),
    ("'007", 7),
    ("1\u202f234", 1234),
    ("1e+16", 10**16),
    ("12,345,678", 12345678),
    ("$42$", 42),
    (r"\(42\)", 42),
    (r"\boxed{42}", 42),
    (r"$\boxed{\frac{1}{2}}$", Fraction(1, 2)),
    (r"\frac{3}{4}", Fraction(3, 4)),
    (r"\dfrac34", Fraction(3, 4)),
    ("3/4", Fraction(3, 4)),
    ("4/2", 2),
    (r"2^{10}", 1024),
    (r"10\%", 10),
    (r"42 \text{ apples}", 42),
    ("1e3", 1000),
    ("123456789012345678901234567890", 123456789012345678901234567890),
    ("Six and six are 12.\n#### 12", 12),
    ("#### -1,200", -1200),
    (r"It is 3, so the answer is $\boxed{9}$.", 9),
    ("We add. The answer is: 33", 33),
    (["42"], 42),
    (("42",), 42),
    ([r"$\frac{1}{2}$"], Fraction(1, 2)),
    (np.array(["42"], dtype=object), 42),
    (["2", "2.0"], 2),
    ("['42']", 42),
    ('["42"]', 42),
    (r"['$\\frac{1}{2}$']", Fraction(1, 2)),
    (r"['$\frac{1}{2}$']", Fraction(1, 2)),
    ({"ground_truth": "42", "style": "rule"}, 42),
    ({"value": 42}, 42),
]


@pytest.mark.parametrize(("cell", "value"), VALUES, ids=[repr(cell) for cell, _ in VALUES])
def test_a_number_is_exact(cell: Any, value: Any) -> None:
    reference = reference_of(cell)
    assert reference.value == value
    assert type(reference.value) is type(value)
    assert reference.written


@pytest.mark.parametrize(
    "cell",
    [
        *(r"\text{east}", "B", "(1, 2)", "1, 2", "x^2 + 1", r"2\sqrt{3}", r"3\pi", "11:30", "yes", True, float("inf")),
        *(["1", "2"], "['1', '2']", "['1' '2']", {"x": 1}, r"(-\infty, 3]", "1/0", "[[1, 2], [3, 4]]", "####"),
    ],
)
def test_what_is_no_rational_number_has_no_value_but_is_an_answer(cell: Any) -> None:
    reference = reference_of(cell)
    assert reference.value is None
    assert reference.written


@pytest.mark.parametrize(
    "cell",
    [None, float("nan"), pd.NA, pd.NaT, np.nan, "", "  ", "nan", "NaN", "None", "null", "N/A", "-", [], [None], "[]"],
)
def test_nothing_is_no_answer(cell: Any) -> None:
    assert reference_of(cell) == (None, "")


def test_a_base_is_no_digit() -> None:
    assert reference_of("2112_6").value != 21126


@pytest.mark.parametrize(
    ("text", "value"),
    [("3,5", Fraction(7, 2)), ("52,0", 52), ("1,2345", Fraction(2469, 2000)), ("1,234", Fraction(617, 500))],
)
def test_a_decimal_comma_counts_only_in_a_column_with_decimal_commas(text: str, value: Any) -> None:
    assert reference_of(text, decimal_comma=True).value == value
    assert reference_of(text).value == (1234 if text == "1,234" else None)
