"""The settings of the notebook: its cell's, and what the environment says elsewhere than at Kaggle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sctir_kaggle.settings import Layer, RunConfig, resolve
from sctir_kaggle.sources import environment_file, environment_layer

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
