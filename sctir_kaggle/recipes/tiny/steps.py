"""Run steps, each a command line that a user could type, in subprocesses; finished steps are skipped."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from sctir_kaggle.recipes.settings import write_json
from sctir_kaggle.types import UserError

QUIET = {"TQDM_DISABLE": "1"}
"""No progress bars in a log."""

ONE_GPU = {"CUDA_VISIBLE_DEVICES": "0"}
"""Unless the environment names others: a model of this size cannot use two."""


class Steps:
    """Runs steps in turn. `steps.json` in `folder` holds the finished ones with their seconds; a lock keeps other runs out."""

    def __init__(self, folder: Path) -> None:
        self._file, self._lock = folder / "steps.json", _locked(folder)
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else "{}"
        self.seconds: dict[str, float] = json.loads(text)

    def run(self, name: str, command: tuple[str, ...]) -> None:
        """Run `python -m command` unless it is done. Raises `UserError` where it fails."""

        def work() -> None:
            shown, environment = shlex.join(["python", "-m", *command]), ONE_GPU | os.environ | QUIET
            print(shown, flush=True)
            # the child keeps the lock: where this process is killed, no second run begins beside it
            ran = subprocess.run(
                [sys.executable, "-m", *command], env=environment, pass_fds=[self._lock.fileno()], check=False
            )
            if ran.returncode:
                raise UserError(f"{name} ended with status {ran.returncode}; run this again, and it goes on there")

        self.do(name, work)

    def do(self, name: str, work: Callable[[], object]) -> None:
        """Do `work` in this process unless it is done."""
        print(f"\n== {name}{': there already' if name in self.seconds else ''}", flush=True)
        if name not in self.seconds:
            started = time.monotonic()
            work()
            self.seconds[name] = time.monotonic() - started
            write_json(self._file, self.seconds)

    def table(self) -> str:
        """Minutes of each step, as Markdown; of a step that was interrupted, those of its last run."""
        rows = [f"| {name} | {seconds / 60:.1f} |" for name, seconds in self.seconds.items()]
        return "\n".join(["| step | minutes |", "|---|---|", *rows, f"| all | {sum(self.seconds.values()) / 60:.1f} |"])


def _locked(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"another run works in {folder}: wait for its end, or take another output") from None
    return file
