"""A Kaggle notebook from its source in percent cells: the same bytes every time, with or without the library's wheel.

Covered: cells of code and markdown, metadata of a cell as Kaggle exports it (`# %% [code] {"key": value}`). Not covered:
outputs, which a notebook gets when it runs, and whatever else Jupytext knows.
"""

from __future__ import annotations

import argparse
import ast
import base64
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sctir_kaggle.kaggle.bundle import CHECKOUT, build_wheel
from sctir_kaggle.types import UserError

SOURCE = CHECKOUT / "notebooks" / "submission.py"
COMMITTED = SOURCE.with_suffix(".ipynb")

MARKER = re.compile(r"^WHEEL = \{\}.*$", re.MULTILINE)
"""The line of the source that `build` fills where it is given a wheel."""

SETTINGS = re.compile(r"^SETTINGS = (\{.*\})$", re.MULTILINE)
"""The line of the source with the settings of the run, a Python literal; `build` writes others into it."""

_HEAD = re.compile(r"^# %%(?: \[(?P<kind>markdown|code)\])?(?: (?P<metadata>\{.*\}))?$")

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}

Json = dict[str, Any]


def build(source: Path = SOURCE, wheel: Path | None = None, settings: Mapping[str, Any] | None = None) -> str:
    """The notebook's text (JSON, nbformat 4.5). With `wheel` it carries that file, without it looks for it installed.

    `settings` are put over those of its cell. Raises `UserError` where a line that starts a cell cannot be read or the
    place for the wheel or the settings is not there.
    """
    text = source.read_text(encoding="utf-8")
    if settings:
        text = _with_settings(source, text, settings)
    if len(MARKER.findall(text)) != 1:
        raise UserError(f"{source} needs one line `WHEEL = {{}}` for the wheel, not {len(MARKER.findall(text))}")
    if wheel is not None:
        text = MARKER.sub(lambda _: payload(wheel), text)
    cells = [_cell(number, *cell) for number, cell in enumerate(_cells(source, text), 1)]
    notebook = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _with_settings(source: Path, text: str, settings: Mapping[str, Any]) -> str:
    found = SETTINGS.findall(text)
    if len(found) != 1:
        raise UserError(f"{source} needs one line `SETTINGS = {{...}}` for the settings, not {len(found)}")
    line = f"SETTINGS = {json_like({**ast.literal_eval(found[0]), **settings})}"
    return SETTINGS.sub(lambda _: line, text)


def json_like(values: Mapping[str, Any]) -> str:
    """A Python literal with double quotes, as the source has them."""
    return "{" + ", ".join(f'"{name}": {_literal(value)}' for name, value in values.items()) + "}"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def payload(wheel: Path) -> str:
    """The line `WHEEL = {}`, filled: the file's name and its bytes in base64, in short lines."""
    return f'WHEEL = {{"{wheel.name}": """\n{base64.encodebytes(wheel.read_bytes()).decode()}"""}}'


def _cells(source: Path, text: str) -> list[tuple[str, Json, str]]:
    """Kind, metadata and text of each cell. What stands before the first `# %%` is for readers of the source alone."""
    cells: list[tuple[str, Json, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# %%"):
            cells.append((*_head(source, number, line), []))
        elif cells:
            cells[-1][2].append(line)
    return [(kind, metadata, "\n".join(lines).strip("\n")) for kind, metadata, lines in cells]


def _head(source: Path, number: int, line: str) -> tuple[str, Json]:
    match = _HEAD.match(line)
    try:
        if match is not None:
            return match["kind"] or "code", json.loads(match["metadata"] or "{}")
    except ValueError:
        pass
    wanted = "# %%, # %% [markdown] or # %% [code] {JSON}"
    raise UserError(f"{source}, line {number}: {line!r} starts no cell; write {wanted}")


def _cell(number: int, kind: str, metadata: Json, text: str) -> Json:
    if kind == "markdown":
        text = re.sub("^# ?", "", text, flags=re.MULTILINE)
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": metadata, "source": text.splitlines(keepends=True)}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m sctir_kaggle.kaggle.notebook` writes the committed notebook; `--wheel` the one that is pushed."""
    parser = argparse.ArgumentParser(prog="python -m sctir_kaggle.kaggle.notebook", description=main.__doc__)
    parser.add_argument("--wheel", action="store_true", help="put the library's wheel in, as `sctir push` does")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default, without --wheel: {COMMITTED.name}")
    args = parser.parse_args(argv)
    if args.wheel and args.output is None:
        parser.error("--wheel needs --output FILE: the committed notebook has none")
    output: Path = args.output or COMMITTED
    with tempfile.TemporaryDirectory() as folder:
        text = build(wheel=build_wheel(Path(folder)) if args.wheel else None)
    output.write_text(text, encoding="utf-8")
    print(f"{output}: {len(text.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
