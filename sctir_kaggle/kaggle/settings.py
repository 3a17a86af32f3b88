"""The settings of the notebook: its cell's, and what the environment says elsewhere than at Kaggle."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.settings import Layer, RunConfig, resolve
from sctir_kaggle.sources import environment_file, environment_layer
from sctir_kaggle.types import UserError

WORKING = "SCTIR_KAGGLE_WORKING"
"""The environment variable that names the working folder; default: the current one."""

NAME = "SETTINGS"
"""What the notebook's cell calls its settings."""


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


def cell_settings(notebook: Path) -> dict[str, Any] | None:
    """The values that `SETTINGS` has in a notebook or its source, the last ones; None where it sets none.

    Raises `UserError` where they are not written out, since what they say cannot be known before the run.
    """
    found: dict[str, Any] | None = None
    for cell in _code_cells(notebook):
        for value in _assigned(cell):
            try:
                found = dict(ast.literal_eval(value))
            except (ValueError, TypeError):
                raise UserError(f"{notebook}: {NAME} is computed: write its values out, {NAME} = {{...}}") from None
    return found


def _code_cells(notebook: Path) -> list[str]:
    text = notebook.read_text(encoding="utf-8")
    if notebook.suffix != ".ipynb":
        return [text]
    cells = json.loads(text)["cells"]
    return ["".join(cell.get("source", [])) for cell in cells if cell.get("cell_type") == "code"]


def _assigned(cell: str) -> Iterator[ast.expr]:
    """What is assigned to the name at the cell's top level. Jupyter's own commands are left out of the reading."""
    try:
        tree = ast.parse(re.sub(r"^\s*[%!?].*$", "pass", cell, flags=re.MULTILINE))
    except SyntaxError:
        return
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if node_value := getattr(node, "value", None):
            yield from (node_value for target in targets if isinstance(target, ast.Name) and target.id == NAME)
