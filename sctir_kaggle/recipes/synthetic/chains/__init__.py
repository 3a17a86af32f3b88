"""Chains of thought for the synthetic families: `CHAINS` by the family's name. Importing a topic registers its chains."""

from sctir_kaggle.recipes.synthetic.chains import algebra, combinatorics, counting, geometry, number_theory, sequences
from sctir_kaggle.recipes.synthetic.chains.chain import CHAINS, Chain, chain

__all__ = [
    "CHAINS",
    "Chain",
    "algebra",
    "chain",
    "combinatorics",
    "counting",
    "geometry",
    "number_theory",
    "sequences",
]
