"""A Kaggle notebook from its source in percent cells: the same bytes every time, with or without the library's wheel.

Covered: cells of code and markdown, metadata of a cell as Kaggle exports it (`# %% [code] {"key": value}`), metadata of the
notebook as far as it is known here (`notebook_metadata`). Not covered: outputs, which a notebook gets when it runs, and
whatever else Jupytext knows.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import PROFILES, profile_of
from sctir_kaggle.kaggle.bundle import CHECKOUT, build_wheel
from sctir_kaggle.types import UserError

SOURCE_IDS: Mapping[str, int] = {
    "ai-mathematical-olympiad-prize": 73231,
    "ai-mathematical-olympiad-progress-prize-2": 86023,
    "ai-mathematical-olympiad-progress-prize-3": 118448,
}
"""Kaggle's numbers of the competitions' files, from notebooks that their authors exported and published."""

JUPYTER: Mapping[str, Any] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def metadata_for(competition: str | None = None) -> dict[str, Any]:
    """The metadata of a notebook for `competition`, a short name or a slug; the default one where none is named."""
    profile = profile_of(competition) if competition else next(iter(PROFILES.values()))
    source = SOURCE_IDS.get(profile.slug)
    kaggle = {
        "accelerator": profile.machine[:1].lower() + profile.machine[1:],
        "dataSources": [{"sourceId": source, "sourceType": "competition"}] if source else [],
        "isGpuEnabled": True,
        "isInternetEnabled": False,
        "language": "python",
        "sourceType": "notebook",
    }
    return {**JUPYTER, "kaggle": kaggle}


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


SOURCE = CHECKOUT / "notebooks" / "submission.py"
COMMITTED = SOURCE.with_suffix(".ipynb")

MARKER = re.compile(r"^WHEEL = \{\}.*$", re.MULTILINE)
"""The line of the source that `build` fills where it is given a wheel."""

LIMIT = 1_000_000
"""Bytes of a notebook: Kaggle answers a larger one with "The kernel source must be less than 1 megabytes in size"."""

LINE = 960
"""Characters of base64 in a line: short ones would each cost ten more in the notebook's JSON."""

_HEAD = re.compile(r"^# %%(?: \[(?P<kind>markdown|code)\])?(?: (?P<metadata>\{.*\}))?$")

Json = dict[str, Any]


def build(
    source: Path = SOURCE,
    wheel: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    carried: bool = True,
) -> str:
    """The notebook's text (JSON, nbformat 4.5). With `wheel` it carries that file, without it looks for it installed.

    Not `carried`, it holds the wheel's name and hash alone, and takes the file from an attached data set.

    `settings` are put over those of its cell. Raises `UserError` where a line that starts a cell cannot be read, where the
    place for the wheel or the settings is not there, or where Kaggle would refuse the notebook for its size.
    """
    text = source.read_text(encoding="utf-8")
    if settings:
        text = changed(text, settings, source=str(source))
    if len(MARKER.findall(text)) != 1:
        raise UserError(f"{source} needs one line `WHEEL = {{}}` for the wheel, not {len(MARKER.findall(text))}")
    competition = (read_cell(text, source=str(source)) or {}).get("competition")
    if wheel is not None:
        text = MARKER.sub(lambda _: payload(wheel, carried=carried), text)
    cells = [_cell(number, *cell) for number, cell in enumerate(_cells(source, text), 1)]
    notebook = {"cells": cells, "metadata": metadata_for(competition), "nbformat": 4, "nbformat_minor": 5}
    built = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if len(built.encode()) >= LIMIT:
        size = f"{len(built.encode()):,} bytes, Kaggle takes less than {LIMIT:,}"
        raise UserError(f"the notebook has {size}: leave more out of the wheel (kaggle/bundle.py)")
    return built


def payload(wheel: Path, *, carried: bool = True) -> str:
    """The line `WHEEL = {}`, filled: the file's name, the SHA-256 of its bytes and, where it is `carried`, these in base64."""
    content = wheel.read_bytes()
    known = f'"name": "{wheel.name}", "sha256": "{hashlib.sha256(content).hexdigest()}"'
    if not carried:
        return f"WHEEL = {{{known}}}"
    encoded = base64.b64encode(content).decode()
    lines = "\n".join(encoded[start : start + LINE] for start in range(0, len(encoded), LINE))
    return f'WHEEL = {{{known}, "base64": """\n{lines}"""}}'


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
    parser.add_argument("--attached", action="store_true", help="with --wheel: its hash alone, it lies in a data set")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default, without --wheel: {COMMITTED.name}")
    args = parser.parse_args(argv)
    if args.wheel and args.output is None:
        parser.error("--wheel needs --output FILE: the committed notebook has none")
    output: Path = args.output or COMMITTED
    with tempfile.TemporaryDirectory() as folder:
        text = build(wheel=build_wheel(Path(folder)) if args.wheel else None, carried=not args.attached)
    output.write_text(text, encoding="utf-8")
    print(f"{output}: {len(text.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
