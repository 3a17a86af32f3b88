"""What a run of the notebook elsewhere than at Kaggle changes: environment variables SCTIR_..., which nobody sets there."""

from __future__ import annotations

import os
from typing import TypeVar

from sctir_kaggle.types import UserError

T = TypeVar("T", str, int, float)


def setting(name: str, value: T) -> T:
    """`value`, the notebook's own, or what the environment variable SCTIR_NAME says instead, in the type of `value`."""
    variable = f"SCTIR_{name.upper()}"
    text = os.environ.get(variable)
    if text is None:
        return value
    try:
        return type(value)(text)
    except ValueError:
        raise UserError(f"{variable} is {text!r}; it must be of the kind of {value!r}, or unset") from None
