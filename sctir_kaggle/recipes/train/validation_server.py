"""A server that serves the checkpoint to be validated: started by the user's command, and ended when the problems are solved.

Servers of today cannot exchange all weights of a model by a request of plain HTTP (vLLM's `/v1/load_lora_adapter` loads
adapters only), so that a server is started for each validation. It must name the checkpoint, as `vllm serve` and SGLang do, so
that a score is never that of an older one which still answers.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sctir_kaggle.engines.openai_server import server_at
from sctir_kaggle.types import EngineError, UserError

PLACE = "{checkpoint}"
"""Stands for the checkpoint's folder in the command."""

LAUNCHED = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    }
)
"""Variables by which torchrun, and so accelerate, tells a process its place, beside those named TORCHELASTIC_... and
ACCELERATE_...: a server with several GPUs that inherited them would wait for the training's processes."""

POLL_SECONDS = 0.5

END_SECONDS = 60.0
"""What a server gets to end after SIGTERM, before it is killed."""


def check_server(url: str | None, command: str | None) -> None:
    """Raise `UserError` where the two are not given together, or one cannot be used."""
    if (url is None) != (command is None):
        raise UserError(
            "validate_url and validate_command go together: where the server answers, and how it is started on a "
            f"checkpoint, such as: vllm serve {PLACE} --port 8000"
        )
    if url is None or command is None:
        return
    try:
        server_at(url)
    except EngineError as error:
        raise UserError(f"validate_url: {error}") from None
    words = _words(command)
    if not any(PLACE in word for word in words):
        raise UserError(f"validate_command has no {PLACE}, the folder that is to be served: {command}")
    if shutil.which(words[0]) is None:
        raise UserError(f"validate_command: there is no program {words[0]}; install it, or give its path")


@contextmanager
def serving(checkpoint: Path, url: str, command: str, *, wait: float, log: Path) -> Iterator[str]:
    """Start the command on `checkpoint`, wait until the server names it, and yield the model's name there.

    A command that ends with status 0 has started its server elsewhere, and is left alone; one that runs is the server, and is
    ended with its children. What it prints is appended to `log`. Raises `EngineError` where it fails, or `wait` seconds are
    over.
    """
    words = [word.replace(PLACE, str(checkpoint.absolute())) for word in _words(command)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not _of_launcher(name)},
            start_new_session=True,
        )
    try:
        yield _name_of(checkpoint, url, process, wait=wait, log=log)
    finally:
        _end(process)


def _of_launcher(name: str) -> bool:
    return name in LAUNCHED or name.startswith(("TORCHELASTIC_", "ACCELERATE_"))


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"validate_command cannot be split into words ({error}): {command}") from None
    if not words:
        raise UserError("validate_command is empty")
    return words


def _name_of(checkpoint: Path, url: str, process: subprocess.Popen[bytes], *, wait: float, log: Path) -> str:
    deadline = time.monotonic() + wait
    while True:
        if process.poll():
            raise EngineError(f"validate_command ended with status {process.returncode}; {log} has what it printed")
        names, said = _models(url)
        for name, shown in names:
            if _is(checkpoint, name) or _is(checkpoint, shown):
                return name
        if time.monotonic() > deadline:
            serves = f"serves {', '.join(name for name, _ in names)}" if names else f"does not answer ({said})"
            raise EngineError(f"{url} {serves}, and not {checkpoint}, after {wait:g} s; {log} has what was printed")
        time.sleep(POLL_SECONDS)


def _models(url: str) -> tuple[list[tuple[str, str]], str]:
    """Each model's name and the path it was loaded from, where the server says that (`root`); and why there is none."""
    server, headers = server_at(url), {}
    if server.auth:
        headers["Authorization"] = "Basic " + b64encode(":".join(server.auth).encode()).decode()
    elif key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    try:
        request = urllib.request.Request(server.address("/models"), headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            cards = json.load(answer)["data"]
        return [(str(card["id"]), str(card.get("root") or "")) for card in cards], "it lists no model"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [], str(error)


def _is(checkpoint: Path, name: str) -> bool:
    """Whether `name` ends like the checkpoint's path; before that, another machine may have the folder elsewhere."""
    return Path(name).parts[-2:] == checkpoint.absolute().parts[-2:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a running server with its children."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    with suppress(ProcessLookupError):  # children that it left behind, too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
