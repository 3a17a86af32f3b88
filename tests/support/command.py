"""The command `sctir` as a process, with a server that answers as many problems as a test wants, and holds the next one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_server import Answer, FakeServer, says

ROOT = Path(__file__).parents[2]

COMMAND = (sys.executable, "-m", "sctir_kaggle")

PATIENCE = 300.0
"""Seconds after which a state that a test waits for counts as never coming."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with this checkout's package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


def problems_csv(path: Path, number: int, *, pad: int = 0) -> Path:
    """Problem K asks for K; `pad` characters make each longer."""
    rows = (f"p{k},What is the number {k}? {'x' * pad},{k}" for k in range(number))
    path.write_text("\n".join(["id,problem,answer", *rows]) + "\n", encoding="utf-8")
    return path


class Counting(FakeServer):
    """Answers each problem of `problems_csv` rightly; from problem `held` on it lets requests wait."""

    def __init__(self, held: int | None = None) -> None:
        super().__init__(otherwise=self._number, model="served")
        self.held = held
        self.asked: set[int] = set()

    def __enter__(self) -> Counting:
        super().__enter__()
        return self

    def _number(self, body: dict[str, Any]) -> Answer:
        [*_, last] = re.finditer(r"What is the number (\d+)", str(body.get("prompt") or body.get("messages")))
        number = int(last[1])
        if self.held is not None and number >= self.held:
            return Answer(end="hang")
        self.asked.add(number)
        return says(f"It is $\\boxed{{{number}}}$.")

    @property
    def options(self) -> list[str]:
        """The options of a run on this server."""
        return ["--engine", "openai", "--base-url", self.url, "--dialect", "numina", "-n", "1"]


def heed_hang_ups() -> None:
    """Undo `nohup` and a shell's `&`, whose ignored SIGHUP and SIGINT a child inherits. For the child, before the command."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process:
    """`sctir` with these arguments. A context manager, which leaves no process behind."""

    def __init__(
        self,
        arguments: Sequence[object],
        folder: Path,
        *,
        python: Sequence[str] = (),
        before: Callable[[], None] | None = None,
        variables: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> None:
        executable, *module = COMMAND
        self._popen = subprocess.Popen(
            [executable, *python, *module, *map(str, arguments)],
            cwd=folder,
            env=environment(**(variables or {})),
            preexec_fn=before or heed_hang_ups,
            start_new_session=True,
            **{"stdout": subprocess.PIPE, "stderr": (folder / "stderr.txt").open("w"), "text": True, **streams},
        )
        self._errors = folder / "stderr.txt"

    @property
    def errors(self) -> str:
        """What standard error has so far, without the lines of `-X importtime`."""
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith("import time:"))

    def imports(self) -> str:
        """What `-X importtime` has said so far."""
        return self._errors.read_text(encoding="utf-8")

    def wait_for(self, state: Callable[[], bool], *, ended: bool = False) -> None:
        """Wait until it holds, with `ended` or until the process has ended. Fails where that never comes."""
        until = time.monotonic() + PATIENCE
        while not state():
            if ended and self._popen.poll() is not None:
                return
            assert self._popen.poll() is None, f"ended with {self._popen.returncode}: {self.errors}"
            assert time.monotonic() < until, f"the state never came: {self.errors}"
            time.sleep(0.01)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal; to the whole group, as a terminal does, with `group`."""
        if self._popen.poll() is not None:
            return
        if group:
            os.killpg(self._popen.pid, number)
        else:
            self._popen.send_signal(number)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        self._popen.communicate(timeout=PATIENCE)
        return self._popen.returncode

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.communicate()


def lines_of(path: Path) -> int:
    """Whole lines of a file; none where it is not there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def no_traceback(errors: str) -> None:
    """What went wrong is one line that begins with the command's name."""
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert [line[:6] for line in errors.splitlines() if line] == ["sctir:"], errors


def needs_httpx() -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")
