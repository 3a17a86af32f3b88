"""The system-call filter live: in processes that put themselves under it."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.sandbox import syscalls
from tests.support.seccomp_table import DANGEROUS, NATIVE

PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys, threading
from sctir_kaggle.sandbox.seccomp import Filter
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
WRITABLE = json.loads(sys.argv[1])
Filter(writable=WRITABLE).install(os.getpid())

def error(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]

def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return errno.errorcode.get(ctypes.get_errno())

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
"""
"""The process puts itself under the filter. No snippet forks more than once, and what is forked ends at once."""

live = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NATIVE, reason="there is a filter for 64-bit Linux only"
)
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86_64")


def confined(code: str, folder: Path, *, writable: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the code in an interpreter of its own, under the filter, in the folder."""
    command = [sys.executable, "-c", PRELUDE + code, json.dumps(writable)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=800)


def answer(code: str, folder: Path, *, writable: bool = True) -> Any:
    """What the code prints, as JSON."""
    done = confined(code, folder, writable=writable)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@live
def test_what_the_filter_refuses_fails_with_an_error_that_code_expects(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    code = """
import subprocess, time
pid, parent = os.getpid(), os.getppid()
print(json.dumps({
    "fork": error(fork),
    "exec": error(lambda: os.execv("/bin/true", ["true"])),
    "subprocess": error(lambda: subprocess.run(["/bin/true"])),
    "system": os.system("true") != 0,
    "signal to the parent": error(lambda: os.kill(parent, 0)),
    "signal to init": error(lambda: os.kill(1, 0)),
    "signal to the group": error(lambda: os.kill(0, 0)),
    "signal to its group by id": error(lambda: os.kill(-pid, 0)),
    "signal to all": error(lambda: os.kill(-1, 0)),
    "network": [error(lambda: socket.socket(family, kind)) for family in (socket.AF_INET, socket.AF_INET6,
        socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)],
    "datagram pair": error(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "chmod": error(lambda: os.chmod("file", 0o777)),
    "utime": error(lambda: os.utime("file")),
    "truncate": error(lambda: os.truncate("file", 0)),
    "open to read, and empty": error(lambda: os.open("file", os.O_RDONLY | os.O_TRUNC)),
    "open for neither, and empty": error(lambda: os.open("file", 3 | os.O_TRUNC)),
    "link": error(lambda: os.link("file", "link")),
    "symlink": error(lambda: os.symlink("file", "link")),
    "memfd": error(lambda: os.memfd_create("name")),
    "setuid": error(lambda: os.setuid(os.getuid())),
    "nice": error(lambda: os.nice(1)),
    "setsid": error(os.setsid),
    "affinity": error(lambda: os.sched_setaffinity(0, [0])),
}))
"""
    assert answer(code, tmp_path) == {
        **dict.fromkeys(("fork", "exec", "subprocess", "chmod", "utime", "truncate", "link", "symlink"), "EPERM"),
        **dict.fromkeys(("open to read, and empty", "open for neither, and empty", "memfd"), "EPERM"),
        **dict.fromkeys(("setuid", "nice", "setsid", "affinity"), "EPERM"),
        **dict.fromkeys(("signal to the parent", "signal to init", "signal to the group"), "ESRCH"),
        **dict.fromkeys(("signal to its group by id", "signal to all"), "ESRCH"),
        "network": ["ENETDOWN"] * 10,
        "datagram pair": "ENETDOWN",
        "system": True,
    }
    assert (tmp_path / "file").read_text() == "kept"


@live
def test_raw_calls_get_the_verdict_that_the_simulation_gave(tmp_path: Path) -> None:
    column = list(NATIVE).index(platform.machine())
    numbers = {name: pair[column] for name, pair in DANGEROUS.items() if pair[column] and name not in ("fork", "vfork")}
    code = f"print(json.dumps({{name: call(number, -1, -1, 0, 0, 0) for name, number in {numbers}.items()}}))"
    assert answer(code, tmp_path) == dict.fromkeys(numbers, "EPERM")
    known = syscalls.numbers(platform.machine())
    asked = ("clone", "clone3", "openat2", "prctl", "ioctl", "fcntl", "tgkill", "prlimit64")
    code = f"""
{", ".join(asked)} = {[known[name] for name in asked]}
pid = os.getpid()
inherited = os.open(".", os.O_RDONLY)
print(json.dumps([call(clone, 17), call(clone, 0x3D0F00 | 1 << 32), call(clone3, 0, 0), call(openat2, -100, 0, 0, 0),
    call({syscalls.HIGHEST + 1}), call(prctl, 1, 0), call(prctl, 4, 0), call(ioctl, 0, 0x5412, 0),
    call(fcntl, inherited, 8, pid), call(fcntl, inherited, 10, 9), call(tgkill, os.getppid(), os.getppid(), 0),
    call(tgkill, pid, pid, 0), call(prlimit64, os.getppid(), 7, 0, 0), call(prlimit64, pid, 7, 0, 0)]))
"""
    refused = ["EPERM", "EPERM", "ENOSYS", "ENOSYS", "ENOSYS", "EPERM", "EPERM", "ENOTTY", "EPERM", "EPERM", "ESRCH"]
    assert answer(code, tmp_path) == [*refused, None, "EPERM", None]


@live
def test_a_connected_pair_sends_nowhere_else(tmp_path: Path) -> None:
    """Two names are listened at outside: an abstract one and a file. The filter allows `sendto`; the socket does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract, socket.socket(socket.AF_UNIX) as file:
        abstract.bind(f"\0sctir-test-{os.getpid()}")
        file.bind(str(tmp_path / "socket"))
        abstract.listen()
        file.listen()
        code = f"""
ours, theirs = socket.socketpair()
print(json.dumps([
    error(lambda: ours.sendto(b"x", "\\0sctir-test-{os.getpid()}")), error(lambda: ours.sendto(b"x", "socket")),
    error(lambda: ours.connect("socket")), error(lambda: ours.bind("other")), error(ours.listen),
    error(lambda: ours.sendmsg([b"x"])), ours.send(b"yes"), theirs.recv(9).decode(),
]))
"""
        expected = ["EISCONN", "EISCONN", "ENETDOWN", "ENETDOWN", "ENETDOWN", "EPERM", 3, "yes"]
        assert answer(code, tmp_path) == expected


@live
def test_without_a_file_view_nothing_is_opened_for_writing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    code = """
modes = [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC, 3, os.O_TMPFILE | os.O_RDWR]
print(json.dumps([
    *(error(lambda: os.open("file" if mode != os.O_TMPFILE | os.O_RDWR else ".", mode)) for mode in modes),
    error(lambda: open("new", "w")), error(lambda: os.mkdir("new")), error(lambda: os.rmdir("folder")),
    error(lambda: os.unlink("file")), error(lambda: os.rename("file", "new")), error(lambda: os.truncate("file", 0)),
    error(lambda: os.mknod("new")),
]))
"""
    assert answer(code, tmp_path, writable=False) == ["EROFS"] * 12 + ["EPERM"]
    code = "os.chdir('folder'); print(json.dumps([open('../file').read(), os.listdir('..')]))"
    text, names = answer(code, tmp_path, writable=False)
    assert (text, sorted(names)) == ("kept", ["file", "folder"])


MACHINE_CODE = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex({code!r}))
function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(json.dumps("alive"), flush=True)
print(json.dumps(function()))
"""
GETPID_OF_I386 = "b814000000cd80c3"  # mov eax, 20; int 0x80; ret
GETPID_OF_X32 = "b827000040" + "0f05c3"  # mov eax, 0x40000000 + 39; syscall; ret
GETPID = "b827000000" + "0f05c3"


@live
@on_x86_64
@pytest.mark.parametrize(("code", "ends"), [(GETPID_OF_I386, True), (GETPID_OF_X32, True), (GETPID, False)])
def test_a_call_by_the_numbers_of_another_machine_ends_the_process(tmp_path: Path, code: str, ends: bool) -> None:
    done = confined(MACHINE_CODE.format(code=code), tmp_path)
    assert done.stdout.startswith('"alive"\n')
    assert done.returncode == (-signal.SIGSYS if ends else 0)


@live
def test_the_filter_cannot_be_put_on_without_its_conditions(tmp_path: Path) -> None:
    code = """
import errno, os, sys
from sctir_kaggle.sandbox.seccomp import Filter
os.geteuid() or os.setresuid(65534, 65534, 65534)  # root needs no permission
try:
    Filter(writable=True).install(os.getpid())
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, timeout=800)
    assert done.stdout == "EACCES\n", done.stderr


ORDINARY = {
    "a thread": """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(seen) == list(range(8))""",
    "a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]""",
    "asyncio": """
import asyncio
async def main():
    stream = await asyncio.to_thread(int, "3")
    return stream + sum(await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(5))))
assert asyncio.run(main()) == 13""",
    "a signal to itself": """
import os, signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
os.kill(os.getpid(), 0)
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
assert len(seen) == 3""",
    "an alarm": """
import signal
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
assert seen""",
    "temporary files": """
import tempfile, os, shutil
with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+", dir=folder) as file:
    file.write("text")
    file.flush()
    shutil.copyfile(file.name, folder + "/copy")
    os.replace(folder + "/copy", folder + "/moved")
    os.makedirs(folder + "/a/b")
    assert open(folder + "/moved").read() == "text"
    file.truncate(0)
with tempfile.TemporaryFile() as file:
    file.write(b"x")""",
    "paths": """
import pathlib, glob, os
path = pathlib.Path("a.txt")
path.touch(); path.touch()
path.write_text("x"); path.rename("b.txt")
assert glob.glob("*.txt") == ["b.txt"] and os.path.getsize("b.txt") == 1
pathlib.Path("b.txt").unlink()
assert list(os.walk(".")) and os.getcwd() and pathlib.Path("~").expanduser()""",
    "sqlite": """
import sqlite3
for name in (":memory:", "file.db"):
    base = sqlite3.connect(name)
    base.execute("create table t (x)")
    base.execute("insert into t values (1)")
    base.commit()
    assert base.execute("select x from t").fetchall() == [(1,)]
    base.close()
base = sqlite3.connect("file.db")
base.execute("pragma journal_mode=wal")
base.execute("insert into t values (2)")
base.commit()""",
    "archives": """
import gzip, zipfile, tarfile, lzma, bz2
for module in (gzip, lzma, bz2):
    with module.open("x.z", "wb") as file: file.write(b"text")
    assert module.open("x.z").read() == b"text"
with zipfile.ZipFile("x.zip", "w") as file: file.writestr("inside", "text")
zipfile.ZipFile("x.zip").extractall("out")
assert open("out/inside").read() == 'text'""",
    "mapped files": """
import mmap
with open("mapped", "w+b") as file:
    file.truncate(4096)
    with mmap.mmap(file.fileno(), 4096) as view: view[:2] = b"ok"
    assert file.read(2) == b'ok'""",
    "pickles": "import pickle, copy, random; assert pickle.loads(pickle.dumps(random.Random(1))).random() < 1",
    "time": """
import time, datetime, zoneinfo
time.sleep(0.001); time.process_time(); time.thread_time(); time.localtime(); time.monotonic()
assert datetime.datetime.now(datetime.timezone.utc).year > 2000
try: zoneinfo.ZoneInfo("Europe/Paris")
except zoneinfo.ZoneInfoNotFoundError: pass""",
    "decimals and fractions": "from decimal import Decimal; from fractions import Fraction; assert Decimal(1) / 4 == 0.25",
    "foreign functions": """
import ctypes
back = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda n: n + 1)
assert back(1) == 2 and ctypes.CDLL(None).abs(-3) == 3""",
    "the system": """
import os, platform, resource, sys, locale, uuid, secrets, getpass, shutil, logging, warnings, faulthandler
os.cpu_count(); len(os.sched_getaffinity(0)); platform.uname(); os.getloadavg; uuid.uuid4(); secrets.token_hex()
resource.getrlimit(resource.RLIMIT_AS); resource.getrusage(resource.RUSAGE_SELF); os.times(); os.getpgrp(); os.getsid(0)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); shutil.get_terminal_size(); sys.stdout.isatty(); os.urandom(8)
faulthandler.enable(); logging.getLogger().warning; os.getrandom(4); shutil.disk_usage("."); os.umask(0o22)""",
    "descriptors": """
import os, select, socket, fcntl
reading, writing = os.pipe()
os.set_blocking(reading, False)
os.set_inheritable(reading, True)
os.write(writing, b"x")
assert select.select([reading], [], [], 1)[0]
poll = select.epoll(); poll.register(reading); assert poll.poll(1)
os.close(os.dup(reading)); os.dup2(reading, writing)
with open("locked", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB); os.fsync(file.fileno())
open(os.devnull, "w").write("x"); open("/dev/urandom", "rb").read(1)""",
    "waiting for children": """
import os
try: os.wait()
except ChildProcessError: pass
else: raise AssertionError""",
    "an allocation": "data = bytearray(300 << 20); data[-1] = 1; del data",
    "deep recursion": """
import sys, threading
sys.setrecursionlimit(50_000); threading.stack_size(64 << 20)
def deep(n): return n and 1 + deep(n - 1)
thread = threading.Thread(target=deep, args=(9000,)); thread.start(); thread.join()""",
}
SCIENTIFIC = {
    "numpy": """
import numpy as np
a = np.random.default_rng(0).random((200, 200))
assert np.allclose(np.linalg.inv(a) @ a, np.eye(200)) and np.linalg.svd(a)[1][0] > 1
np.save("a.npy", a); assert np.load("a.npy", mmap_mode="r").shape == (200, 200)
np.memmap("b", dtype=float, mode="w+", shape=(4,))[:] = 1; np.fft.fft(a); np.savetxt("c.txt", a[:2])""",
    "sympy": """
import sympy as sp
x = sp.symbols("x")
assert sp.solve(x**2 - 5 * x + 6, x) == [2, 3] and sp.integrate(x, (x, 0, 2)) == 2 and sp.isprime(97)""",
    "scipy": """
import importlib.util
if importlib.util.find_spec("scipy"):
    from scipy import integrate, optimize
    assert abs(optimize.brentq(lambda x: x * x - 2, 0, 2) ** 2 - 2) < 1e-9
    assert abs(integrate.quad(lambda x: x, 0, 1)[0] - 0.5) < 1e-9""",
    "networkx": """
import importlib.util
if importlib.util.find_spec("networkx"):
    import networkx as nx
    assert nx.shortest_path_length(nx.cycle_graph(6), 0, 3) == 3""",
}
TRY_ALL = """
import traceback
failed = {{}}
for name, code in {snippets!r}.items():
    try:
        exec(code, {{"__name__": "__main__"}})
    except BaseException:
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


@pytest.mark.slow
@live
@pytest.mark.parametrize("snippets", [ORDINARY, SCIENTIFIC], ids=["standard library", "scientific"])
def test_ordinary_code_notices_nothing(tmp_path: Path, snippets: dict[str, str]) -> None:
    if snippets is SCIENTIFIC:
        pytest.importorskip("numpy")
        pytest.importorskip("sympy")
    assert answer(TRY_ALL.format(snippets=snippets), tmp_path) == {}


@live
def test_one_template_serves_many_processes(tmp_path: Path) -> None:
    code = """
import os, signal
from sctir_kaggle.sandbox.seccomp import Filter
import ctypes
shared = Filter(writable=True)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            shared.install(os.getpid())
            os.kill(os.getpid(), 0)
            try:
                os.kill(os.getppid(), 0)
            except ProcessLookupError:
                os._exit(7)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, timeout=800)
    assert done.stdout == "7\n7\n7\n", done.stderr
