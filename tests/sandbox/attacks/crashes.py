"""Blocks that end Python, in the middle or at the end, and blocks that hang where it would end."""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, MEMORY, OK, TIMEOUT, Attack

_ENDED = r"^before$\nError: the code ended Python \({}\)$"


def _death(name: str, cls: str, code: str, cause: str) -> Attack:
    """A block that ends its process; the model is told by what."""
    return Attack(name, cls, "import os, signal\nprint('before')\n" + code, (CRASH,), _ENDED.format(cause))


_RECURSION = [
    Attack(
        "without an end", "recursion", "def f(n): return f(n + 1)\nf(0)", (ERROR,), "^RecursionError: maximum recursion"
    ),
    Attack("mutual", "recursion", "def f(n): return g(n)\ndef g(n): return f(n)\nf(0)", (ERROR,), "^RecursionError"),
    Attack(
        "errors swallowed",
        "recursion",
        "def f():\n    try: f()\n    except RecursionError: f()\nf()",
        (ERROR, TIMEOUT, CRASH),
        "RecursionError|TimeoutError|ended Python",
    ),
    *(
        Attack(
            name,
            "recursion",
            "import sys\nsys.setrecursionlimit(10**9)\nprint('before')\n" + code,
            (ERROR, MEMORY, CRASH, TIMEOUT),
            "^before$(.|\n)*(Error)",
        )
        for name, code in (
            ("without a limit", "def f(n): return f(n + 1)\nf(0)"),
            (
                "in C, without a limit",
                "class A:\n    def __getattr__(self, name): return getattr(self, name + 'x')\nA().a",
            ),
            ("in repr", "class A:\n    def __repr__(self): return repr(self)\nrepr(A())"),
            ("in sorted", "def f(x): return sorted([x], key=f)\nf(1)"),
            ("in sympy", "def f(x): return sp.Lambda(sp.Symbol('x'), f(x))\nf(1)"),
        )
    ),
    Attack(
        "a deep list printed",
        "recursion",
        "x = []\nfor _ in range(10**5): x = [x]\nprint(x)",
        (ERROR, CRASH),
        "RecursionError|ended Python",
    ),
    Attack(
        "a deep list freed",
        "recursion",
        "x = []\nfor _ in range(10**5): x = [x]\ndel x\nprint('freed')",
        says="^freed$",
    ),
    Attack(
        "a deep chain of functions",
        "recursion",
        "import functools\nf = int\nfor _ in range(10**5): f = functools.partial(f)\nprint('built')\ndel f",
        (OK, CRASH),
        "^built$",
    ),
    Attack(
        "deep JSON", "recursion", "import json\njson.loads('[' * 10**5)", (ERROR, CRASH), "RecursionError|ended Python"
    ),
    Attack(
        "a deep pickle",
        "recursion",
        "import pickle\nx = []\nfor _ in range(10**5): x = [x]\npickle.dumps(x)",
        (ERROR, CRASH),
        "RecursionError|ended Python",
    ),
]

_SEGFAULTS = [
    _death("a null pointer", "segfault", "import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    _death("a wild write", "segfault", "import ctypes\nctypes.memset(0xdead0000, 1, 4096)", "SIGSEGV"),
    _death("a wild jump", "segfault", "import ctypes\nctypes.CFUNCTYPE(None)(0x1000)()", "SIG(SEGV|ILL|BUS)"),
    _death("an object overwritten", "segfault", "import ctypes\nx = [1] * 99\nctypes.memset(id(type('A', (), {})), 65, 999)"
           "\nimport gc; gc.collect(); x.clear(); type('B', (), {})()\nctypes.string_at(1)", "SIG(SEGV|ABRT|BUS|ILL)"),
    _death("faulthandler's own", "segfault", "import faulthandler\nfaulthandler._sigsegv()", "SIGSEGV"),
    Attack("with a fault handler", "segfault", """
import ctypes, faulthandler
print('before')
faulthandler.enable()
ctypes.string_at(0)
""", (CRASH, ERROR), "^before$(.|\n)*(SIGSEGV|fileno|Segmentation)"),
    Attack("swallowed by a handler", "segfault", """
import ctypes, signal
print('before')
signal.signal(signal.SIGSEGV, signal.SIG_IGN)
ctypes.string_at(0)
""", (CRASH, TIMEOUT), "^before$"),
]  # fmt: skip

_ABORTS = [
    _death("os.abort", "abort", "os.abort()", "SIGABRT"),
    _death("the C library's", "abort", "import ctypes\nctypes.CDLL(None).abort()", "SIGABRT"),
    Attack("a fatal error", "abort", "print('before')\nimport ctypes\nctypes.pythonapi.Py_FatalError(None)", (CRASH,),
           "^before$(.|\n)*SIGABRT"),
    *(
        _death(name, "abort", f"signal.raise_signal(signal.{name})", f"{name}|SIGIOT")
        for name in ("SIGFPE", "SIGILL", "SIGBUS", "SIGKILL", "SIGTERM", "SIGQUIT", "SIGTRAP", "SIGHUP")
    ),
    _death("SIGKILL by number", "abort", "os.kill(os.getpid(), 9)", "SIGKILL"),
    _death("a signal without a name", "abort", "os.kill(os.getpid(), 40)", ".+"),
    Attack("SIGPIPE", "abort", "import os, signal\nprint('before', flush=True)\nsignal.signal(13, signal.SIG_DFL)\n"
           "r, w = os.pipe(); os.close(r); os.write(w, b'x')", (CRASH, ERROR), "^before$"),
    Attack("SIGINT", "abort", "import signal\nprint('before')\nsignal.raise_signal(signal.SIGINT)", (ERROR, CRASH),
           "^before$(.|\n)*(KeyboardInterrupt|SIGINT)"),
    Attack("a glibc check", "abort", """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
p = libc.malloc(64)
print('before')
libc.free(ctypes.c_void_p(p)); libc.free(ctypes.c_void_p(p)); libc.free(ctypes.c_void_p(8))
""", (CRASH,), "^before$"),
]  # fmt: skip

_EXITS = [
    *(
        _death(f"code {code}", "os._exit", f"os._exit({code})", f"exit code {code % 256}")
        for code in (0, 1, 3, 120, 255, 256)
    ),
    _death("in a thread", "os._exit", "import threading, time\nthreading.Thread(target=lambda: os._exit(7)).start()\n"
           "time.sleep(30)", "exit code 7"),
    _death("the C library's exit", "os._exit", "import ctypes\nctypes.CDLL(None)._exit(4)", "exit code 4"),
    _death("of the group, raw", "os._exit", "import ctypes\nctypes.CDLL(None).syscall(231, 6)", "exit code 6"),
    Attack("with handlers, by the C library", "os._exit", "print('before')\nimport ctypes\nctypes.PyDLL(None).exit(4)",
           (CRASH, TIMEOUT), "^before$"),
    Attack("of one thread, raw", "os._exit", "print('before')\nimport ctypes\nctypes.CDLL(None).syscall(60, 6)",
           (CRASH, TIMEOUT), "^before$"),
]  # fmt: skip

_SYS_EXITS = [
    Attack(
        name,
        "sys.exit",
        "import sys\nprint('before')\n" + code + "\nprint('un' 'reached')",
        (status,),
        says,
        never=("\nunreached",),
    )
    for name, code, status, says in (
        ("nothing", "sys.exit()", OK, "^before$"),
        ("zero", "sys.exit(0)", OK, "^before$"),
        ("None", "raise SystemExit(None)", OK, "^before$"),
        ("a code", "sys.exit(3)", ERROR, "SystemExit: 3$"),
        ("a message", "sys.exit('no solution')", ERROR, "SystemExit: no solution$"),
        ("a huge code", "sys.exit(10**100)", ERROR, "SystemExit: 1000"),
        ("a negative code", "sys.exit(-1)", ERROR, "SystemExit: -1$"),
        ("a tuple", "sys.exit((1, 2))", ERROR, "SystemExit"),
        ("a list", "sys.exit(['a'])", ERROR, "SystemExit"),
        ("exit()", "exit()", OK, "^before$"),
        ("quit()", "quit()", OK, "^before$"),
        ("in an exec", "exec('raise SystemExit')", OK, "^before$"),
        ("a subclass", "class E(SystemExit): pass\nraise E(5)", ERROR, "E: 5$"),
        ("a code whose str raises", "class A:\n    def __str__(self): 1 / 0\nsys.exit(A())", ERROR, "SystemExit"),
    )
]
_SYS_EXITS += [
    Attack("a code that is equal to all", "sys.exit", "class A:\n    __eq__ = lambda *_: True\nraise SystemExit(A())",
           (OK, ERROR)),
    Attack("in another thread", "sys.exit", "import sys, threading\nt = threading.Thread(target=sys.exit, args=['x'])\n"
           "t.start(); t.join()\nprint('after')", says="^after$"),
    Attack("in a destructor", "sys.exit", "import sys\nclass A:\n    def __del__(self): sys.exit(3)\nA()\nprint('after')",
           says="^after$"),
    Attack("interrupt", "sys.exit", "raise KeyboardInterrupt", (ERROR,), "^KeyboardInterrupt"),
    Attack("generator exit", "sys.exit", "raise GeneratorExit", (ERROR,), "^GeneratorExit"),
]  # fmt: skip


def _at_exit(name: str, code: str, *, ruins: bool = False) -> Attack:
    """Something that would hang at the end of Python: the block is done all the same, and its process goes."""
    return Attack(name, "hang at exit", code + "\nprint('done')", says="^done$", ruins=ruins)


_HANGS = [
    _at_exit("atexit", "import atexit, time\natexit.register(time.sleep, 100)"),
    _at_exit("atexit in a loop", "import atexit\n@atexit.register\ndef f():\n    while True:\n        pass"),
    _at_exit("a destructor", "class A:\n    def __del__(self):\n        while True: pass\na = A()"),
    _at_exit("a destructor in a cycle", "class A:\n    def __del__(self):\n        while True: pass\na = A(); a.a = a"),
    _at_exit("a finaliser", "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, lambda: [0 for _ in iter(int, 1)])"),
    _at_exit("a thread's end", "import threading, time\nthreading._register_atexit(time.sleep, 100)"),
    Attack("a destructor now", "hang at exit", "class A:\n    def __del__(self):\n        while True: pass\na = A()\n"
           "print('before')\ndel a", (TIMEOUT, OK), "^before$"),
    Attack("a destructor at sys.exit", "hang at exit", """
import sys
class A:
    def __del__(self):
        while True: pass
def f():
    a = A()
    sys.exit(0)
print('before')
f()
""", (TIMEOUT, OK), "^before$"),
    Attack("atexit, then the C library's exit", "hang at exit", """
import atexit, ctypes, time
atexit.register(time.sleep, 100)
print('before')
ctypes.PyDLL(None).Py_Exit(0)
""", (CRASH, TIMEOUT), "^before$"),
    Attack("in an except clause", "hang at exit", """
print('before')
try: 1 / 0
except ZeroDivisionError:
    while True: pass
""", (TIMEOUT,), "^before$"),
]  # fmt: skip

ATTACKS = [*_RECURSION, *_SEGFAULTS, *_ABORTS, *_EXITS, *_SYS_EXITS, *_HANGS]
