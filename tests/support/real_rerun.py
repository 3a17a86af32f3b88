"""A rerun under the competition's own gateway: the notebook in one process, the gateway in another, as at Kaggle.

`python -m tests.support.real_rerun notebook NAME FOLDER ENGINE` serves, with a scripted engine;
`gateway NAME FOLDER PASSES` asks for the problems in FOLDER/problems.csv. Each holds one competition's `kaggle_evaluation`.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import EngineError, Problem
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.push_server import VARIABLE, evaluation_folder
from sctir_kaggle.competition.submission import RERUN, Submission
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.settings import RunConfig
from tests.support.competitions import csv_of, right, run_of

PROJECT = Path(__file__).parents[2]

TIMEOUT = 240.0


def half(prompt: str, candidate: int, turn: int) -> str:
    """Fails every second candidate, the first too, and answers with the others."""
    if candidate % 2 == 0:
        raise EngineError("the model is gone")
    return right(prompt, candidate, turn)


def none(prompt: str, candidate: int, turn: int) -> str:
    """Fails every candidate."""
    raise EngineError("the model is gone")


def first_loads_dead(loads: list[Scripted]) -> Scripted:
    """Two engines that fail, then one that answers: what is loaded in a second pass."""
    return Scripted(none if len(loads) < 2 else right)


ENGINES: Mapping[str, Callable[[list[Scripted]], Scripted]] = {
    "right": lambda loads: Scripted(right),
    "half": lambda loads: Scripted(half),
    "none": lambda loads: Scripted(none),
    "second pass": first_loads_dead,
}
"""What is loaded, by what was loaded before."""


def engine(name: str) -> Callable[[RunConfig, int], Scripted]:
    """A seam for `Submission`."""
    loads: list[Scripted] = []

    def load(run: RunConfig, slots: int) -> Scripted:
        loads.append(ENGINES[name](loads))
        return loads[-1]

    return load


def skip_without(name: str) -> None:
    """Skips the test where the competition's own gateway cannot run here."""
    for library in ("polars", "grpc", "pyarrow", "google.protobuf"):
        try:
            found = find_spec(library)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"the competition's own gateway needs {library}")
    folder = evaluation_folder(PROFILES[name])
    if folder is None or not (folder / f"kaggle_evaluation/aimo_{name[-1]}_gateway.py").is_file():
        pytest.skip(f"opt-in: {VARIABLE} names no folder with the kaggle_evaluation of {name}")


def rerun(name: str, folder: Path, problems: Sequence[Problem], *, engine: str = "right", passes: int = 1) -> Path:
    """The submission; the journal lies beside it. Fails where the gateway ends with an error."""
    csv_of(folder, list(problems))
    path = os.pathsep.join([str(PROJECT), *filter(None, sys.path)])
    bare = {key: value for key, value in os.environ.items() if key != RERUN} | {"PYTHONPATH": path}
    command = [sys.executable, "-m", __name__]
    notebook = subprocess.Popen([*command, "notebook", name, str(folder), engine], env={**bare, RERUN: "1"})
    try:
        asked = [*command, "gateway", name, str(folder), str(passes)]
        subprocess.run(asked, env=bare, cwd=folder, check=True, timeout=TIMEOUT)
    finally:
        notebook.kill()  # as Kaggle does
        notebook.wait()
    return folder / "submission.parquet"


def _notebook(name: str, folder: str, kind: str) -> None:
    profile = replace(PROFILES[name], problems=4)
    Submission(profile, run_of(), folder=Path(folder), load=engine(kind), started=time.monotonic()).run()


def _gateway(name: str, folder: str, passes: str) -> None:
    sys.path.insert(0, str(evaluation_folder(PROFILES[name])))
    importlib.import_module("kaggle_evaluation")
    module: Any = importlib.import_module(f"aimo_{name[-1]}_gateway")
    for _ in range(int(passes)):
        getattr(module, f"AIMO{name[-1]}Gateway")((str(Path(folder) / "problems.csv"),)).run()


if __name__ == "__main__":
    {"notebook": _notebook, "gateway": _gateway}[sys.argv[1]](*sys.argv[2:])
