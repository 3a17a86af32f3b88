"""The host's handle on the zygote: start it in a clean environment, request children, end it.

The zygote is started by exec, not by a fork of the host: a process with threads and an initialised GPU must not be forked,
and its memory holds what code must not read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import site
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sctir_kaggle.sandbox.child import CHUNK, Child, readable
from sctir_kaggle.sandbox.descriptors import check_room, raise_limit, shortage
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.memory import SharedMemory
from sctir_kaggle.sandbox.protocol import ANSWER, CHILD_PLEASE, Layer
from sctir_kaggle.types import ExecutorError

START_SECONDS = 120.0
"""How long the zygote may take to warm up: about two seconds, and far more from a cold disk on a busy machine."""

END_SECONDS = 5.0
"""How long the zygote may take to end its children and itself before it is killed."""

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
    """The zygote's process and the socket to it. `layers` are the layers of confinement that it found active or missing,
    `children` those that were handed over and not closed yet.

    - `memory_mb`: MiB that each child may use beyond the warm imports.
    - `memory`: counts the memory of all children together.
    - `without`: names of layers to switch off.
    - `spares`: children to keep ready, `MOST_SPARES` at most.
    - `warm`: whether to import what blocks use; not needed for a look at the layers.

    Raises `ExecutorError` where Python does not start or a layer fails its self-test.
    """

    def __init__(
        self,
        python: str,
        *,
        memory_mb: int,
        memory: SharedMemory,
        without: Collection[str],
        spares: int,
        warm: bool = True,
    ) -> None:
        self.memory = memory
        raise_limit()
        self._folder = tempfile.mkdtemp(prefix="sctir-")
        os.chmod(self._folder, 0o700)  # whatever the umask is
        self._lock, self._asked = threading.Lock(), False
        self.children: set[Child] = set()
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

    def spawn(self, seconds: float) -> Child:
        """Request a child, and wait `seconds` for it.

        Raises `Shortage` where this process or the zygote is out of something that a child takes, TimeoutError where the
        zygote does not answer yet, and another OSError where it is gone.
        """
        with self._lock:
            check_room()
            if not self._asked:  # after a TimeoutError the answer is still to come
                self._control.sendall(CHILD_PLEASE)
                self._asked = True
            if not readable(self._control, seconds):
                raise TimeoutError("the zygote does not answer")
            data, ends, *_ = socket.recv_fds(self._control, ANSWER.size, 3, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            self._asked = False
        if len(data) < ANSWER.size:
            raise ConnectionResetError("the zygote is gone")
        (number,) = ANSWER.unpack(data)
        if number < 0:
            raise shortage(-number, here=False)
        if len(ends) < 2:  # the kernel leaves out what this process has no room for
            for end in ends:
                os.close(end)
            raise shortage(errno.EMFILE, here=True)
        child = Child(self, f"{self._folder}/{number}", *ends)
        self.children.add(child)
        return child

    def kill(self) -> None:
        """Kill it. Its children die with it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the zygote and its children, and remove their folder."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # unlike close, this works where a fork of the host holds a copy
        self._control.close()
        try:
            self.process.wait(END_SECONDS)
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
