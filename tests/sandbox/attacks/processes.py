"""Blocks that create processes, outlive themselves, or leave threads behind. Only ever run in a jail."""

from __future__ import annotations

from tests.sandbox.attacks.attack import ERROR, OK, TIMEOUT, Attack, refused, system_call

_NEITHER = r"PermissionError|BlockingIOError"


def _bomb(name: str, code: str) -> Attack:
    """A fork bomb. Whichever way it fails, there is nobody left afterwards."""
    return Attack(name, "fork bomb", "import os\n" + code, (ERROR, TIMEOUT), alone=True)


_BOMBS = [
    _bomb("while true: fork", "while True: os.fork()"),
    _bomb("errors swallowed", "while True:\n    try: os.fork()\n    except OSError: pass"),
    _bomb("in threads", """
import threading
def fork():
    while True:
        try: os.fork()
        except OSError: pass
for _ in range(4): threading.Thread(target=fork).start()
"""),
    _bomb("by multiprocessing", """
import multiprocessing
def more():
    while True: multiprocessing.get_context('fork').Process(target=more).start()
more()
"""),
    _bomb("by the C library", """
import ctypes
libc = ctypes.PyDLL(None)
while True: libc.fork()
"""),
    _bomb("by raw calls of every kind", """
import ctypes
libc = ctypes.PyDLL(None)
while True:
    libc.syscall(57)
    libc.syscall(56, 17, 0, 0, 0, 0)
"""),
]  # fmt: skip

_DAEMON = """
def daemon(start):
    try: pid = start()
    except OSError as error: return print(type(error).__name__)
    if pid: return print('DONE')
    try:
        try: os.setsid()
        except OSError: pass
        if os.fork(): os._exit(0)
        import time
        time.sleep(30)
    finally: os._exit(0)
"""

_DAEMONS = [
    Attack("forked twice", "daemon", f"import os\n{_DAEMON}\ndaemon(os.fork)", says=_NEITHER, never=("DONE",), alone=True),
    Attack("by forkpty", "daemon", f"import os\n{_DAEMON}\ndaemon(lambda: os.forkpty()[0])", says="OSError|" + _NEITHER,
           never=("DONE",), alone=True),
    refused("a shell in the background", "daemon", """
import subprocess
attempt('Popen', subprocess.Popen, 'sleep 30 &', shell=True, start_new_session=True)
attempt('nohup', subprocess.Popen, ['nohup', 'sleep', '30'])
""", alone=True),
    refused("multiprocessing's daemon", "daemon", """
import multiprocessing, time
for method in ('fork', 'spawn', 'forkserver'):
    context = multiprocessing.get_context(method)
    attempt(method, lambda: context.Process(target=time.sleep, args=[30], daemon=True).start())
""", alone=True),
    system_call("a clone that keeps nothing", "daemon", """
for flags in (17, 0, 0x4111, 0x00008000 | 17, 0x10000000 | 17, 0x20000000 | 17):
    call('clone', 56, flags, 0, 0, 0, 0)
    if os.getpid() != os.getpid(): os._exit(0)
""", alone=True),
]  # fmt: skip

_SUBPROCESSES = [
    refused("subprocess", "subprocess", """
import subprocess
attempt('run', subprocess.run, ['ls', '/'])
attempt('output', subprocess.check_output, 'id', shell=True)
attempt('python', subprocess.run, [__import__('sys').executable, '-c', 'print(1)'])
"""),
    Attack("os.system", "subprocess", "import os\nprint(os.system('echo DO''NE; exit 7'), os.getpid() > 0)",
           says="^(-1|32512|1?[0-9]+) True", never=("DONE", "1792")),
    refused("posix_spawn", "subprocess", """
attempt('spawn', os.posix_spawn, '/bin/sh', ['sh', '-c', 'sleep 30'], {})
attempt('spawnp', os.posix_spawnp, 'true', ['true'], {})
"""),
    Attack("exec", "subprocess", "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo DO''NE'])", (ERROR,), says="Error",
           never=("DONE\n",)),
    Attack("popen", "subprocess", "import os\nprint(os.popen('echo DO''NE').read())", (ERROR,), says="PermissionError",
           never=("DONE\n",)),
    refused("asyncio", "subprocess", """
import asyncio
async def run(): return await asyncio.create_subprocess_exec('sleep', '30')
attempt('asyncio', lambda: asyncio.run(run()))
"""),
    refused("installing a package", "subprocess", """
import subprocess, sys
attempt('pip', subprocess.check_call, [sys.executable, '-m', 'pip', 'install', 'x'])
"""),
    Attack("a process pool", "subprocess", """
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2) as pool: print(list(pool.map(abs, [-1])))
""", (ERROR,), says=r"PermissionError|OSError|BrokenProcessPool|NotImplementedError", alone=True),
    Attack("a multiprocessing pool", "subprocess", "import multiprocessing\nmultiprocessing.Pool(2).map(abs, [-1])",
           (ERROR, TIMEOUT), says=r"PermissionError|OSError|TimeoutError", alone=True),
    Attack("by the C library", "subprocess", """
import ctypes
libc = ctypes.CDLL(None)
print(libc.system(b'exit 7') >> 8 == 7, libc.popen(b'true', b'r'), libc.execl(b'/bin/true', b'true', None))
""", says="^False 0 -1$", alone=True),
]  # fmt: skip

_RAW = [
    system_call("fork and vfork", "raw process call", "call('fork', 57)\ncall('vfork', 58)", alone=True),
    system_call("clone3", "raw process call", """
arguments = (ctypes.c_ulong * 11)()
arguments[4] = 17
call('clone3', 435, ctypes.byref(arguments), 88)
""", says="EPERM|ENOSYS", alone=True),
    system_call("exec", "raw process call", """
argv = (ctypes.c_char_p * 2)(b'/bin/true', None)
call('execve', 59, b'/bin/true', argv, None)
call('execveat', 322, -100, b'/bin/true', argv, None, 0)
""", alone=True),
]  # fmt: skip

_LEFT = """
import threading, time
print('started')
threading.Thread(target={target}, daemon=True).start()
"""

_THREADS = [
    Attack("a thread that spins", "thread left behind", """
import threading
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
print('started')
""", says="^started$"),
    Attack("a thread in C", "thread left behind", """
import threading
print('started')
threading.Thread(target=lambda: sum(range(10**12)), daemon=True).start()
""", (OK, TIMEOUT, ERROR), says="^started$", ruins=True),
    Attack("a thread that prints later", "thread left behind", """
import threading, time
def late():
    while True:
        time.sleep(0.01)
        print('late', flush=True)
threading.Thread(target=late, daemon=True).start()
print('started')
""", says="^started$", then=("print('later turn')", "later turn")),
    Attack("a thread that ends Python later", "thread left behind", """
import os, threading, time
later = threading.Event()
threading.Thread(target=lambda: (later.wait(), os._exit(3)), daemon=True).start()
print('started')
""", says="^started$", then=("later.set(); time.sleep(0.3); print('survived')", "survived|the code ended Python")),
    Attack("a thread that takes memory later", "thread left behind", """
import threading, time
kept, later = [], threading.Event()
def take():
    later.wait()
    for _ in range(300): kept.append(bytearray(10**7))
threading.Thread(target=take, daemon=True).start()
print('started')
""", says="^started$", then=("later.set(); time.sleep(0.2); print('here')", "here|MemoryError|the code ended")),
    Attack("a thread that is waited for", "thread left behind", """
import threading
def spin():
    while True: pass
threading.Thread(target=spin).start()
print('started')
""", (TIMEOUT,), says="^started$"),
    Attack("a thread that replaces the answer", "thread left behind", """
import sys, threading, time
def swap():
    while True: sys.stdout = None; time.sleep(0.001)
print('started')
threading.Thread(target=swap, daemon=True).start()
""", says="^started$", then=("import os\nos.write(1, b'here')\nNone", "here")),
]  # fmt: skip

ATTACKS = [*_BOMBS, *_DAEMONS, *_SUBPROCESSES, *_RAW, *_THREADS]
