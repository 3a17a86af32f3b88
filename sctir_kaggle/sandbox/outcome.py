"""How a block ended, as a status and as the line that tells the model which limit it met."""

from __future__ import annotations

import signal

from sctir_kaggle.sandbox.child import Reply
from sctir_kaggle.sandbox.folder import FILES, TOTAL_MB
from sctir_kaggle.sandbox.limits import THREADS
from sctir_kaggle.sandbox.protocol import RUINED
from sctir_kaggle.types import ExecutionStatus

FLOOD_BYTES = 8 << 20
"""Bytes of output after which a block is killed. Only `output_bytes` are kept; this bounds the work of reading them."""

VARIABLES_GONE = "Note: Python was restarted, earlier variables are gone.\n"
NO_TIME_LEFT = "TimeoutError: no time was left and the code was stopped"
OUTPUT_FLOOD = f"Error: the code printed more than {FLOOD_BYTES >> 20} MB and was stopped"
FOLDER_FULL = f"Error: the code filled its working folder, {FILES} files or {TOTAL_MB} MB at most, and was stopped"
DISK_FULL = "Error: the disk is nearly full, and the code wrote to it and was stopped"
TOO_MANY_THREADS = f"Error: the code started more than {THREADS} threads and was stopped"
BROKEN = "Error: the code broke the Python that it ran in and was stopped"


def outcome(
    reply: Reply, *, cut_short: bool, code_seconds: float, memory_mb: int, total_memory_mb: int
) -> tuple[ExecutionStatus, str]:
    """The status, and the line that tells the model which limit it met ("" where there was none).

    `cut_short`: the deadline came before the limit of a block, `code_seconds`. `memory_mb` and `total_memory_mb` are MiB.
    """
    if reply.status in ("ok", "error"):
        return ExecutionStatus(reply.status), ""
    if reply.status == "memory":
        return ExecutionStatus.MEMORY, f"MemoryError: the code needed more than {memory_mb} MB and was stopped"
    if reply.status == "shared memory":
        total = f"all programs together needed more than {total_memory_mb} MB"
        return ExecutionStatus.MEMORY, f"MemoryError: {total}, and the code, the largest that ran, was stopped"
    if reply.status == "flood":
        return ExecutionStatus.OUTPUT_LIMIT, OUTPUT_FLOOD
    if reply.status == "files":
        return ExecutionStatus.OUTPUT_LIMIT, FOLDER_FULL
    if reply.status == "disk":
        return ExecutionStatus.OUTPUT_LIMIT, DISK_FULL
    if reply.status == "threads":
        return ExecutionStatus.CRASH, TOO_MANY_THREADS
    if reply.status == "broken" or (reply.status == "died" and reply.exit_code == RUINED):
        return ExecutionStatus.CRASH, BROKEN
    if reply.status == "cpu" or reply.exit_code == -signal.SIGXCPU:
        line = f"TimeoutError: the code used more than {code_seconds:g} seconds of CPU time and was stopped"
        return ExecutionStatus.TIMEOUT, line
    if reply.status == "died":
        return ExecutionStatus.CRASH, f"Error: the code ended Python ({_cause(reply.exit_code)})"
    if cut_short:
        return ExecutionStatus.TIMEOUT, NO_TIME_LEFT
    line = f"TimeoutError: the code ran for more than {code_seconds:g} seconds and was stopped"
    return ExecutionStatus.TIMEOUT, line


def joined(*parts: str) -> str:
    """The parts that are not empty, each beginning on a line of its own."""
    text = ""
    for part in filter(None, parts):
        text += part if not text or text.endswith("\n") else "\n" + part
    return text


def _cause(exit_code: int | None) -> str:
    """An exit code in words; a negative one is a signal's number."""
    if exit_code is None:
        return "killed"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    return next((known.name for known in signal.Signals if known == -exit_code), f"signal {-exit_code}")
