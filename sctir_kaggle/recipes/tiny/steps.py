"""A step is a command that a user could type. It runs in a process of its own, and a step that is done is not done again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sctir_kaggle.types import UserError

QUIET = {"TQDM_DISABLE": "1"}
"""A log has no use for bars that move."""


@dataclass(slots=True)
class Steps:
    """Runs steps in turn, and remembers what each took."""

    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, command: tuple[str, ...], *, made: Path | None = None) -> None:
        """Run `python -m command`, unless the file `made` is there, which it writes last. Raises `UserError` if it fails."""
        shown = shlex.join(["python", "-m", *command])

        def work() -> None:
            print(shown, flush=True)
            if status := subprocess.run(
                [sys.executable, "-m", *command], env=QUIET | os.environ, check=False
            ).returncode:
                raise UserError(f"{name} ended with status {status}; run this again, and it goes on there")

        self.do(name, work, made=made)

    def do(self, name: str, work: Callable[[], object], *, made: Path | None = None) -> None:
        """The same for work in this process."""
        there = made is not None and made.exists()
        print(f"\n== {name}{': there already' if there else ''}", flush=True)
        started = time.monotonic()
        if not there:
            work()
        self.seconds[name] = time.monotonic() - started

    def table(self) -> str:
        """Minutes a step, as Markdown."""
        rows = [f"| {name} | {seconds / 60:.1f} |" for name, seconds in self.seconds.items()]
        return "\n".join(["| step | minutes |", "|---|---|", *rows, f"| all | {sum(self.seconds.values()) / 60:.1f} |"])
