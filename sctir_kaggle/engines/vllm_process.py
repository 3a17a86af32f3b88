"""A vLLM engine in a process of its own: its environment at the start, the detection of its death, its end with ours.

vLLM spawns the process itself, with the environment that this process has at that moment. Several engines that start at
once therefore take turns with `os.environ`, each until its process has been spawned.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

NAME = "EngineCore"
"""The name that vLLM 0.11 to 0.32 gives the process, with or without a number behind it."""

# Blocks on a pipe until its other end is closed, which the kernel does when this process dies in any way; then ends the
# engine, by force after nine seconds.
_GUARD = (
    'read -r _; kill -TERM "$0"; for _ in 1 2 3 4 5 6 7 8 9; do kill -0 "$0" || exit; sleep 1; done; kill -KILL "$0"'
)

_TURN = threading.Lock()
_POLL_SECONDS = 0.02

log = logging.getLogger("sctir_kaggle")


@contextmanager
def environment_of_child(variables: Mapping[str, str]) -> Iterator[None]:
    """Set `variables` in `os.environ` until vLLM has spawned a process, which keeps them, or until the block ends.

    One block at a time has its turn; the next waits until that process exists, not until its weights are loaded. If the
    process is not recognised by its name, the next waits for the end of the block: slower, but no engine gets another's
    variables.
    """
    _TURN.acquire()
    before = {name: os.environ.get(name) for name in variables}
    known = {child.pid for child in multiprocessing.active_children()}
    os.environ.update(variables)
    over = threading.Event()

    def end_turn() -> None:
        while not over.wait(_POLL_SECONDS) and not _started_since(known):
            pass
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _TURN.release()

    watcher = threading.Thread(target=end_turn, name="vllm-start", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def tie(engine: Any) -> None:
    """Tie the engine's process to this one: its death raises in `step`, and ours, even by SIGKILL, ends it.

    vLLM's own client notices a killed process, too, but leaves a caller of `step` waiting for ever. Its process does not
    notice our death: without a guard it would keep the GPU's memory.
    """
    client = engine.engine_core
    processes = list(client.resources.engine_manager.processes)
    guards = [_guard(process.pid) for process in processes]

    def wait() -> None:
        connection.wait([process.sentinel for process in processes])
        ended = ", ".join(f"{process.name} {process.pid}" for process in processes)
        client.outputs_queue.put(RuntimeError(f"its process has ended ({ended})"))
        for guard in guards:
            guard.kill()
            guard.communicate()

    threading.Thread(target=wait, name="vllm-watch", daemon=True).start()


def _guard(pid: int) -> subprocess.Popen[bytes]:
    """Start the shell that ends process `pid` when the pipe to this process closes."""
    return subprocess.Popen(
        ("sh", "-c", _GUARD, str(pid)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal must not reach it before us
    )


def _started_since(known: set[int | None]) -> bool:
    children = multiprocessing.active_children()
    return any(child.pid not in known and child.name.startswith(NAME) for child in children)
