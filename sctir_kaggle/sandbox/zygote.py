"""The clean, warm, single-threaded interpreter that is forked for every child. A program: the host starts it by exec.

It reads nothing but one byte and three descriptors per child, and it alone signals and reaps children, so a pid is
never used after it was freed. Each child has a lifeline, a socket to the host: when the host closes its end the child's
whole group is killed; when the child dies its exit code is written there. When the host is gone everything ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from sctir_kaggle.sandbox import cell, confinement

MODULES = """
    bisect cmath collections copy dataclasses datetime decimal fractions functools heapq inspect itertools json math
    numbers operator pickle queue random re statistics string textwrap threading time typing uuid
    numpy numpy.linalg numpy.polynomial sympy sympy.core.random sympy.abc sympy.combinatorics sympy.geometry
    sympy.ntheory.modular sympy.solvers.diophantine sympy.solvers.inequalities sympy.stats mpmath
    scipy scipy.optimize scipy.special scipy.integrate networkx
"""
"""Imported before the first fork; what is not installed is left out."""

MADV_COLLAPSE = 25  # include/uapi/asm-generic/mman-common.h
HUGE_PAGE = 2 << 20


def main() -> None:
    """Warm up, say so, and serve until the host closes the control socket."""
    options = json.loads(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    control = socket.socket(fileno=options["control"])
    warm_up()
    nursery = Nursery(control, folder=options["folder"], memory_mb=options["memory_mb"])
    try:
        control.sendall(b"r")
        nursery.serve()
    except BrokenPipeError:  # the host left before it was needed
        pass
    finally:
        nursery.end_all()
        shutil.rmtree(options["folder"], ignore_errors=True)


class Nursery:
    """The living children by pid, each with the zygote's end of its lifeline."""

    def __init__(self, control: socket.socket, *, folder: str, memory_mb: int) -> None:
        self._control, self._folder, self._memory_mb = control, folder, memory_mb
        self._lifelines: dict[int, int] = {}
        self._pid = os.getpid()
        self._poll = select.poll()
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        confinement.prctl(confinement.PR_SET_CHILD_SUBREAPER, 1)  # orphans of a child come here, not to pid 1
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)

    def serve(self) -> None:
        """Fork on request, kill on a closed lifeline, reap on death; returns when the host is gone."""
        while True:
            ready = [fd for fd, _ in self._poll.poll()]
            for pid in [pid for pid, lifeline in self._lifelines.items() if lifeline in ready]:
                self._poll.unregister(self._lifelines[pid])
                _kill(pid)  # it takes some milliseconds to die: the next request need not wait
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._spawn():
                return

    def end_all(self) -> None:
        """Kill and bury every child."""
        for pid in list(self._lifelines):
            self._bury(pid)

    def _spawn(self) -> bool:
        byte, received, _, _ = socket.recv_fds(self._control, 1, 3)
        if not byte:
            return False
        lifeline, channel, output = received
        pid = os.fork()
        if pid == 0:
            self._become_child(channel, output)
        os.close(channel)
        os.close(output)
        self._lifelines[pid] = lifeline
        self._poll.register(lifeline, select.POLLIN)
        return True

    def _become_child(self, channel: int, output: int) -> None:
        leave = os._exit
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.detach()
            folder = f"{self._folder}/{os.getpid()}"
            confinement.confine(
                channel=channel, output=output, folder=folder, memory_mb=self._memory_mb, zygote=self._pid
            )
            cell.serve(confinement.CHANNEL)
        finally:
            leave(1)

    def _reap(self) -> None:
        """Bury every dead process. Its pid stays taken until then, so the rest of its group can be killed safely."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            self._bury(dead.si_pid)

    def _bury(self, pid: int) -> None:
        _kill(pid)
        _, status = os.waitpid(pid, 0)
        lifeline = self._lifelines.pop(pid, None)
        if lifeline is None:  # an orphan
            return
        self._sweep()
        with contextlib.suppress(KeyError):
            self._poll.unregister(lifeline)
        with contextlib.suppress(OSError):  # the host may not listen any more
            os.write(lifeline, struct.pack("!i", os.waitstatus_to_exitcode(status)))
        os.close(lifeline)
        shutil.rmtree(f"{self._folder}/{pid}", ignore_errors=True)

    def _sweep(self) -> None:
        """Kill what the dead child left in other sessions: orphans now have the zygote as their parent."""
        while orphans := _children() - self._lifelines.keys():
            for pid in orphans:
                _kill(pid)
                os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # a child killed before its setsid has no group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _children() -> set[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


def warm_up() -> None:
    """Import, and use, what blocks use, so that no child has to: a first `solve` costs several times the second."""
    gc.disable()
    for name in MODULES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "sympy" in sys.modules:
        for call in _typical_calls():
            with contextlib.suppress(Exception):
                call()
    gc.collect()
    gc.freeze()
    gc.enable()
    _collapse_pages()


def _collapse_pages() -> None:
    """Put the heap into huge pages: there is less to copy at a fork and to free at an exit, which halves both."""
    madvise = ctypes.CDLL(None).madvise
    with contextlib.suppress(OSError), open("/proc/self/maps") as file:
        for fields in map(str.split, file.readlines()):
            if fields[1] == "rw-p" and fields[5:] in ([], ["[heap]"]):
                start, end = (int(address, 16) for address in fields[0].split("-"))
                start, end = -(-start // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
                if start < end:  # refused by Linux before 6.1, and where nothing has been touched
                    madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)


def _typical_calls() -> list[Callable[[], object]]:
    sp: Any = sys.modules["sympy"]
    x, y = sp.symbols("x y")
    n = sp.symbols("n", integer=True, positive=True)
    matrix = sp.Matrix([[2, 1], [1, 3]])
    return [
        lambda: sp.solve(x**3 - 6 * x**2 + 11 * x - 6, x),
        lambda: sp.solve([x + y - 3, x - y - 1], [x, y]),
        lambda: sp.solve([x**2 + y**2 - 25, x * y - 12], [x, y]),
        lambda: sp.solve(sp.sqrt(x + 1) - 2, x),
        lambda: sp.solveset(x**2 - 2, x, sp.S.Reals),
        lambda: sp.simplify((x**2 - 1) / (x - 1) + sp.sin(x) ** 2 + sp.cos(x) ** 2),
        lambda: sp.factor(sp.expand((x + y) ** 4 - 1)),
        lambda: sp.diff(sp.exp(x) * sp.log(x), x),
        lambda: sp.integrate(x * sp.exp(x) + 1 / (1 + x**2), (x, 0, 1)),
        lambda: sp.limit(sp.sin(x) / x, x, 0),
        lambda: sp.series(sp.cos(x), x, 0, 6),
        lambda: sp.summation(1 / n / (n + 1), (n, 1, sp.oo)),
        lambda: (matrix.det(), matrix.inv(), matrix.eigenvals()),
        lambda: (sp.factorint(2**40 - 1), sp.divisors(360), sp.totient(100), sp.isprime(10**9 + 7)),
        lambda: (sp.gcd(12, 18), sp.binomial(10, 3), sp.nextprime(100), list(sp.primerange(100))),
        lambda: sp.nroots(x**5 - x - 1),
        lambda: sp.Poly(x**4 + 1, x).all_roots(),
        lambda: sp.nsimplify(0.25) + sp.Rational(1, 3).evalf(),
        lambda: sp.trigsimp(sp.sin(x) * sp.cos(y) + sp.cos(x) * sp.sin(y)),
        lambda: sp.solve(x**2 - 3 * x + 2 < 0, x),
        lambda: sp.nsolve(sp.cos(x) - x, 1),
        lambda: sp.lambdify(x, x**2)(2),
        lambda: str(sp.sqrt(8) + sp.pi.evalf(30)) + sp.latex(x / y),
    ]
