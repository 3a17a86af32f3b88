"""How families of models are prompted, write code and answer: a row of data each, and what reads and writes by it."""

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.dialects.rows import DIALECTS

__all__ = ["DIALECTS", "Dialect", "choose"]
