"""The gateway's process, from outside: started, waited for, ended. Its errors are raised here as they were there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from types import TracebackType

from sctir_kaggle.competition import gateway
from sctir_kaggle.competition.errors import ERRORS, GatewayFailed


class GatewayProcess:
    """A context manager; at its end the process is gone, whatever it was doing."""

    def __init__(self, session: gateway.Session) -> None:
        self.session = session
        self._process = subprocess.Popen(
            [sys.executable, "-m", gateway.__name__, json.dumps(asdict(session))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Returns when the submission is written. Raises the gateway's `GatewayError` otherwise."""
        out, err = self._process.communicate()
        if self._process.returncode == 0:
            return
        if out.startswith("{"):
            report = json.loads(out)
            raise ERRORS[report["error"]](report["text"])
        last = (err.strip().splitlines() or ["no output"])[-1]
        raise GatewayFailed(f"the gateway ended with status {self._process.returncode}: {last}")

    def close(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
