"""JSON values become dataclasses, or the first value that does not fit is named with its place."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import pytest

from sctir_kaggle.json_values import Mismatch, decode


@dataclass(frozen=True)
class Leaf:
    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Tree:
    name: str
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[int, str] | None = None
    value: int | Fraction | None = None


def test_a_tree_comes_back() -> None:
    found = decode(
        Tree, {"name": "t", "leaves": [{"size": 1.5}, {"size": 2, "kind": "b"}], "pair": [1, "x"], "value": "1/2"}
    )
    assert found == Tree("t", (Leaf(1.5), Leaf(2, "b")), (1, "x"), Fraction(1, 2))


@pytest.mark.parametrize(
    ("value", "message", "unknown"),
    [
        (None, "is null, not an object", False),
        ({}, "name is missing", False),
        ({"name": 1}, "name is 1, not a text", False),
        ({"name": "t", "leaves": {}}, "leaves is an object, not a list", False),
        ({"name": "t", "leaves": [{"size": 1}, {"size": True}]}, "leaves[1].size is true, not a number", False),
        ({"name": "t", "leaves": [{"size": float("nan")}]}, "leaves[0].size is nan, not a number", False),
        (
            {"name": "t", "leaves": [{"size": 1, "kind": "c"}]},
            "leaves[0].kind is 'c', which this version does not know",
            True,
        ),
        (
            {"name": "t", "leaves": [{"size": 1, "kind": 3}]},
            "leaves[0].kind is 3, which this version does not know",
            False,
        ),
        ({"name": "t", "age": 3}, "age is a field that this version does not know", True),
        ({"name": "t", "pair": [1]}, "pair has 1 values, not 2", False),
        ({"name": "t", "pair": [1, 2]}, "pair[1] is 2, not a text", False),
        ({"name": "t", "value": "1/0"}, "value is '1/0', not a fraction such as '1/2'", False),
        (
            {"name": "t" * 9, "value": "x" * 99},
            "value is 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..., not a fraction",
            False,
        ),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(value: Any, message: str, unknown: bool) -> None:
    with pytest.raises(Mismatch) as refused:
        decode(Tree, value)
    assert str(refused.value).startswith(message)
    assert refused.value.unknown is unknown


def test_values_pass_through_what_is_before_their_class() -> None:
    before = ((Leaf, lambda value: {"size": value}),)
    assert decode(Tree, {"name": "t", "leaves": [1, 2]}, before=before).leaves == (Leaf(1), Leaf(2))
