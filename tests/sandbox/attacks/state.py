"""Blocks that read standard input, and blocks that break their interpreter: no other candidate may notice."""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, OK, TIMEOUT, Attack

_INPUT = [
    Attack(name, "standard input", code, statuses, says)
    for name, code, statuses, says in (
        ("input", "x = input('n = ')", (ERROR,), "^EOFError: EOF when reading a line$"),
        ("read", "import sys\nprint(repr(sys.stdin.read()))", (OK,), "^''$"),
        ("lines", "import sys\nprint([line for line in sys.stdin], sys.stdin.readline())", (OK,), r"^\[\]"),
        ("the descriptor", "import os\nprint(os.read(0, 10))", (OK,), "^b''$"),
        ("opened again", "print(repr(open(0, closefd=False).read()))", (OK,), "^''$"),
        ("by its device", "print(repr(open('/dev/stdin').read()))", (OK, ERROR), "^''$|Error"),
        ("the terminal", "open('/dev/tty')", (ERROR,), "Error"),
        ("a password", "import getpass\ngetpass.getpass()", (ERROR, OK), "Error|''"),
        ("the debugger", "print('before')\nbreakpoint()\nprint('after')", (OK, ERROR), "^before$"),
        ("a console", "import code\ncode.interact(banner='')", (OK, ERROR), ""),
        ("int(input())", "n = int(input())\nprint(n)", (ERROR,), "^EOFError"),
        ("in a loop", "while True:\n    try: input()\n    except EOFError: continue", (TIMEOUT,), "TimeoutError"),
        ("wait for it", "import select\nprint(len(select.select([0], [], [], 0.5)[0]))", (OK,), "^[01]$"),
    )
]


def _damage(name: str, code: str, cls: str = "patched builtins", *statuses: str) -> Attack:
    """Damage to the own interpreter. What becomes of this candidate is its own affair, short of lies and delays."""
    allowed = tuple(s for s in (OK, ERROR, CRASH, TIMEOUT) if not statuses or s.value in statuses)
    return Attack(name, cls, code, allowed, ruins=True)


_BUILTINS = [
    _damage("print = None", "import builtins\nbuiltins.print = None"),
    _damage("no imports", "import builtins\nbuiltins.__import__ = None"),
    _damage("everything", "import builtins\nfor name in dir(builtins):\n    setattr(builtins, name, None)"),
    _damage(
        "deleted", "import builtins\nfor name in ('len', 'sum', 'repr', 'compile', 'exec'): delattr(builtins, name)"
    ),
    _damage("sum lies", "import builtins\nbuiltins.sum = lambda *_: 42\nbuiltins.len = lambda _: 7"),
    _damage(
        "exec and compile", "import builtins\nbuiltins.exec = builtins.eval = builtins.compile = lambda *a, **k: 42"
    ),
    _damage(
        "exceptions", "import builtins\nbuiltins.Exception = builtins.BaseException = builtins.SystemExit = int\n1 / 0"
    ),
    _damage("open", "import builtins\nbuiltins.open = builtins.str = builtins.dict = None\nprint(1)"),
    _damage("small integers", "import ctypes\nctypes.memset(id(5) + 24, 6, 1)\nprint(2 + 3)"),
    _damage(
        "a type's method", "import ctypes, gc\nd = gc.get_referents(list.__dict__)[0]\nd['append'] = None\n[].append(1)"
    ),
    _damage("True and None", "import ctypes\nctypes.memset(id(True) + 24, 0, 4)\nprint(int(True))"),
]

_MODULES = [
    _damage(name, code, "patched modules")
    for name, code in (
        ("math.pi", "import math\nmath.pi = 3\nmath.sqrt = lambda x: 1"),
        ("no modules", "import sys\nsys.modules.clear()"),
        ("modules of nothing", "import sys\nfor name in list(sys.modules): sys.modules[name] = None"),
        ("numpy", "np.sqrt = np.array = np.linalg = None\nnp.random.seed = None"),
        ("sympy", "sp.solve = lambda *_: [42]\nsp.core.random.seed = None\nsp.S.Zero = sp.S.One"),
        ("os", "import os\nos.write = os.read = os._exit = os.kill = lambda *_: b''"),
        ("json", "import json\njson.loads = json.dumps = None"),
        ("struct", "import struct\nstruct.pack = struct.unpack = struct.unpack_from = None"),
        ("traceback", ("import traceback, linecache\ntraceback.extract_tb = traceback.format_exception_only = None\n"
         "linecache.cache = None\n1 / 0")),
        ("signal", "import signal\nsignal.signal = signal.setitimer = lambda *_: None\nwhile True: pass"),
        ("threading", "import threading\nthreading.Thread.start = threading.enumerate = None"),
        ("time stands still", "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0"),
        ("__main__", "import sys\ndel sys.modules['__main__']\nglobals().clear()"),
        ("random", "import random\nrandom.random = lambda: 0.5\nrandom.seed = None"),
        ("contextlib and hashlib", "import contextlib, hashlib\ncontextlib.suppress = hashlib.blake2b = None"),
        ("io", "import io\nio.TextIOWrapper = io.BufferedWriter = io.FileIO = None"),
        ("ast", "import ast\nast.parse = ast.Expr = None"),
        ("the driver", ("import sys\nfor name in [n for n in sys.modules if 'sandbox' in n]:\n"
         "    vars(sys.modules[name]).clear()")),
    )
]  # fmt: skip

_STATE = [
    _damage(name, code, "interpreter state")
    for name, code in (
        ("recursion limit", "import sys\nsys.setrecursionlimit(60)"),
        ("collector", "import gc\ngc.disable()\ngc.set_threshold(1)\ngc.freeze()\ngc.set_debug(gc.DEBUG_LEAK)"),
        (
            "tracing",
            "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)\nsys.setswitchinterval(1000)",
        ),
        (
            "environment",
            "import os\nos.environ.clear()\nos.environ['PATH'] = '/nowhere'\nos.putenv('HOME', '/nowhere')",
        ),
        ("folder", "import os\nos.mkdir('deep')\nos.chdir('deep')\nos.rmdir('../deep')"),
        ("precision", "import decimal\ndecimal.getcontext().prec = 3\ndecimal.DefaultContext.prec = 3"),
        ("warnings", "import warnings\nwarnings.simplefilter('error')\nnp.seterr(all='raise')"),
        ("handlers", "import signal\nfor n in (2, 10, 13, 15): signal.signal(n, signal.SIG_IGN)"),
        ("mask", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60))"),
        (
            "hooks",
            "import sys\nsys.excepthook = sys.unraisablehook = sys.displayhook = None\nsys.meta_path.clear()\n1 / 0",
        ),
        ("path", "import sys\nsys.path.clear()\nsys.path_hooks.clear()\nsys.path_importer_cache.clear()"),
        ("seeds", "import random\nrandom.seed(1)\nnp.random.seed(1)\nrandom.setstate(random.getstate())"),
        ("own names", "print = sum = list = str = int = len = None\nexec = eval = __builtins__ = None"),
        ("locale", "import locale\ntry: locale.setlocale(locale.LC_ALL, 'C')\nexcept locale.Error: pass"),
        ("umask", "import os\nos.umask(0)"),
        ("threads' hooks", "import threading\nthreading.settrace(lambda *_: None)\nthreading.excepthook = None"),
        ("many variables", "globals().update({f'v{n}': n for n in range(10**5)})"),
        (
            "import system",
            "import importlib, sys\nsys.meta_path.insert(0, type('F', (), {'find_spec': lambda *_: 1 / 0}))",
        ),
        (
            "limits",
            "import resource\nfor n in (7, 3, 0, 9):\n    try: resource.setrlimit(n, (20, 20))\n    except Exception: pass",
        ),
    )
]

ATTACKS = [
    *_INPUT,
    *_BUILTINS,
    *_MODULES,
    *_STATE,
    Attack(
        "names shadowed as models do",
        "own names",
        "sum = 5\nlist = [1, 2]\nmax = 7\nstr = 'a'",
        then=("max + sum", "^12$"),
    ),
    Attack("print shadowed", "own names", "print = 5\n'quiet'", says="^'quiet'$", then=("print + 1", "^6$")),
    Attack("a variable called os", "own names", "os = sys = json = 5\nos", says="^5$", then=("os + sys", "^10$")),
]
