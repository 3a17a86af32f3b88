"""Where settings come from besides the command line: a TOML file, the environment, NAME=VALUE."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sctir_kaggle.kinds import nearest, read_toml
from sctir_kaggle.settings import Layer, known
from sctir_kaggle.types import UserError

PREFIX = "SCTIR_"

CONFIG = "SCTIR_CONFIG"
"""The environment variable that names a TOML file."""

OTHERS = {
    *("SCTIR_CONFIG", "SCTIR_DATA", "SCTIR_GATEWAY_PORT", "SCTIR_KAGGLE_EVALUATION", "SCTIR_KAGGLE_INPUT"),
    *("SCTIR_KAGGLE_WORKING", "SCTIR_GPTQ_TWIN", "SCTIR_REPLICA", "SCTIR_TOKENIZERS"),
}
"""Variables of ours that are no settings."""


def toml_layer(path: Path) -> Layer:
    """The settings of a file. Raises `UserError` where it cannot be read."""
    return Layer(f"file {path.name}", read_toml(path), lambda name: f"{path}: {name}")


def environment_file(environment: Mapping[str, str] = os.environ) -> list[Layer]:
    """The file that SCTIR_CONFIG names, if it is set."""
    return [toml_layer(Path(environment[CONFIG]))] if environment.get(CONFIG) else []


def environment_layer(environment: Mapping[str, str] = os.environ) -> Layer:
    """What the SCTIR_ variables say. Raises `UserError` for one that is nearly a setting."""
    variables = {f"{PREFIX}{name.upper()}": name for name in (*known(), "answers")}
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in {*variables, *OTHERS}:
            _refuse_typo(variable)
    values = {name: environment[variable] for variable, name in variables.items() if variable in environment}
    return Layer("environment", values, lambda name: f"{PREFIX}{name.upper()}")


def _refuse_typo(variable: str) -> None:
    """Variables that are like no setting may be somebody else's."""
    name = variable.removeprefix(PREFIX).lower()
    if meant := nearest(name, (*known(), "answers"), cutoff=0.8):
        raise UserError(f"{variable} sets nothing: there is no setting {name}{meant}")


def set_layer(pairs: Sequence[str]) -> Layer:
    """What `--set NAME=VALUE` says. Raises `UserError` where there is no `=`."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair} sets nothing: write --set NAME=VALUE")
        values[name.strip().replace("-", "_")] = value
    return Layer("--set", values, lambda name: f"--set {name}")
