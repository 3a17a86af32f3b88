"""The notebook in a clone, elsewhere than at Kaggle: without vLLM and without a checkpoint it runs the embedded model.

At Kaggle never: there a checkpoint that is not attached ends the editor's run.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.inputs import ROOTS, ROOTS_VARIABLE
from sctir_kaggle.competition.submission import RERUN
from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.kaggle.bundle import CHECKOUT
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.settings import Layer, RunConfig, environment_file, environment_layer, resolve
from sctir_kaggle.types import UserError

WORKING = "SCTIR_KAGGLE_WORKING"
"""The environment variable that names the working folder; default: the current one."""


def notebook_settings(cell: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> RunConfig:
    """The run that the cell asks for: stronger than a preset, weaker than SCTIR_CONFIG's file and SCTIR_ variables.

    Raises `UserError` on an unknown name, a wrong type or a value outside its limits.
    """
    folder = Layer("the command", {"output": environment.get(WORKING, ".")})
    layers = [
        folder,
        Layer("the notebook's cell", cell),
        *environment_file(environment),
        environment_layer(environment),
    ]
    return resolve(layers)


CANDIDATES = 16
"""With the embedded model on CPU: enough for a vote, and a run of minutes."""

log = logging.getLogger("sctir_kaggle")


def settings_here(cell: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> RunConfig:
    """The run that the notebook's cell asks for; in a clone one that this machine can do, and that is said.

    Raises `UserError` on a setting that cannot be, and in a clone that has neither vLLM nor transformers.
    """
    run = notebook_settings(cell, environment)
    if at_kaggle(environment) or run.engine.model is not None or entry_of(run.engine.engine).model != "weights":
        return run
    engine = run.engine.engine if _installed(run.engine.engine) else "transformers"
    if not _installed(engine):
        needs = ", ".join(entry_of(engine).needs)
        raise UserError(f"not at Kaggle, and {needs} are not all installed: pip install 'sctir-kaggle[cpu]'")
    asked = {"candidates": CANDIDATES, **_folder(environment), **cell, "engine": engine, "model": str(EMBEDDED_MODEL)}
    here = notebook_settings(asked, environment)
    log.warning(
        "not at Kaggle and no checkpoint named: the embedded model (1.3 million parameters, trained on the synthetic "
        "problems that it is asked here) answers with the engine %s, %d candidates a problem; it can solve nothing else",
        here.engine.engine,
        here.solver.candidates,
    )
    return here


def at_kaggle(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Kaggle notebook, or a machine that is set up like one."""
    named = (RERUN, "KAGGLE_KERNEL_RUN_TYPE", ROOTS_VARIABLE)
    return any(environment.get(name) for name in named) or any(Path(root).is_dir() for root in ROOTS)


def _installed(engine: str) -> bool:
    return all(find_spec(name) is not None for name in entry_of(engine).needs)


def _folder(environment: Mapping[str, str]) -> dict[str, str]:
    """Where the run is kept, unless the environment says: below runs/ of the checkout, which git ignores."""
    if environment.get(WORKING):
        return {}
    parent = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
    return {"output": str(parent / "runs" / f"notebook-{time.strftime('%Y%m%d-%H%M%S')}")}
