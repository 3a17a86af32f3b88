"""What the notebook takes from the attached sources before anything is loaded: the engine's libraries and the checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sctir_kaggle.competition.submission import in_rerun
from sctir_kaggle.engines.registry import checkpoint_of, entry_of
from sctir_kaggle.kaggle.install import install_missing
from sctir_kaggle.kaggle.paths import Roots, find_model
from sctir_kaggle.types import UserError

T = TypeVar("T")

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True)
class Attached:
    """`installed` names libraries; `faults` says in a line each what a rerun had to go on without."""

    model: str | Path | None
    installed: list[str]
    faults: list[str]


def attach(
    engine: str, model: str | Path | None = None, *, rerun: bool | None = None, roots: Roots | None = None
) -> Attached:
    """Installs what `engine` lacks and finds the checkpoint, which is `model` where that is given.

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
    return Attached(survived(lambda: _model(engine, model, roots), None), installed, faults)


def _model(engine: str, model: str | Path | None, roots: Roots | None) -> str | Path | None:
    """Only an engine that loads weights needs them here."""
    if entry_of(engine).model != "weights":
        return model
    return find_model(roots=roots) if model is None else checkpoint_of(model)
