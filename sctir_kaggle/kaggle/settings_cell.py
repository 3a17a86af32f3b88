"""The cell `SETTINGS = {...}` of a notebook's source: read, and changed where a run is to have other settings.

The dict is a literal on one line, or has one entry a line, with a comment behind it. A line that is commented out holds a
value that is not chosen: the preset's or the dialect's holds, or the default. To set it is to take the `# ` away.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.types import UserError

CELL = re.compile(r"^SETTINGS = (\{.*\}|\{[^\n]*\n(?:.*\n)*?\})$", re.MULTILINE)
"""The assignment; its group is the dict."""

NAME = "SETTINGS"

_ENTRY = re.compile(r'^(?P<indent> *)(?:# )?"(?P<name>\w+)": (?P<value>[^#]*?),(?P<comment> *#.*)?$')


def read_cell(text: str, *, source: str = "the notebook") -> dict[str, Any] | None:
    """The settings in a source, the last ones; None where it sets none.

    Raises `UserError` where they are not written out, since what they say cannot be known before the run.
    """
    found: dict[str, Any] | None = None
    for value in _assigned(text):
        try:
            found = dict(ast.literal_eval(value))
        except (ValueError, TypeError):
            raise UserError(f"{source}: {NAME} is computed: write its values out, {NAME} = {{...}}") from None
    return found


def cell_settings(notebook: Path) -> dict[str, Any] | None:
    """As `read_cell`, of a notebook's file or its source's."""
    said = [read_cell(cell, source=str(notebook)) for cell in _code_cells(notebook)]
    return next((each for each in reversed(said) if each is not None), None)


def changed(text: str, settings: Mapping[str, Any], *, source: str) -> str:
    """The source with `settings` in its cell. Raises `UserError` where there is not one such cell."""
    found = CELL.findall(text)
    if len(found) != 1:
        raise UserError(f"{source} needs one `SETTINGS = {{...}}` for the settings, not {len(found)}")
    written = _one_line(found[0], settings) if "\n" not in found[0] else _lines(found[0], settings)
    return CELL.sub(lambda _: f"SETTINGS = {written}", text)


def literal(value: Any) -> str:
    """A value as the source has it: texts in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _one_line(cell: str, settings: Mapping[str, Any]) -> str:
    values = {**ast.literal_eval(cell), **settings}
    return "{" + ", ".join(f'"{name}": {literal(value)}' for name, value in values.items()) + "}"


def _lines(cell: str, settings: Mapping[str, Any]) -> str:
    """Each in the line that holds it, commented out or not; the others in lines of their own at the end."""
    left = dict(settings)
    written = []
    for line in cell.split("\n"):
        entry = _ENTRY.match(line)
        if entry and entry["name"] in left:
            line = f'{entry["indent"]}"{entry["name"]}": {literal(left.pop(entry["name"]))},{entry["comment"] or ""}'
        written.append(line)
    added = [f'    "{name}": {literal(value)},' for name, value in left.items()]
    return "\n".join([*written[:-1], *added, written[-1]])


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
