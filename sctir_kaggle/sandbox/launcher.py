"""The host's handle on the zygote: start it in a clean environment, request children, end it.

The zygote is started by exec, not by a fork of the host: a process with threads and an initialised GPU must not be forked,
and its memory holds what code must not read.
"""

from __future__ import annotations

import contextlib
import json
import os
import site
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sctir_kaggle.sandbox.child import CHUNK, KILL_SECONDS, Child, readable
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.protocol import CHILD_PLEASE, Layer
from sctir_kaggle.types import ExecutorError

START_SECONDS = 120.0
"""How long the zygote may take to warm up: about two seconds, and far more from a cold disk on a busy machine."""

MOST_SPARES = 8
"""Children kept ready in advance, at most: each takes memory whether it is used or not."""

# Integers of any length print: the limit that Python has since 3.11 would fail correct programs, and output has its own.
_FLAGS = ("-B", "-W", "ignore", "-X", "int_max_str_digits=0")
_BOOT = """
import sys, types
sys.path[:] = filter(None, sys.path)  # import nothing from the working directory
for name, folder in (("sctir_kaggle", ""), ("sctir_kaggle.sandbox", "/sandbox")):
    sys.modules[name] = types.ModuleType(name)  # bare packages: import this folder's modules without the rest
    sys.modules[name].__path__ = [sys.argv[1] + folder]
from sctir_kaggle.sandbox.zygote import main
main()
"""
_PACKAGE = str(Path(__file__).parents[1])
# BLAS libraries start threads when they are imported, and a process with threads cannot be forked safely.
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_HARMLESS = ("PATH", "LD_LIBRARY_PATH")


class Zygote:
    """The zygote's process and the socket to it. `layers` are the layers of confinement that it found active or missing.

    - `memory_mb`: MiB that each child may use beyond the warm imports.
    - `without`: names of layers to switch off.
    - `spares`: children to keep ready, `MOST_SPARES` at most.
    - `warm`: whether to import what blocks use; not needed for a look at the layers.

    Raises `ExecutorError` where Python does not start or a layer fails its self-test.
    """

    def __init__(
        self, python: str, *, memory_mb: int, without: Collection[str], spares: int, warm: bool = True
    ) -> None:
        self._folder = tempfile.mkdtemp(prefix="sctir-")
        self._lock = threading.Lock()
        options = {"folder": self._folder, "memory_mb": memory_mb}
        options |= {"without": list(without), "spares": min(spares, MOST_SPARES), "warm": warm}
        self.process, self._control = self._start(python, options)
        try:
            report = self._report(python)
            self.layers = tuple(Layer(*layer) for layer in report["layers"])
            if report["failures"]:
                raise ExecutorError(f"the sandbox failed its self-test: {'; '.join(report['failures'])}")
        except BaseException:
            self.close()
            raise
        self._control.settimeout(KILL_SECONDS)

    def _start(self, python: str, options: dict[str, object]) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            boot = json.dumps({**options, "control": theirs.fileno()})
            try:
                process = subprocess.Popen(
                    [python, *_FLAGS, "-c", _BOOT, _PACKAGE, boot],
                    env=_environment(self._folder),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                remove(self._folder)
                raise ExecutorError(f"the sandbox's {python} cannot be started: {error.strerror}") from None
        return process, ours

    def _report(self, python: str) -> dict[str, Any]:
        """The line of JSON that the zygote sends once it is warm: `layers`, and `failures` of the self-test."""
        line, until = b"", time.monotonic() + START_SECONDS
        while not line.endswith(b"\n"):
            if (left := until - time.monotonic()) <= 0 or not readable(self._control, left):
                raise ExecutorError(f"the sandbox's {python} did not start within {START_SECONDS:g} s")
            if not (chunk := self._control.recv(CHUNK)):
                raise ExecutorError(f"the sandbox's {python} ended while it started: see its error output")
            line += chunk
        report: dict[str, Any] = json.loads(line)
        return report

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def spawn(self) -> Child:
        """Request a child. OSError where the zygote is gone, BlockingIOError where it cannot fork one now."""
        with self._lock:
            self._control.sendall(CHILD_PLEASE)
            data, ends, *_ = socket.recv_fds(self._control, 8, 4, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        # No data: the zygote is gone. Data without descriptors: it has no child, or this process is out of descriptors.
        if len(data) < 8 or len(ends) < 3:
            for end in ends:
                os.close(end)
            raise BlockingIOError("no child can be forked") if data else ConnectionResetError("the zygote is gone")
        (number,) = struct.unpack("!Q", data)
        return Child(self, f"{self._folder}/{number}", *ends)

    def kill(self) -> None:
        """Kill a zygote that no longer answers. Its children die with it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the zygote and its children, and remove their folder."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # unlike close, this works where a fork of the host holds a copy
        self._control.close()
        try:
            self.process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        remove(self._folder)


def _environment(folder: str) -> dict[str, str]:
    """A clean environment: where programs and libraries are, constant string hashes, no BLAS threads; no secrets."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    single = {f"{library}_NUM_THREADS": "1" for library in _THREADS}
    single["MALLOC_ARENA_MAX"] = "2"  # glibc reserves 64 MiB of address space, which is limited, for each arena
    fixed = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    return {**kept, **single, **fixed, "PYTHONUSERBASE": site.getuserbase()}
