"""What the README shows is so: its example runs, its files exist, its commands parse."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sctir_kaggle import DIALECTS
from sctir_kaggle.cli import _parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for word, text in fenced if re.fullmatch(kind, word)]


def test_the_example_runs_and_its_answer_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the example needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    [example] = blocks("python")
    command = [sys.executable, "-c", example]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert shown.split()[0] == str(pow(37, 85, 412))


def test_every_file_of_the_tree_is_there() -> None:
    [tree] = [block for block in blocks("") if block.startswith("sctir_kaggle/\n")]
    inside = re.findall(r"^  (\S+)", tree, flags=re.MULTILINE)
    beside = re.findall(r"^(\S+)", tree, flags=re.MULTILINE)
    assert len(inside) > 15
    assert [name for name in inside if not (ROOT / "sctir_kaggle" / name).exists()] == []
    assert [name for name in beside if not (ROOT / name).exists()] == []


def test_every_command_parses() -> None:
    lines = [line for block in blocks("bash[ a-z]*") for line in block.splitlines() if "sctir " in line]
    commands = [shlex.split(line[line.index("sctir ") :], comments=True)[1:] for line in lines]
    assert len(commands) >= 6
    for command in commands:
        assert _parser().parse_args(command).name == command[0]


def test_every_dialect_that_ships_is_in_the_table() -> None:
    rows = [line.partition("|")[2].partition("|")[0] for line in README.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(DIALECTS) - {"chat-server"} <= named
