"""A server as `validate_command` starts one: `python -m tests.support.served_checkpoint CHECKPOINT PORT [NAME]`.

It answers every completion with the box of 42, serves CHECKPOINT as its model (or NAME), and ends with SIGTERM. The folder must
hold a checkpoint. What it was asked is not kept: a test sees the paths it printed.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tests.support.fake_server import FakeServer, says


def main(checkpoint: str, port: str, name: str | None = None) -> None:
    if not (Path(checkpoint) / "config.json").is_file():
        sys.exit(f"no checkpoint in {checkpoint}")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    answer = says("The answer is $\\boxed{42}$.")
    with FakeServer(otherwise=answer, model=name or "m", root=name or checkpoint, port=int(port), max_model_len=2048):
        print("serves", checkpoint, flush=True)
        ended.wait()
    print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
