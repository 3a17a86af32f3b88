"""The pages about commands and settings show what is so: every command parses, every setting that they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sctir_kaggle.commands import _parser
from sctir_kaggle.presets import PRESETS
from sctir_kaggle.settings import resolve, toml_layer

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_every_command_parses(page: str) -> None:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines() if line.startswith("sctir ")]
    assert len(lines) >= 3
    for line in lines:
        command = shlex.split(line, comments=True)[1:]
        assert _parser().parse_args(command).name == command[0]


def test_every_command_has_an_example() -> None:
    shown = {
        line.split()[1] for block in blocks("commands.md", "bash") for line in block.splitlines() if "sctir " in line
    }
    [commands] = [action.choices for action in _parser()._actions if action.choices]
    assert set(commands) <= shown


def test_the_example_of_a_file_can_be_used(tmp_path: Path) -> None:
    [example] = blocks("settings.md", "toml")
    (tmp_path / "run.toml").write_text(example)
    run = resolve([toml_layer(tmp_path / "run.toml")])
    assert (run.solver.candidates, run.clock.budget, run.clock.high) == (16, 4.5 * 3600, 900.0)


def test_every_preset_is_in_the_table() -> None:
    page = (DOCS / "settings.md").read_text()
    assert [name for name in PRESETS if f"`{name}`" not in page] == []
