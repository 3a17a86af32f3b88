"""The warm interpreter that forks a child for each candidate. A program of its own: the host starts it by exec.

Children are forked without an exec: they share the imported modules copy-on-write and are ready in milliseconds, where a
fresh interpreter imports sympy for half a second. A fork copies the calling thread alone, and a lock that another thread
holds at that moment stays locked in the child for ever. So the zygote has one thread (BLAS included, see `launcher`), and
the host, which has threads, CUDA contexts and secrets in its memory, is never forked itself.

The host sends one byte for each child that it wants, and the zygote reads nothing else. It alone reaps children, and
signals them by pid, so no pid is used after the kernel has freed it; the host has a pidfd of each, and waits for the zygote
neither to kill one nor to learn of its end. The zygote keeps a copy of the child's end of its channel: when the host closes
the other end, the child's process group is killed; when the child has died, its exit code is written there. When the host
is gone, everything ends.

Nothing here takes longer the more children there are, and nothing waits for the disk: `remover` is a process of its own.
"""

from __future__ import annotations

import contextlib
import errno
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
from typing import Any, NamedTuple

from sctir_kaggle.sandbox import cell, kernel, limits, selftest
from sctir_kaggle.sandbox.confinement import Confinement
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.namespaces import enter_namespaces
from sctir_kaggle.sandbox.protocol import ANSWER, CHANNEL, ENDED, ENDED_MARK, RUINED, SWITCHED_OFF, Layer
from sctir_kaggle.sandbox.remover import Remover
from sctir_kaggle.sandbox.warmup import warm_up

SELF_TEST_SECONDS = 20.0

ZYGOTE_FILES = 8192
"""The zygote's limit on its own descriptors: one for each living child, four for each spare."""

DEATHS = 16
"""Dead children that are reaped before a request for another one is looked at."""

_HOST_END_CLOSED = getattr(select, "EPOLLRDHUP", select.POLLHUP)  # both events have one number in epoll and in poll
_IGNORED_BY_PYTHON = (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE))


def main() -> None:
    """Warm up, report the layers of confinement, and serve until the host closes the control socket."""
    options = json.loads(sys.argv[2])
    forget_the_host()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = ZYGOTE_FILES if hard == resource.RLIM_INFINITY else min(hard, ZYGOTE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # A child closes its descriptors up to that limit, and the host may have more: move the socket to the lowest number.
    control = socket.socket(fileno=os.dup(options["control"]))
    os.close(options["control"])
    host = _pidfd(os.getppid())  # before the namespaces: inside one of pids, the host has none
    if "limits" not in options["without"]:
        limits.leave_threads_to_host()  # before the namespaces
    # Before the warm-up, since this may go on in a fork: the process that waits outside then holds no warm memory.
    layer = _namespaces(options["without"])
    remover = Remover(options["folder"])
    if options["warm"]:
        warm_up()
    confinement = Confinement(
        options["folder"], memory_mb=options["memory_mb"], namespaces=layer, without=options["without"]
    )
    pool = ChildPool(control, host, confinement, remover, folder=options["folder"], spares=options["spares"])
    try:
        report = {"layers": confinement.layers, "failures": pool.self_test()}
        control.sendall(json.dumps(report).encode() + b"\n")
        if "limits" not in options["without"]:
            limits.stand_back_as_session()  # after the warm-up, which the host waits for
        pool.serve()
    except (BrokenPipeError, ConnectionResetError):  # the host left before it was needed
        pass
    finally:
        pool.end_all()
        remover.end()
        confinement.remove()
        remove(options["folder"])


def forget_the_host() -> None:
    """Undo what an exec passes on and blocks would notice: arguments, umask, and blocked and ignored signals.

    A host may block or ignore SIGCHLD, say: then no end of a child would be seen here.
    """
    sys.argv[:], sys.orig_argv[:] = [""], [sys.executable]
    os.umask(0o022)
    for number in signal.valid_signals():
        if number not in _IGNORED_BY_PYTHON and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _namespaces(without: list[str]) -> Layer:
    """Enter namespaces, unless switched off, and say what came of it."""
    if "namespaces" in without:
        return Layer("namespaces", False, SWITCHED_OFF)
    try:
        return Layer("namespaces", True, enter_namespaces())
    except OSError as error:
        return Layer("namespaces", False, error.strerror or str(error))


class ChildRecord(NamedTuple):
    """A living child, spare or in use: its number, and a copy of its end of its channel."""

    number: int
    channel: socket.socket


class SpareChild(NamedTuple):
    """A child forked and confined in advance.

    `ends` are the descriptors to hand over: the host's ends of channel and output, and a pidfd if there is one.
    """

    number: int
    pid: int
    ends: tuple[int, ...]


class ChildPool:
    """Fork children, hand them to the host on request, kill and reap them. One thread, one poll loop.

    `host` holds a pidfd of the host, or nothing on kernels without pidfds. `spares` children are kept ready in advance.
    """

    def __init__(
        self,
        control: socket.socket,
        host: list[int],
        confinement: Confinement,
        remover: Remover,
        *,
        folder: str,
        spares: int,
    ) -> None:
        self._control, self._host, self._confinement, self._folder = control, host, confinement, folder
        self._remover = remover
        self._numbers = itertools.count()
        self._children: dict[int, ChildRecord] = {}
        self._pids: dict[int, int] = {}  # by the descriptor of the channel
        # Only without the filter can a child fork, and leave orphans.
        self._orphans = not any(layer.name == "seccomp" and layer.active for layer in confinement.layers)
        self._spares: deque[SpareChild] = deque()
        self._wanted = spares
        self._poll: Any = select.epoll() if hasattr(select, "epoll") else select.poll()
        # The self-pipe trick: a SIGCHLD writes a byte, so that poll sees the death of a child.
        self._wakeup, wakeup = os.pipe()
        self._wake = wakeup
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with contextlib.suppress(OSError):
            kernel.ignore_stops_of_children()
            # Whatever a child forks (possible without seccomp) becomes ours when the child dies: see _kill_orphans.
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)
        # A pidfd becomes readable when its process ends. The socket alone does not tell: a fork of the host may hold it.
        for descriptor in host:
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Hand over, kill and reap children until the host is gone."""
        while True:
            refill = len(self._spares) < self._wanted
            ready = {fd for fd, _ in self._poll.poll(0 if refill else None)}
            if not ready.isdisjoint(self._host) or (self._control.fileno() in ready and not self._hand_over()):
                return
            if not ready and refill:
                self._add_spare()
            for channel in ready & self._pids.keys():
                # Not reaped here: it takes some milliseconds to die, and SIGCHLD will say when.
                _signal(self._pids[channel], signal.SIGKILL)
                self._ignore(channel)
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._reap()

    def self_test(self) -> list[str]:
        """Fork a child that attacks its own confinement; returns what it found wrong, one line each."""
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
            self._kill_and_reap(pid)
            remove(f"{self._folder}/{number}")
        if text.startswith(b"["):
            return list(json.loads(text))
        return [text[4:].decode("utf-8", "replace") or "a child cannot be confined: see its error output"]

    def _test(self) -> None:
        active = [layer.name for layer in self._confinement.layers if layer.active]
        os.write(1, json.dumps(selftest.failures(active)).encode())
        os._exit(0)

    def end_all(self) -> None:
        """Kill every child, and then reap them: most die meanwhile."""
        for pid in self._children:
            _signal(pid, signal.SIGKILL)
        for pid in list(self._children):
            self._kill_and_reap(pid)

    def _hand_over(self) -> bool:
        """Send the host a child, or why none can be forked; False where the host is gone."""
        if not self._control.recv(1):
            return False
        try:
            spare = self._spares.popleft() if self._spares else self._fork()
        except OSError as error:
            self._control.sendall(ANSWER.pack(-(error.errno or errno.EAGAIN)))
            return True
        socket.send_fds(self._control, [ANSWER.pack(spare.number)], spare.ends)
        for end in spare.ends:
            os.close(end)
        return True

    def _add_spare(self) -> None:
        try:
            self._spares.append(self._fork())
        except OSError:  # out of memory, processes or descriptors: from now on, fork on request only
            self._wanted = 0

    def _fork(self) -> SpareChild:
        """Fork a child and confine it. OSError where the machine is out of memory, processes or descriptors."""
        number = next(self._numbers)
        with contextlib.ExitStack() as opened:  # closed where a call fails
            ours, theirs = (opened.enter_context(end) for end in socket.socketpair())
            ends = os.pipe()
            for end in ends:
                opened.callback(os.close, end)
            pid = os.fork()
            if pid == 0:
                self._become_child(number, theirs.fileno(), ends[1], lambda: cell.serve(CHANNEL))
            opened.pop_all()
        os.close(ends[1])
        self._children[pid], self._pids[theirs.fileno()] = ChildRecord(number, theirs), pid
        self._poll.register(theirs, _HOST_END_CLOSED)
        return SpareChild(number, pid, (ours.detach(), ends[0], *_pidfd(pid)))

    def _become_child(self, number: int, channel: int, output: int, body: Callable[[], None]) -> None:
        """In the fork: shed the zygote's state, enter the confinement, run `body`. Never returns."""
        leave, code = os._exit, 1  # bound now: `body` runs model-written code, which may replace it
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.detach()
            self._confinement.enter(number, channel=channel, output=output)
            code = RUINED
            body()
        except Exception as error:
            if code != RUINED:
                _refuse(channel, f"a child cannot be confined: {error!r}")
        finally:
            leave(code)

    def _reap(self) -> None:
        """Reap all dead children, and kill the rest of each one's process group first.

        WNOWAIT only looks: until the wait that follows the pid stays taken, so the group of that id is still the child's.
        """
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            for pid in list(self._children):
                if (ended := os.waitpid(pid, os.WNOHANG))[0]:
                    self._on_exit(*ended)
            return
        for _ in range(DEATHS):
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            self._kill_and_reap(dead.si_pid)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"\0")  # there may be more

    def _kill_and_reap(self, pid: int) -> None:
        """Kill a child, dead or alive, with its process group, and wait for it."""
        _signal(pid, signal.SIGKILL)
        self._on_exit(*os.waitpid(pid, 0))

    def _on_exit(self, pid: int, status: int) -> None:
        """Send the host the exit code of a reaped child, and free what the child had."""
        child = self._children.pop(pid, None)
        if child is None:  # an orphan of a child, the self-test, or the remover
            return
        if self._orphans:
            self._kill_orphans()
        channel = child.channel.fileno()
        self._ignore(channel)
        del self._pids[channel]
        # The host may have closed its end. Do not wait: the child may have filled the socket.
        with contextlib.suppress(OSError):
            exit_code = os.waitstatus_to_exitcode(status)
            child.channel.send(ENDED.pack(ENDED_MARK, exit_code), getattr(socket, "MSG_DONTWAIT", 0))
        child.channel.close()
        self._discard_spare(pid)
        self._remover.remove(child.number)

    def _ignore(self, channel: int) -> None:
        """Look no longer whether the host has closed its end of the channel."""
        with contextlib.suppress(OSError, KeyError):
            self._poll.unregister(channel)

    def _discard_spare(self, pid: int) -> None:
        """Drop a spare child that died before it was used, and keep no more spares: others would die as well."""
        for spare in [spare for spare in self._spares if spare.pid == pid]:
            self._spares.remove(spare)
            self._wanted = 0
            for end in spare.ends:
                os.close(end)

    def _kill_orphans(self) -> None:
        """Kill what the dead child left behind in other sessions, which its process group does not cover.

        As subreaper the zygote is the parent of all orphans; killing one can orphan its children, hence the loop.
        """
        while orphans := _children() - self._children.keys() - {self._remover.pid}:
            for pid in orphans:
                _signal(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _refuse(channel: int, reason: str) -> None:
    """Send the host a frame with a reason instead of the empty one that says "ready"."""
    text = reason.encode("utf-8", "replace")[:1000]
    for descriptor in (channel, CHANNEL):  # where it is before and after `keep_only`
        with contextlib.suppress(OSError):
            os.write(descriptor, struct.pack("!I", len(text)) + text)
            return


def _pidfd(pid: int) -> list[int]:
    """A descriptor that names the process, if the kernel has pidfds (Linux 5.3).

    With it the host stops, continues and kills a child itself. A pid would be of no use there: it is another one in the host's
    pid namespace, and it may be reused before the signal is sent.
    """
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def _signal(pid: int, number: int) -> None:
    """Signal a child and its process group, whichever of them exists."""
    for kill in (os.killpg, os.kill):  # a child killed before its setsid has no group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, number)


def _children() -> set[int]:
    """The pids of this process's children, in this process's own pid namespace."""
    try:
        with open("/proc/thread-self/children") as file:
            return {_pid_here(int(pid)) for pid in file.read().split()}
    except OSError:
        return set()


def _pid_here(pid: int) -> int:
    """The last of a process's pids in nested namespaces; /proc was mounted outside and shows the first."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[-1]) for line in file if line.startswith("NSpid:"))
