"""Synthetic problem families: `FAMILIES` by name. Importing a topic registers its families."""

from sctir_kaggle.recipes.synthetic.families import algebra, combinatorics, counting, geometry, number_theory, sequences
from sctir_kaggle.recipes.synthetic.families.family import FAMILIES, Family, Params, family, fill, phrase

__all__ = [
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
