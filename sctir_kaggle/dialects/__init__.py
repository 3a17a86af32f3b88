"""Prompt formats of model families: one row of data each, and the code that renders, reads and tokenizes by it."""

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.dialects.rows import DIALECTS

__all__ = ["DIALECTS", "Dialect", "choose"]
