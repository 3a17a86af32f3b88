"""Build the Kaggle notebook from its source in percent cells, reproducibly, with or without the library's wheel inside.

Covered: code and markdown cells, metadata of a cell as Kaggle exports it (`# %% [code] {"key": value}`), and the metadata of
the notebook that follows from the competition. Not covered: outputs, which a notebook gets when it runs, and the rest of
Jupytext's format.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import PROFILES, Profile, profile_of
from sctir_kaggle.kaggle.bundle import CHECKOUT, build_wheel, packed
from sctir_kaggle.kaggle.settings_cell import read_cell, with_settings
from sctir_kaggle.types import UserError

JUPYTER: Mapping[str, Any] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}

SOURCE = CHECKOUT / "notebooks" / "submission.py"
COMMITTED = SOURCE.with_suffix(".ipynb")

MARKER = re.compile(r"^WHEEL = \{\}.*$", re.MULTILINE)
"""The line of the source that `build` fills in with a wheel."""

LIMIT = 1_000_000
"""Bytes of a notebook. To a larger one Kaggle answers "The kernel source must be less than 1 megabytes in size"."""

LINE = 960
"""Characters of base64 in a line: each line costs some ten more in the notebook's JSON, so they are long."""

_HEAD = re.compile(r"^# %%(?: \[(?P<kind>markdown|code)\])?(?: (?P<metadata>\{.*\}))?$")

Json = dict[str, Any]


def build(
    source: Path = SOURCE,
    wheel: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    carried: bool = True,
) -> str:
    """Return the notebook as JSON (nbformat 4.5).

    With `wheel` the notebook carries that file; if not `carried`, only its name and hash, and takes the file from an
    attached data set. Without `wheel` it imports the library from the checkout, or as it is installed. `settings` override
    those of the cell. Raises `UserError` if a cell's first line cannot be read, if the line for the wheel or the cell for
    the settings is missing, or if the notebook is too large for Kaggle.
    """
    text = source.read_text(encoding="utf-8")
    if settings:
        text = with_settings(text, settings, source=str(source))
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


def metadata_for(competition: str | None = None) -> dict[str, Any]:
    """Return the notebook's metadata for `competition`, a short name or a slug; without one, for the first profile."""
    profile = profile_of(competition) if competition else next(iter(PROFILES.values()))
    kaggle = {
        "accelerator": profile.machine[:1].lower() + profile.machine[1:],
        "dataSources": _sources(profile),
        "isGpuEnabled": True,
        "isInternetEnabled": False,
        "language": "python",
        "sourceType": "notebook",
    }
    return {**JUPYTER, "kaggle": kaggle}


def _sources(profile: Profile) -> list[dict[str, Any]]:
    return [{"sourceId": profile.source_id, "sourceType": "competition"}] if profile.source_id else []


def payload(wheel: Path, *, carried: bool = True) -> str:
    """Return the line `WHEEL = {...}`: the file's name, its SHA-256 and, if `carried`, its bytes, packed, in base64."""
    content = wheel.read_bytes()
    known = f'"name": "{wheel.name}", "sha256": "{hashlib.sha256(content).hexdigest()}"'
    if not carried:
        return f"WHEEL = {{{known}}}"
    encoded = base64.b64encode(packed(wheel)).decode()
    lines = "\n".join(encoded[start : start + LINE] for start in range(0, len(encoded), LINE))
    return f'WHEEL = {{{known}, "base64": """\n{lines}"""}}'


def _cells(source: Path, text: str) -> list[tuple[str, Json, str]]:
    """Kind, metadata and text of each cell. Lines before the first `# %%` are for readers of the source only."""
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
    """Write the committed notebook; with --wheel, the one that is pushed."""
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
