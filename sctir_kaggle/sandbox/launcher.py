"""The host's handle on the zygote: start it clean, ask it for children, end it."""

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
MOST_SPARES = 8
_FLAGS = ("-B", "-W", "ignore", "-X", "int_max_str_digits=0")  # huge integers print: output has a limit of its own
_BOOT = """
import sys, types
sys.path[:] = filter(None, sys.path)  # nothing is imported from where it stands
for name, folder in (("sctir_kaggle", ""), ("sctir_kaggle.sandbox", "/sandbox")):
    sys.modules[name] = types.ModuleType(name)  # the modules of this folder without the rest of the package
    sys.modules[name].__path__ = [sys.argv[1] + folder]
from sctir_kaggle.sandbox.zygote import main
main()
"""
_PACKAGE = str(Path(__file__).parents[1])
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_HARMLESS = ("PATH", "LD_LIBRARY_PATH")


class Zygote:
    """The warm interpreter's process, started by exec in an environment of its own, and the socket to it."""

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
        """The line that it sends once it is warm."""
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
        return self.process.poll() is None

    def spawn(self) -> Child:
        """Ask for a child; OSError where the zygote is gone, BlockingIOError where it has none now."""
        with self._lock:
            self._control.sendall(CHILD_PLEASE)
            data, ends, *_ = socket.recv_fds(self._control, 8, 4, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        if len(data) < 8 or len(ends) < 3:  # the zygote is gone, or has none, or this process has no descriptors left
            for end in ends:
                os.close(end)
            raise BlockingIOError("no child can be forked") if data else ConnectionResetError("the zygote is gone")
        (number,) = struct.unpack("!Q", data)
        return Child(self, f"{self._folder}/{number}", *ends)

    def kill(self) -> None:
        """For a zygote that no longer answers: its children die with it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, its children and its folder."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # reaches it even where a fork of this process holds a copy
        self._control.close()
        try:
            self.process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        remove(self._folder)


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the caller's but where programs and libraries are; constant string hashes; no BLAS threads."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    single = {f"{library}_NUM_THREADS": "1" for library in _THREADS}
    single["MALLOC_ARENA_MAX"] = "2"  # more would take up address space, which is limited, with every thread
    fixed = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    return {**kept, **single, **fixed, "PYTHONUSERBASE": site.getuserbase()}
