"""The clean, warm, single-threaded interpreter that is forked for every child. A program: the host starts it by exec.

It reads nothing but a byte for each child that is wanted, and it alone signals and reaps children, so a pid is never
used after it was freed. Some children are forked and confined in advance. Each has a lifeline, a socket to the host: when
the host closes its end the child's whole group is killed; when the child dies its exit code is written there. When the
host is gone everything ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from sctir_kaggle.sandbox import cell, confinement, kernel, selftest
from sctir_kaggle.sandbox.confinement import Confinement
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.protocol import CHANNEL, NO_CHILD, SWITCHED_OFF, Layer
from sctir_kaggle.sandbox.warmup import warm_up

SELF_TEST_SECONDS = 20.0


def main() -> None:
    """Warm up, report the layers, and serve until the host closes the control socket."""
    options = json.loads(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if hard == resource.RLIM_INFINITY else min(hard, 8192), hard))
    control = socket.socket(fileno=os.dup(options["control"]))  # a low number, whatever it was in the host
    os.close(options["control"])
    host = _pidfd(os.getppid())
    layer = _enter_namespaces(options["without"])
    if options["warm"]:
        warm_up()
    confinement = Confinement(
        options["folder"], memory_mb=options["memory_mb"], namespaces=layer, without=options["without"]
    )
    nursery = ChildPool(control, host, confinement, folder=options["folder"], spares=options["spares"])
    try:
        report = {"layers": confinement.layers, "failures": nursery.self_test()}
        control.sendall(json.dumps(report).encode() + b"\n")
        nursery.serve()
    except (BrokenPipeError, ConnectionResetError):  # the host left before it was needed
        pass
    finally:
        nursery.end_all()
        remove(options["folder"])


def _enter_namespaces(without: list[str]) -> Layer:
    if "namespaces" in without:
        return Layer("namespaces", False, SWITCHED_OFF)
    try:
        return Layer("namespaces", True, confinement.enter())
    except OSError as error:
        return Layer("namespaces", False, str(error))


class Child(NamedTuple):
    """A living child: its number, and the zygote's end of its lifeline."""

    number: int
    lifeline: int


class SpareChild(NamedTuple):
    """A child that the host does not have yet: the host's ends of its lifeline, channel and output, and its pidfd."""

    number: int
    pid: int
    ends: tuple[int, ...]


class ChildPool:
    """The living children by pid, and those that wait for the host."""

    def __init__(
        self, control: socket.socket, host: list[int], confinement: Confinement, *, folder: str, spares: int
    ) -> None:
        self._control, self._host, self._confinement, self._folder = control, host, confinement, folder
        self._numbers = itertools.count()
        self._children: dict[int, Child] = {}
        self._spares: deque[SpareChild] = deque()
        self._wanted = spares
        self._poll = select.poll()
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with contextlib.suppress(OSError):
            kernel.ignore_stops_of_children()
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # orphans of a child come here, not to pid 1
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)
        for descriptor in host:  # the control socket alone may live on in a fork of the host
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Hand children over on request, stop, start, kill and reap them; returns when the host is gone."""
        while True:
            refill = len(self._spares) < self._wanted
            ready = {fd for fd, _ in self._poll.poll(0 if refill else None)}
            if not ready and refill:
                self._add_spare()
            for pid in [pid for pid, child in self._children.items() if child.lifeline in ready]:
                self._poll.unregister(self._children[pid].lifeline)
                _signal(pid, signal.SIGKILL)  # it takes some milliseconds to die: the next request need not wait
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._reap()
            if not ready.isdisjoint(self._host) or (self._control.fileno() in ready and not self._hand_over()):
                return

    def self_test(self) -> list[str]:
        """What a child finds wrong with its confinement."""
        number = next(self._numbers)
        answer, output = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become_child(number, output, output, self._test)
        os.close(output)
        try:
            text = b""
            while select.select([answer], [], [], SELF_TEST_SECONDS)[0] and (chunk := os.read(answer, 4096)):
                text += chunk
        finally:
            os.close(answer)
            self._bury(pid)
            remove(f"{self._folder}/{number}")
        return list(json.loads(text)) if text else ["a child cannot be confined: see its error output"]

    def _test(self) -> None:
        active = [layer.name for layer in self._confinement.layers if layer.active]
        os.write(1, json.dumps(selftest.failures(active)).encode())
        os._exit(0)

    def end_all(self) -> None:
        """Kill and bury every child."""
        for pid in list(self._children):
            self._bury(pid)

    def _hand_over(self) -> bool:
        """Give the host a child, or word that there is none; False where the host is gone."""
        if not self._control.recv(1):
            return False
        try:
            newborn = self._spares.popleft() if self._spares else self._fork()
        except OSError:
            self._control.sendall(struct.pack("!Q", NO_CHILD))
            return True
        socket.send_fds(self._control, [struct.pack("!Q", newborn.number)], newborn.ends)
        for end in newborn.ends:
            os.close(end)
        return True

    def _add_spare(self) -> None:
        try:
            self._spares.append(self._fork())
        except OSError:  # no memory, no descriptors: from now on only when asked
            self._wanted = 0

    def _fork(self) -> SpareChild:
        number = next(self._numbers)
        pairs: list[tuple[int, int]] = []
        try:
            pairs += (_pair() for _ in range(2))
            pairs.append(os.pipe())
            pid = os.fork()
        except OSError:
            for end in itertools.chain(*pairs):
                os.close(end)
            raise
        (lifeline, their_lifeline), (channel, their_channel), (their_output, output) = pairs
        if pid == 0:
            self._become_child(number, channel, output, lambda: cell.serve(CHANNEL))
        os.close(channel)
        os.close(output)
        self._children[pid] = Child(number, lifeline)
        self._poll.register(lifeline, select.POLLIN)
        return SpareChild(number, pid, (their_lifeline, their_channel, their_output, *_pidfd(pid)))

    def _become_child(self, number: int, channel: int, output: int, live: Callable[[], None]) -> None:
        leave = os._exit
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.detach()
            self._confinement.enter(number, channel=channel, output=output)
            live()
        except Exception as error:
            os.write(2, f"sandbox: a child cannot be confined: {error!r}\n".encode())
        finally:
            leave(1)

    def _reap(self) -> None:
        """Bury every dead process. Its pid stays taken until then, so the rest of its group can be killed safely."""
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            for pid in list(self._children):
                if (ended := os.waitpid(pid, os.WNOHANG))[0]:
                    self._mourn(*ended)
            return
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            self._bury(dead.si_pid)

    def _bury(self, pid: int) -> None:
        _signal(pid, signal.SIGKILL)
        self._mourn(*os.waitpid(pid, 0))

    def _mourn(self, pid: int, status: int) -> None:
        """Tell the host of a death, and free what the child had."""
        child = self._children.pop(pid, None)
        if child is None:  # an orphan, or the self-test
            return
        self._sweep()
        with contextlib.suppress(KeyError):
            self._poll.unregister(child.lifeline)
        with contextlib.suppress(OSError):  # the host may not listen any more
            os.write(child.lifeline, struct.pack("!i", os.waitstatus_to_exitcode(status)))
        os.close(child.lifeline)
        self._forget_spare(pid)
        remove(f"{self._folder}/{child.number}")

    def _forget_spare(self, pid: int) -> None:
        for spare in [spare for spare in self._spares if spare.pid == pid]:
            self._spares.remove(spare)
            self._wanted = 0  # nobody has used it: another would not live longer
            for end in spare.ends:
                os.close(end)

    def _sweep(self) -> None:
        """Kill what the dead child left in other sessions: orphans now have the zygote as their parent."""
        while orphans := _children() - self._children.keys():
            for pid in orphans:
                _signal(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _pair() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def _pidfd(pid: int) -> list[int]:
    """A descriptor for the process, where the kernel has them: the host may signal it without asking."""
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def _signal(pid: int, number: int) -> None:
    for kill in (os.killpg, os.kill):  # a child killed before its setsid has no group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, number)


def _children() -> set[int]:
    """The pids of this process's children, as this process sees them: /proc may show those of another namespace."""
    try:
        with open("/proc/thread-self/children") as file:
            return {_pid_here(int(pid)) for pid in file.read().split()}
    except OSError:
        return set()


def _pid_here(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[-1]) for line in file if line.startswith("NSpid:"))
