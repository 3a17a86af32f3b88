"""What the notebook takes from the attached sources before anything is loaded: the engine's libraries and the checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sctir_kaggle.competition.submission import in_rerun
from sctir_kaggle.kaggle.install import install_missing
from sctir_kaggle.kaggle.paths import Roots, find_model
from sctir_kaggle.types import UserError

T = TypeVar("T")

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True)
class Attached:
    """`installed` names libraries; `faults` says in a line each what a rerun had to go on without."""

    model: Path | None
    installed: list[str]
    faults: list[str]


def attach(engine: str, *, rerun: bool | None = None, roots: Roots | None = None) -> Attached:
    """Installs what `engine` lacks and finds the checkpoint.

    Raises `UserError` where either is not there; not so in a rerun, where every problem must get its default answer
    rather than none. Whether it is one the environment says, unless `rerun` does.
    """
    faults: list[str] = []

    def survived(act: Callable[[], T], instead: T) -> T:
        try:
            return act()
        except (UserError, OSError) as error:
            if not (in_rerun() if rerun is None else rerun):
                raise
            faults.append(str(error))
            return instead

    nothing: list[str] = []
    installed = survived(lambda: install_missing(engine, roots), nothing)
    model = survived(lambda: _model(roots), None)
    return Attached(model, installed, faults)


def _model(roots: Roots | None) -> Path | None:
    return find_model(roots=roots)
