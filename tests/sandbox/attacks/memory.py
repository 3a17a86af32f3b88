"""Blocks that take memory, threads and descriptors by every route, and that try to raise their own limits.

None of them takes more than three gigabytes, so that one that succeeds is told of and does no harm.
"""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, GOT_IT, MEMORY, OK, TIMEOUT, Attack, refused, system_call

_TOLD = r"MemoryError: the code needed more than \d+ MB and was stopped$"


def _spent(name: str, cls: str, code: str, *, ruins: bool = False) -> Attack:
    """A block that needs more than its budget, and is told so."""
    return Attack(name, cls, "print('before')\n" + code, (MEMORY,), "^before$(.|\n)*" + _TOLD, ruins=ruins)


_HEAP = [
    _spent("a list of a billion", "allocation", "x = [0] * 10**9"),
    _spent("a list that grows", "allocation", "x = []\nwhile True: x.append(bytes(10**7))"),
    _spent("many small objects", "allocation", "x = [str(n) * 100 for n in range(10**7)]"),
    _spent("text that doubles", "allocation", "x = 'a'\nwhile True: x += x"),
    _spent("a huge integer", "allocation", "x = 1 << (8 * 10**9)"),
    _spent("a set", "allocation", "x = set(range(10**8))"),
    _spent("permutations in a list", "allocation", "import itertools\nx = list(itertools.permutations(range(12)))"),
    _spent("a bytearray", "allocation", "x = bytearray(2 << 30)"),
    Attack("errors swallowed", "allocation", """
x = []
while len(x) < 3000:
    try: x.append(bytearray(10**6))
    except BaseException: pass
print('DONE')
""", (MEMORY, TIMEOUT, CRASH), never=("DONE",)),
    Attack("caught, and freed again", "allocation", """
try: x = bytearray(2 << 30)
except MemoryError: print('caught')
print(sum(range(10)))
""", (OK, MEMORY), says="^caught$(.|\n)*^45$"),
    Attack("by the C library", "allocation", """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(ctypes.c_size_t(64 << 20)) for _ in range(40)]
print('refused' if None in blocks else 'DONE')
""", (OK, MEMORY, CRASH), never=("DONE",)),
]  # fmt: skip

_NUMPY = [
    _spent("a huge array", "numpy", "np.ones((40000, 40000))"),
    _spent("an outer product", "numpy", "np.add.outer(np.arange(30000.), np.arange(30000.))"),
    _spent("arrays in a list", "numpy", "x = []\nwhile True: x.append(np.ones(10**7))"),
    _spent("a matrix of booleans for a sieve", "numpy", "np.ones(2 * 10**9, dtype=bool)"),
    Attack("virtual zeros, then touched", "numpy", "x = np.zeros(3 * 2**27)\nx[:] = 1\nprint('DONE')",
           (MEMORY,), says=_TOLD, never=("DONE",)),
]  # fmt: skip

_NO_MORE = r"MemoryError|Cannot allocate|ENOMEM|PermissionError|EFBIG|too large|ENOSPC|Too many"
_ENDS = (OK, ERROR, MEMORY, CRASH)


def _shared(name: str, code: str, *, cls: str = "shared memory") -> Attack:
    """A block that takes pages that a limit on data does not count; it tells its bytes if it got more than budgeted.

    Where the machine is short of pages, to get them takes longer than any limit of time.
    """
    code += f"\nif taken > 900 << 20: print(taken); {GOT_IT}"
    return Attack(name, cls, code, (*_ENDS, TIMEOUT), never=("DONE",), watched=True)


_SHARED = [
    _shared("one shared map", "import mmap\ntaken = len(mmap.mmap(-1, 2 << 30))"),
    _shared("many shared maps", """
import mmap
maps, taken = [], 0
while taken < 2 << 30:
    maps.append(mmap.mmap(-1, 32 << 20))
    maps[-1].write(b'x' * (32 << 20))
    taken += 32 << 20
"""),
    _shared("a mapped file", """
import mmap
taken = 0
with open('pages', 'w+b') as file:
    file.truncate(2 << 30)
    with mmap.mmap(file.fileno(), 2 << 30) as pages:
        while taken < 2 << 30:
            pages[taken] = 1
            taken += 4096
"""),
    _shared("private maps by the C library", """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
taken = 0
for _ in range(64):
    at = libc.mmap(None, ctypes.c_size_t(32 << 20), 3, 0x21, -1, ctypes.c_long(0))
    if at in (None, 2**64 - 1): break
    ctypes.memset(at, 1, 32 << 20)
    taken += 32 << 20
"""),
    refused("multiprocessing's shared memory", "shared memory", """
from multiprocessing import shared_memory
attempt('shm_open', shared_memory.SharedMemory, create=True, size=1 << 20)
attempt('file', open, '/dev/shm/attack-pages', 'wb')
"""),
    system_call("System V shared memory", "shared memory", "call('shmget', 29, 0, 1 << 30, 0o1666)"),
]  # fmt: skip

_MEMFD = [
    refused("os.memfd_create", "memfd pages", "attempt('memfd_create', os.memfd_create, 'pages')"),
    system_call("memfd_create", "memfd pages", "call('memfd_create', 319, b'pages', 0)\ncall('huge', 319, b'p', 4)"),
    system_call("memfd_secret", "memfd pages", "call('memfd_secret', 447, 0)", says="EPERM|EACCES|ENOSYS"),
    _shared("pages in a pipe", """
import fcntl, os
taken = 0
try:
    for _ in range(1000):
        r, w = os.pipe()
        os.set_blocking(w, False)
        taken += fcntl.fcntl(w, 1031, 1 << 20)
        os.write(w, bytes(1 << 20))
except OSError as error: print(error)
""", cls="memfd pages"),
]  # fmt: skip

_THREADS = [
    Attack("a thousand threads", "threads", """
import threading
stop = threading.Event()
started = 0
try:
    for _ in range(1000):
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except (RuntimeError, MemoryError) as error: print(type(error).__name__)
stop.set()
print('refused' if started < 1000 else 'DONE')
""", (OK, MEMORY, CRASH, TIMEOUT), never=("DONE",), alone=True),
    Attack("threads that allocate", "threads", """
import threading
kept = []
def take():
    while len(kept) < 300: kept.append(bytearray(10**7))
threads = [threading.Thread(target=take) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print('DONE' if len(kept) >= 300 else 'refused')
""", (OK, ERROR, MEMORY, CRASH), says="refused|MemoryError|RuntimeError", never=("DONE",),
           then=("print('here')", "here$"), alone=True),
    Attack("giant stacks", "threads", """
import threading
threading.stack_size(1 << 30)
threads = []
stop = threading.Event()
try:
    for _ in range(8):
        threads.append(threading.Thread(target=stop.wait, daemon=True))
        threads[-1].start()
    print('DONE')
except (RuntimeError, MemoryError) as error: print(type(error).__name__)
stop.set()
""", (OK, MEMORY), says="RuntimeError|MemoryError", never=("DONE",), alone=True),
    Attack("threads that start threads", "threads", """
import threading, time
def more():
    while True:
        try: threading.Thread(target=more, daemon=True).start()
        except BaseException: time.sleep(0.01)
more()
""", (TIMEOUT, CRASH, MEMORY), alone=True),
    Attack("a pool of thousands", "threads", """
from concurrent.futures import ThreadPoolExecutor
import time
with ThreadPoolExecutor(5000) as pool: list(pool.map(time.sleep, [5] * 5000))
""", (ERROR, MEMORY, TIMEOUT, CRASH), alone=True),
]  # fmt: skip

_THREADS += [
    Attack("stacks of the least size", "threads", """
import threading
threading.stack_size(32768)
stop = threading.Event()
started = 0
try:
    while started < 300:
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except RuntimeError as error: print(error)
stop.set()
print('DONE' if started > 64 else 'refused')
""", (OK, CRASH), says="refused|more than 64 threads", never=("DONE",), alone=True),
    Attack("by the C library, in a namespace of its own", "threads", """
import ctypes, resource, threading
libc = ctypes.CDLL(None, use_errno=True)
print('DONE' if libc.unshare(0x10000000) == 0 else 'refused')
try: resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY,) * 2)
except (OSError, ValueError): pass
stop, started = threading.Event(), 0
try:
    while started < 300:
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except RuntimeError: pass
stop.set()
print('DONE' if started > 64 else 'refused')
""", (OK, CRASH), says="refused|more than 64 threads", never=("DONE",), alone=True),
]  # fmt: skip

_DESCRIPTORS = [
    Attack(
        name,
        "descriptors",
        f"import os, socket\nkept = []\nwhile len(kept) < 5000: kept.append({code})\nprint('DONE')",
        (ERROR,),
        says="Errno 24",
        never=("\nDONE",),
        ruins=True,
    )
    for name, code in (
        ("files", "open('/dev/null')"),
        ("copies", "os.dup(0)"),
        ("pipes", "os.pipe()"),
        ("socket pairs", "socket.socketpair()"),
    )
]
_DESCRIPTORS.append(
    refused("a descriptor far out", "descriptors", "attempt('dup2', os.dup2, 0, 100_000)", says="EBADF|EINVAL|EMFILE")
)

_RAISED = [
    Attack("limits raised", "raised limit", """
import resource
for name in ('AS', 'CPU', 'NOFILE', 'NPROC', 'FSIZE', 'CORE', 'DATA', 'MEMLOCK'):
    limit = getattr(resource, 'RLIMIT_' + name)
    hard = resource.getrlimit(limit)[1]
    if hard == resource.RLIM_INFINITY: continue
    try:
        resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2)
        print(name, 'DONE')
    except (OSError, ValueError) as error: print(name, 'refused', error)
""", says="AS refused", never=("DONE",)),
    Attack("address space raised, then used", "raised limit", """
import resource
for value in ((-1, -1), (1 << 40, 1 << 40), (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2):
    try: resource.setrlimit(resource.RLIMIT_AS, value)
    except (OSError, ValueError): print('refused')
x = bytearray(1 << 30)
print('DONE')
""", (MEMORY,), says=_TOLD, never=("DONE",)),
    system_call("prlimit on the host", "raised limit", """
unlimited = (ctypes.c_ulong * 2)(2**64 - 1, 2**64 - 1)
call('prlimit', 302, @HOST@, 9, ctypes.byref(unlimited), None)
call('setrlimit', 160, 9, ctypes.byref(unlimited))
call('own', 302, 0, 9, ctypes.byref(unlimited), None)
""", says="own E(PERM|ACCES)"),
    refused("better treatment", "raised limit", """
attempt('oom', open, '/proc/self/oom_score_adj', 'w')
attempt('nice', os.setpriority, os.PRIO_PROCESS, 0, -20)
attempt('a little nicer', os.nice, -1)
attempt('as before', os.setpriority, os.PRIO_PROCESS, 0, 0)
attempt('session', open, '/proc/self/autogroup', 'w')
attempt('session of its own', os.setsid)
attempt('real time', os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
attempt('no batch', os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
"""),
    system_call("out of the host's sight", "raised limit", """
call('not dumpable', 157, 4, 0, 0, 0, 0)
"""),
]  # fmt: skip

ATTACKS = [*_HEAP, *_NUMPY, *_SHARED, *_MEMFD, *_THREADS, *_DESCRIPTORS, *_RAISED]
