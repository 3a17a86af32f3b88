"""Run untrusted, model-generated Python: a warm process forks one confined interpreter per candidate."""

from __future__ import annotations

from sctir_kaggle.sandbox.executor import Sandbox
from sctir_kaggle.sandbox.protocol import Layer
from sctir_kaggle.sandbox.zygotes import layers

__all__ = ["Layer", "Sandbox", "layers"]
