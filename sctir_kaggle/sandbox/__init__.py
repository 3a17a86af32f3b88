"""Runs code that nobody has read: a zygote forks one confined Python per candidate, and limits end it."""

from __future__ import annotations

from sctir_kaggle.sandbox.executor import Sandbox, layers
from sctir_kaggle.sandbox.protocol import Layer

__all__ = ["Layer", "Sandbox", "layers"]
