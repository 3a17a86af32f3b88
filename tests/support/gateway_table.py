"""The table in docs/gateways.md: the competitions' own gateways beside the stand-ins, a row a scenario.

`python -m tests.support.gateway_table` writes it. The columns of the real ones are made where the environment variable
SCTIR_KAGGLE_EVALUATION names their folders (divided as in PATH); else those in the file stay as they are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version as installed
from pathlib import Path

from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.push_server import evaluation_folder

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "docs" / "gateways.md"
COMPETITIONS = {"0.3.0": "aimo2", "0.9.0": "aimo3"}
COLUMNS = [(version, kind) for version in COMPETITIONS for kind in ("real", "stand-in")]

Cells = dict[str, str]

HEAD = """# The gateways: Kaggle's and the stand-in

AIMO-2 and AIMO-3 ask their problems through `kaggle_evaluation`, which is part of the competition's input folder and has no
licence, so it is not part of this project. `sctir dry-run` and the tests use a stand-in instead
(`sctir_kaggle/competition/gateway.py`). This page compares the two: the same scenarios were played against both, over real
gRPC, by `python -m tests.support.gateway_table`. The columns of the real gateways were made with
{made}.
Public repositories contain copies of both. The copy of 0.9.0 is AIMO-3's gateway with the core of that version taken from
another competition's folder. The functions that run here were retyped from these copies, without those that share files; the
protobuf code of both was generated from the `.proto` of 0.3.0, because none of 0.9.0 was found.

A cell gives the types with which the ids reached `predict` and the contents of the file that was written, or the name of the
error and the call of `predict` at which the run ended; after an error there is no file. Unless stated otherwise, `predict`
returns what this project returns: the id as it came, and an integer.

- *Types of ids.* Both read the CSV with `polars.read_csv`, which infers the type of every column: 1, 2, 3 arrive as numbers,
  `001` has lost its zeros, `424e18` is a float. AIMO-2 compares the returned id with its own, so text in place of a number ends
  the run at the first answer. AIMO-3 writes its own ids into the file.
- *The stand-in is stricter in two rows*: a frame without `answer` and one with a third column pass the real gateways. How such
  a file is scored is not known, so the stand-in refuses it.
- *Long errors.* gRPC carries 8 kB of text. Between 8 and 16 kB, today's gRPC refuses at random; the stand-in always refuses.
- *Not compared*: the order of the problems (both shuffle), the limits of 900 s for the server's start and of 30 minutes
  (AIMO-2) or 9 hours (AIMO-3) for an answer, which were shortened here, and whether Kaggle serves both passes of AIMO-3
  from one process.
"""


def real_cells(version: str) -> tuple[str, Cells] | None:
    """What the competition's own gateway does, and its version; None where its folder is not at hand."""
    folder = evaluation_folder(PROFILES[COMPETITIONS[version]])
    if folder is None or not (folder / f"kaggle_evaluation/aimo_{COMPETITIONS[version][-1]}_gateway.py").is_file():
        return None
    with tempfile.TemporaryDirectory() as out:
        file = Path(out) / "cells.json"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)])}
        command = [sys.executable, "-m", "tests.support.gateway_scenarios", "all", version, str(file)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        if ended.returncode:
            raise RuntimeError(ended.stderr)
        found = json.loads(file.read_text())
    return found["version"], found["cells"]


def committed() -> Mapping[tuple[str, str], Cells]:
    """The table as it stands in the file, by column."""
    rows = list(_rows(FILE.read_text()))
    return {column: {row[0]: row[place] for row in rows} for place, column in enumerate(COLUMNS, 1)}


def made_with() -> str:
    """The versions that the file names."""
    return FILE.read_text().partition("were made with\n")[2].partition(".\n")[0]


def _rows(text: str) -> Iterator[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    yield from ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)


def _table(columns: Mapping[tuple[str, str], Cells], names: list[str]) -> str:
    titles = [f"{PROFILES[COMPETITIONS[version]].name}, {kind}" for version, kind in COLUMNS]
    head = [["What happens", *titles], ["---"] * (len(COLUMNS) + 1)]
    body = [[name, *(columns[column].get(name, "not played") for column in COLUMNS)] for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *body])


def main() -> None:
    """Play everything that can be played here, and write the page."""
    from tests.support.gateway_scenarios import SCENARIOS, outcome

    columns: dict[tuple[str, str], Cells] = dict(committed()) if FILE.exists() else {}
    versions = []
    for version in COMPETITIONS:
        columns[version, "stand-in"] = {name: outcome(name, version, real=False) for name in SCENARIOS}
        if (found := real_cells(version)) is not None:
            versions.append(f"{found[0]} ({COMPETITIONS[version]})")
            columns[version, "real"] = found[1]
    libraries = ", ".join(f"{name} {installed(name)}" for name in ("polars", "grpcio", "pyarrow") if versions)
    made = f"`kaggle_evaluation` {' and '.join(versions)}, {libraries}" if len(versions) == 2 else made_with()
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(f"{HEAD.format(made=made)}\n{_table(columns, list(SCENARIOS))}\n")


if __name__ == "__main__":
    main()
