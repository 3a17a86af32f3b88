"""Folders as Kaggle mounts them, with the embedded model attached, and the notebook run there in a real Jupyter kernel."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import Problem

Layout = Literal["flat", "nested"]

PROBLEMS = read_problems(HELD_OUT)[1:4]

SETTINGS = {"CANDIDATES": "6", "TURNS": "2", "ENGINE": "transformers"}

AIMO = """
from pathlib import Path
from sctir_kaggle.competition.aimo1_mock import Aimo1
from sctir_kaggle.problems import read_problems

problems = read_problems(Path(__file__).parents[1] / "hidden.csv")
make_env = Aimo1(problems, submission=Path("submission.csv")).make_env
"""
"""The competition's module, as far as a rerun sees it."""


@dataclass(frozen=True)
class Kaggle:
    """`input` and `working`, as the notebook finds them."""

    input: Path
    working: Path
    profile: Profile

    @classmethod
    def mounted(cls, folder: Path, profile: Profile, layout: Layout, *, rerun: bool) -> Kaggle:
        """In a rerun the hidden problems lie where only the competition's own module looks."""
        nested = layout == "nested"
        model = (
            folder / "input" / ("models/owner/tiny/transformers/default/1" if nested else "tiny/transformers/default/1")
        )
        competition = folder / "input" / ("competitions" if nested else "") / profile.slug
        shutil.copytree(EMBEDDED_MODEL, model)
        (competition / "aimo").mkdir(parents=True)
        (competition / "aimo" / "__init__.py").write_text(AIMO)
        write_problems(competition / ("hidden.csv" if rerun else "test.csv"), PROBLEMS)
        (folder / "working").mkdir()
        return cls(folder / "input", folder / "working", profile)

    def attach_data_set(self, layout: Layout, *files: Path) -> None:
        """Another one of wheels, as the account's own are."""
        folder = self.input / ("datasets/owner/wheels" if layout == "nested" else "wheels")
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)

    def environment(self, **more: str) -> dict[str, str]:
        """Of the kernel: nothing of this checkout is on its path."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        settings = {**SETTINGS, "COMPETITION": self.profile.name, "KAGGLE_INPUT": str(self.input)}
        settings["KAGGLE_WORKING"] = str(self.working)
        return {**kept, **{f"SCTIR_{name}": value for name, value in settings.items()}, **more}

    def run(self, notebook: str, environment: Mapping[str, str]) -> Ran:
        """The executed notebook; an error in a cell ends it, as at Kaggle. Its folder is the working one in a rerun only."""
        here = self.working if "KAGGLE_IS_COMPETITION_RERUN" in environment else self.working.parent
        return execute(notebook, here, environment)


@dataclass(frozen=True)
class Ran:
    """`error` is how a cell ended the run, empty where all ran."""

    document: Any
    error: str = ""

    @property
    def printed(self) -> str:
        return "".join(output["text"] for output in self._outputs if output["output_type"] == "stream")

    def shown(self, kind: str) -> list[str]:
        """All that is shown of one MIME type, as text or base64."""
        return [str(output["data"][kind]) for output in self._outputs if kind in output.get("data", {})]

    @property
    def _outputs(self) -> list[Any]:
        return [output for cell in self.document.cells for output in cell.get("outputs", ())]


def execute(notebook: str, folder: Path, environment: Mapping[str, str], *, seconds: int = 300) -> Ran:
    """The notebook, run in a kernel that starts in `folder`; an error in a cell ends it. `seconds` are a cell's."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    document = nbformat.reads(notebook, as_version=4)  # type: ignore[no-untyped-call,unused-ignore]
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(document, timeout=seconds, kernel_name="python3", resources=place)
    try:
        client.execute(env=dict(environment))
    except CellExecutionError as error:
        return Ran(document, f"{error.ename}: {error.evalue}")
    return Ran(document)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    import pandas as pd

    pd.DataFrame({"id": [p.id for p in problems], "problem": [p.text for p in problems]}).to_csv(path, index=False)
