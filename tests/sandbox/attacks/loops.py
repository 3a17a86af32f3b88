"""Blocks that never finish, and blocks that fight what would stop them."""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, OK, TIMEOUT, Attack, hang

_PYTHON = [
    hang("while true", "python loop", "while True: pass"),
    hang("a counter", "python loop", "import itertools\nfor n in itertools.count(): x = n * n"),
    hang("a search without a result", "python loop", "n = 1\nwhile n * n != 2: n += 1"),
    hang("an endless generator", "python loop", "def f():\n    while True: yield 1\nlist(x for x in f() if x == 2)"),
    hang("an endless method", "python loop", "class A:\n    def __len__(self):\n        while True: pass\nlen(A())"),
]

_WAITING = [
    hang("sleep", "waiting", "import time\ntime.sleep(10**6)"),
    hang("short sleeps", "waiting", "import time\nwhile True: time.sleep(0.001)"),
    hang("an event that never comes", "waiting", "import threading\nthreading.Event().wait()"),
    hang("a lock taken twice", "waiting", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()"),
    hang("an empty queue", "waiting", "import queue\nqueue.Queue().get()"),
    hang("a pipe that nobody writes", "waiting", "import os\nr, w = os.pipe()\nos.read(r, 1)"),
    hang(
        "asyncio forever",
        "waiting",
        "import asyncio\nasync def f():\n    await asyncio.Event().wait()\nasyncio.run(f())",
    ),
    hang(
        "a thread to wait for", "waiting", "import threading\nthreading.Thread(target=threading.Event().wait).start()"
    ),
]

_C = [
    hang("sum of a range", "C loop", "sum(range(10**12))"),
    hang("a regular expression", "C loop", "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')"),
    hang(
        "a deque that eats", "C loop", "import collections, itertools\ncollections.deque(itertools.count(), maxlen=0)"
    ),
    hang("membership", "C loop", "import itertools\n'x' in itertools.repeat('y')"),
    hang("a factorial", "C loop", "import math\nmath.factorial(5 * 10**6)"),
    hang("a power", "C loop", "x = 7 ** (10**8)"),
    hang("a big number's digits", "C loop", "x = str(7 ** (4 * 10**6))"),
    hang("numpy", "C loop", "a = np.ones((2500, 2500))\nfor _ in range(99): a = a @ a / 2500"),
    hang("pause in the C library", "C loop", "import ctypes\nwhile True: ctypes.PyDLL(None).pause()"),
    hang("sleep under the lock", "C loop", "import ctypes\nctypes.PyDLL(None).sleep(100)"),
]

_SYMPY = [
    hang("factoring a semiprime", "sympy loop", "sp.factorint(sp.nextprime(10**39) * sp.nextprime(3 * 10**39))"),
    hang("a symbolic determinant", "sympy loop", "sp.Matrix(9, 9, sp.symbols('a:81')).det().expand()"),
    hang("counting primes", "sympy loop", "sum(1 for p in sp.primerange(10**12, 10**14) if p % 10 == 4)"),
    hang(
        "a Groebner basis",
        "sympy loop",
        "v = sp.symbols('a:7')\nsp.groebner([sum(v[(i + j) % 7]**j for i in range(7)) - j for j in range(2, 9)], *v)",
    ),
    hang("a prime that is even", "sympy loop", "while not sp.isprime(2 * sp.randprime(10**40, 10**41)): pass"),
]

_SWALLOWED = [
    hang("except BaseException", "swallowed exception", """
while True:
    try:
        while True: pass
    except BaseException: pass
"""),
    hang("bare except around C", "swallowed exception", """
while True:
    try: sum(range(10**7))
    except: continue
"""),
    hang("finally", "swallowed exception", """
try:
    while True: pass
finally:
    while True: pass
"""),
    hang("suppress", "swallowed exception", """
import contextlib
while True:
    with contextlib.suppress(BaseException):
        while True: pass
"""),
    hang("a destructor", "swallowed exception", """
class A:
    def __del__(self):
        for _ in range(10**5): pass
while True: A()
""", says="^before$"),
    hang("a generator that goes on", "swallowed exception", """
def f():
    while True:
        try: yield sum(range(10**6))
        except BaseException: pass
for _ in f(): pass
"""),
    hang("a context manager that says it was nothing", "swallowed exception", """
class A:
    def __enter__(self): return self
    def __exit__(self, *_): return True
while True:
    with A():
        while True: pass
"""),
]  # fmt: skip

_SIGNALS = [
    hang("all signals ignored", "ignored signal", """
import signal
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"""),
    hang("a handler of its own", "ignored signal", """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
while True: pass
"""),
    hang("ignored by the C library", "ignored signal", """
import ctypes
ctypes.CDLL(None).signal(14, ctypes.c_void_p(1))
while True: pass
"""),
    hang("all signals blocked", "blocked signal", """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True: pass
"""),
    hang("blocked while asleep", "blocked signal", """
import signal, time
signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))
time.sleep(100)
"""),
    hang("taken by sigwait", "blocked signal", """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
while True: signal.sigwait([signal.SIGALRM, signal.SIGTERM])
"""),
    hang("blocked by a raw call", "blocked signal", """
import ctypes
ctypes.CDLL(None).sigprocmask(0, b'\\xff' * 128, None)
while True: pass
"""),
]  # fmt: skip

_TIMERS = [
    hang("the timer switched off", "reset timer", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile 1: pass"),
    hang("the timer set far ahead", "reset timer", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 9999)\nwhile 1: pass"),
    hang("alarm(0)", "reset timer", "import signal\nsignal.alarm(0)\nwhile True: pass"),
    hang("the timer set again and again", "reset timer", """
import signal
while True: signal.setitimer(signal.ITIMER_REAL, 100)
"""),
    hang("more CPU time", "reset timer", """
import resource, signal
signal.setitimer(signal.ITIMER_REAL, 0)
try: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except (OSError, ValueError): pass
while True: pass
"""),
    Attack("more CPU time, for sixty threads", "reset timer", """
import hashlib, resource, threading
print('before', flush=True)
try: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
except (OSError, ValueError): pass
block = bytes(1 << 22)
def burn():
    while True: hashlib.sha256(block).digest()
for _ in range(60): threading.Thread(target=burn).start()
""", (TIMEOUT, CRASH, ERROR), says="^before$", alone=True),  # an error where sixty stacks do not fit into its memory
    Attack("a timer that fires all the time", "reset timer", """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
print('before')
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while True: pass
""", (TIMEOUT,), says="^before$"),
]  # fmt: skip

_STOPPED = [
    Attack(
        name,
        "stopped",
        f"import os, signal\nprint('before', flush=True)\n{code}\nwhile True: pass",
        (TIMEOUT, CRASH),
        says="^before$",
    )
    for name, code in (
        ("SIGSTOP", "os.kill(os.getpid(), signal.SIGSTOP)"),
        ("SIGTSTP", "signal.raise_signal(signal.SIGTSTP)"),
        ("SIGTTIN from a thread", "import threading\nthreading.Thread(target=signal.raise_signal, args=[21]).start()"),
        ("SIGSTOP again and again", "while True: os.kill(os.getpid(), signal.SIGSTOP)"),
    )
]

_TRACES = [
    hang("settrace", "hook that hangs", """
import sys
def trace(*_):
    while True: pass
sys.settrace(trace)
(lambda: None)()
"""),
    hang("setprofile", "hook that hangs", """
import sys, time
sys.setprofile(lambda *_: [None for _ in iter(int, 1)])
(lambda: None)()
"""),
    hang("the collector's callback", "hook that hangs", """
import gc
gc.callbacks.append(lambda *_: [None for _ in iter(int, 1)])
while True: gc.collect()
"""),
    hang("an audit hook", "hook that hangs", """
import sys
def hook(*_):
    while True: pass
sys.addaudithook(hook)
open('/dev/null')
"""),
    Attack("a trace that is left set", "hook that hangs", """
import sys
def trace(*_):
    while True: pass
print('set')
sys.settrace(trace)
""", (OK, TIMEOUT), says="^set$", ruins=True),
]  # fmt: skip

ATTACKS = [*_PYTHON, *_WAITING, *_C, *_SYMPY, *_SWALLOWED, *_SIGNALS, *_TIMERS, *_STOPPED, *_TRACES]
