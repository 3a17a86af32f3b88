"""Synthetic problem families and their chains of thought by name: `FAMILIES`, `CHAINS`. Importing a topic registers its own."""

from sctir_kaggle.recipes.synthetic.families import algebra, combinatorics, counting, geometry, number_theory, sequences
from sctir_kaggle.recipes.synthetic.families.chain import CHAINS
from sctir_kaggle.recipes.synthetic.families.family import FAMILIES, Family, Params, family, fill, phrase

__all__ = [
    "CHAINS",
    "FAMILIES",
    "Family",
    "Params",
    "algebra",
    "combinatorics",
    "counting",
    "family",
    "fill",
    "geometry",
    "number_theory",
    "phrase",
    "sequences",
]
