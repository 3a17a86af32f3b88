"""Problems of the embedded model: fifty held out, some to choose between models, the rest for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sctir_kaggle.recipes.synthetic.corpus import Draft, draft
from sctir_kaggle.recipes.synthetic.families import FAMILIES, Family, Params
from sctir_kaggle.types import Problem

PROBLEMS = 50
"""Held-out problems: one of each family, the rest of families drawn at random."""

TRACES = 370
"""Training drafts of each family."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A problem with its family and parameters."""

    family: str
    params: Params
    problem: Problem


def held_out(seed: int, count: int = PROBLEMS) -> list[Posed]:
    """The held-out problems. No answer is 0, which a solver gives without a vote."""
    rng = Random(f"held out/{seed}")
    names = [*FAMILIES, *rng.choices(list(FAMILIES), k=max(0, count - len(FAMILIES)))]
    rng.shuffle(names)
    return [_pose(name, number, rng) for number, name in enumerate(names[:count])]


def validation(seed: int, each: int = 4) -> list[Posed]:
    """`each` more problems of every family to choose between models; neither trained on nor published."""
    rng = Random(f"validation/{seed}")
    return [_pose(name, number, rng) for name in FAMILIES for number in range(each)]


def _pose(name: str, number: int, rng: Random) -> Posed:
    family = FAMILIES[name]
    params = _sample_nonzero(family, rng)
    return Posed(name, params, Problem(f"{name}-{number}", family.text(params, rng), family.answer(params)))


def _sample_nonzero(family: Family, rng: Random) -> Params:
    params = family.sample(rng)
    return params if family.answer(params) else _sample_nonzero(family, rng)


def training_drafts(seed: int, held: Sequence[Posed], count: int) -> list[Draft]:
    """`count` drafts a family, none with the parameters of a held problem and no two the same, shuffled."""
    rng = Random(f"training/{seed}")
    drafts: dict[Draft, None] = {}
    for name, family in FAMILIES.items():
        closed = [posed.params for posed in held if posed.family == name]
        for _ in range(count):
            params = family.sample(rng)
            if params not in closed:
                drafts[draft(family, params, rng)] = None
    made = list(drafts)
    rng.shuffle(made)
    return made
