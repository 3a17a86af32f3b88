"""The cell `SETTINGS = {...}` of a notebook's source: read, and changed where a run is to have other settings.

The dict is a literal on one line, or has one entry a line, with a comment behind it. A line that is commented out holds a
value that is not chosen: the preset's or the dialect's holds, or the default. To set it is to take the `# ` away.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from sctir_kaggle.types import UserError

CELL = re.compile(r"^SETTINGS = (\{.*\}|\{[^\n]*\n(?:.*\n)*?\})$", re.MULTILINE)
"""The assignment; its group is the dict."""

_ENTRY = re.compile(r'^(?P<indent> *)(?:# )?"(?P<name>\w+)": (?P<value>[^#]*?),(?P<comment> *#.*)?$')


def read_cell(text: str) -> dict[str, Any]:
    """The settings in a source; empty where it has no such cell."""
    found = CELL.search(text)
    return dict(ast.literal_eval(found[1])) if found else {}


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
