"""The notebook's SETTINGS cell: read from a notebook, rewritten with other values, and resolved into a run.

Away from Kaggle, without vLLM and with no checkpoint named, the notebook runs the embedded model, so that a clone can be
tried out. At Kaggle it never does: there a checkpoint that is not attached ends the editor's run.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
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

log = logging.getLogger("sctir_kaggle")

WORKING = "SCTIR_KAGGLE_WORKING"
"""The environment variable that names the working folder; default: the current one."""

CANDIDATES = 16
"""Candidates a problem with the embedded model: enough for a vote, and on a CPU a run of minutes."""

NAME = "SETTINGS"

CELL = re.compile(r"^SETTINGS = (\{.*\}|\{[^\n]*\n(?:.*\n)*?\})$", re.MULTILINE)
"""The assignment; its group is the dict."""

_ENTRY = re.compile(r'^(?P<indent> *)(?:# )?"(?P<name>\w+)": (?P<value>[^#]*?),(?P<comment> *#.*)?$')
"""A line of the dict, commented out or not."""


def settings_here(cell: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> RunConfig:
    """Return the run that the cell asks for; in a clone without vLLM or checkpoint, one that this machine can do.

    The latter is logged. Raises `UserError` on an impossible setting, and in a clone with neither vLLM nor transformers.
    """
    run = resolve_cell(cell, environment)
    if at_kaggle(environment) or run.engine.model is not None or entry_of(run.engine.engine).model != "weights":
        return run
    engine = run.engine.engine if _installed(run.engine.engine) else "transformers"
    if not _installed(engine):
        needs = ", ".join(entry_of(engine).needs)
        raise UserError(f"not at Kaggle, and {needs} are not all installed: pip install 'sctir-kaggle[cpu]'")
    asked = {"candidates": CANDIDATES, **_folder(environment), **cell, "engine": engine, "model": str(EMBEDDED_MODEL)}
    here = resolve_cell(asked, environment)
    log.warning(
        "not at Kaggle and no checkpoint named: the embedded model (1.3 million parameters, trained on the kind of "
        "synthetic problems that it is asked here) answers with the engine %s, %d candidates a problem; it can solve "
        "nothing else",
        here.engine.engine,
        here.solver.candidates,
    )
    return here


def resolve_cell(cell: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> RunConfig:
    """Resolve the cell into a run: it overrides a preset; the file of SCTIR_CONFIG and SCTIR_ variables override it.

    Raises `UserError` on an unknown name, a wrong type or a value out of range.
    """
    layers = [
        Layer("the command", {"output": environment.get(WORKING, ".")}),
        Layer("the notebook's cell", cell),
        *environment_file(environment),
        environment_layer(environment),
    ]
    return resolve(layers)


def at_kaggle(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Kaggle notebook, or a machine set up like one."""
    named = (RERUN, "KAGGLE_KERNEL_RUN_TYPE", ROOTS_VARIABLE)
    return any(environment.get(name) for name in named) or any(Path(root).is_dir() for root in ROOTS)


def cell_settings(notebook: Path) -> dict[str, Any] | None:
    """Return the settings of a notebook (.ipynb) or of its source; None if it has none.

    Raises `UserError` as `read_cell` does.
    """
    text = notebook.read_text(encoding="utf-8")
    if notebook.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell.get("cell_type") == "code"]
        sources = ["".join(cell.get("source", [])) for cell in cells]
    else:
        sources = [text]
    found = [read_cell(source, source=str(notebook)) for source in sources]
    return next((each for each in reversed(found) if each is not None), None)


def read_cell(text: str, *, source: str = "the notebook") -> dict[str, Any] | None:
    """Return the last settings in Python source; None if it has none.

    Raises `UserError` if they are computed: their values could not be known before the run.
    """
    found: dict[str, Any] | None = None
    for value in _assigned(text):
        try:
            found = dict(ast.literal_eval(value))
        except (ValueError, TypeError):
            raise UserError(f"{source}: {NAME} is computed: write its values out, {NAME} = {{...}}") from None
    return found


def with_settings(text: str, settings: Mapping[str, Any], *, source: str) -> str:
    """Return the notebook's source with `settings` in its cell. Raises `UserError` unless there is exactly one."""
    found = CELL.findall(text)
    if len(found) != 1:
        raise UserError(f"{source} needs one `SETTINGS = {{...}}` for the settings, not {len(found)}")
    written = _rewritten(found[0], settings)
    return CELL.sub(lambda _: f"SETTINGS = {written}", text)


def _rewritten(cell: str, settings: Mapping[str, Any]) -> str:
    """The dict's text: a setting goes into the line that holds it, commented out or not; others into lines at the end."""
    if "\n" not in cell:
        values = {**ast.literal_eval(cell), **settings}
        return "{" + ", ".join(f'"{name}": {_literal(value)}' for name, value in values.items()) + "}"
    left = dict(settings)
    lines = []
    for line in cell.split("\n"):
        entry = _ENTRY.match(line)
        if entry and entry["name"] in left:
            line = f'{entry["indent"]}"{entry["name"]}": {_literal(left.pop(entry["name"]))},{entry["comment"] or ""}'
        lines.append(line)
    added = [f'    "{name}": {_literal(value)},' for name, value in left.items()]
    return "\n".join([*lines[:-1], *added, lines[-1]])


def _literal(value: Any) -> str:
    """A value as the source has it, texts in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _assigned(source: str) -> Iterator[ast.expr]:
    """The values assigned to SETTINGS at the top level. IPython's magics and shell commands are no Python: left out."""
    try:
        tree = ast.parse(re.sub(r"^\s*[%!?].*$", "pass", source, flags=re.MULTILINE))
    except SyntaxError:
        return
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if node_value := getattr(node, "value", None):
            yield from (node_value for target in targets if isinstance(target, ast.Name) and target.id == NAME)


def _installed(engine: str) -> bool:
    return all(find_spec(name) is not None for name in entry_of(engine).needs)


def _folder(environment: Mapping[str, str]) -> dict[str, str]:
    """In a clone the run is kept below runs/ of the checkout, which git ignores, unless the environment names a folder."""
    if environment.get(WORKING):
        return {}
    parent = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
    return {"output": str(parent / "runs" / f"notebook-{time.strftime('%Y%m%d-%H%M%S')}")}
