"""docs/scoring.md shows commands that parse, and has the place of the viewer's table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from sctir_kaggle.commands import _parser

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")


def test_every_command_parses() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    commands = [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]
    assert len(commands) >= 8
    for command in commands:
        assert _parser().parse_args(command).name == command[0]


def test_the_viewers_benchmark_finds_its_place() -> None:
    assert re.search(r"^<!-- benchmarks\.viewer -->\n\|.*?^<!-- end -->$", TEXT, flags=re.DOTALL | re.MULTILINE)
