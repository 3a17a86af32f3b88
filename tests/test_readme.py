"""What the README shows is so: its example runs, its files exist, its commands parse."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sctir_kaggle.cli import _parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


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
        assert _parser().parse_args(command).name in ("dry-run", "solve", "replay", "doctor", "push", "wheels")
