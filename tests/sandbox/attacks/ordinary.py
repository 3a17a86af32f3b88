"""Blocks that hide nothing. They must work beside all the others, with exactly this output."""

from __future__ import annotations

from tests.sandbox.attacks.attack import ERROR, OK, Attack


def _works(name: str, cls: str, code: str, output: str, *needs: str) -> Attack:
    return Attack(name, cls, code.lstrip("\n"), (OK,), exactly=output, needs=needs)


_IMPORTS = [
    _works("the standard library", "lazy import", """
import argparse, array, base64, bz2, calendar, colorsys, configparser, csv, difflib, email, enum, fnmatch, gettext, glob
import gzip, hmac, html, imaplib, lzma, mailbox, optparse, platform, pprint, pstats, secrets, shelve, shlex, smtplib
import sched, statistics, symtable, tarfile, timeit, token, tokenize, unittest, uuid, wave, xml.dom, zipfile
print(calendar.monthrange(2024, 2)[1], base64.b64encode(b'ab').decode(), statistics.median([3, 1, 2]))
""", "29 YWI= 2\n"),
    _works("scipy", "lazy import", """
from scipy import cluster, fft, interpolate, ndimage, signal, sparse, spatial, stats
print(round(float(stats.norm.cdf(1.96)), 4), sparse.eye(3).nnz, round(float(spatial.distance.euclidean([0, 0], [3, 4])), 1))
""", "0.975 3 5.0\n", "scipy"),
    _works("networkx", "lazy import", """
import networkx as nx
from networkx.algorithms import approximation, bipartite, isomorphism
print(nx.shortest_path_length(nx.cycle_graph(10), 0, 5), nx.number_connected_components(nx.empty_graph(4)))
""", "5 4\n", "networkx"),
    _works("sympy", "lazy import", """
from sympy.physics import units
from sympy.crypto.crypto import encipher_shift
from sympy.liealgebras.root_system import RootSystem
from sympy.parsing.sympy_parser import parse_expr
print(encipher_shift('ABC', 1), parse_expr('2*x + x'), units.convert_to(units.km, units.m))
""", "BCD 3*x 1000*meter\n"),
    _works("sympy's parser of LaTeX is told to be missing or works", "lazy import", """
import sympy.parsing.latex as latex
print(hasattr(latex, 'parse_latex'))
""", "True\n"),
    _works("pandas", "lazy import", """
import pandas as pd
print(pd.DataFrame({'a': [1, 2], 'b': [3, 4]}).sum().to_dict())
""", "{'a': 3, 'b': 7}\n", "pandas"),
    Attack("what is not installed", "lazy import", "import no_such_module_at_all", (ERROR,),
           says="ModuleNotFoundError: No module named 'no_such_module_at_all'$"),
]  # fmt: skip

_CONCURRENT = [
    _works("threads", "threads", """
import threading
done = []
threads = [threading.Thread(target=done.append, args=[n]) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(done))
""", "[0, 1, 2, 3, 4, 5, 6, 7]\n"),
    _works("a pool of threads", "threads", """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: print(list(pool.map(lambda n: n * n, range(5))))
""", "[0, 1, 4, 9, 16]\n"),
    Attack("multiprocessing's pool of threads", "threads", """
from multiprocessing.pool import ThreadPool
with ThreadPool(3) as pool: print(pool.map(abs, [-1, 2, -3]))
""", (OK, ERROR), says=r"^\[1, 2, 3\]$|^(PermissionError|OSError)"),  # its semaphores are files in /dev/shm
    _works("a pool that is never shut down", "threads", """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
print(list(pool.map(abs, [-1, 2])))
""", "[1, 2]\n"),
    _works("timers and queues", "threads", """
import queue, threading
q = queue.Queue()
threading.Timer(0.05, q.put, ['tick']).start()
print(q.get(timeout=30))
""", "tick\n"),
    _works("a time limit of the block's own", "threads", """
from concurrent.futures import ThreadPoolExecutor, TimeoutError
import time
with ThreadPoolExecutor(1) as pool:
    try: pool.submit(time.sleep, 2).result(timeout=0.05)
    except TimeoutError: print('too slow')
""", "too slow\n"),
    _works("asyncio", "asyncio", """
import asyncio
async def f(n):
    await asyncio.sleep(0.01)
    return n * n
async def main(): return await asyncio.gather(*(f(n) for n in range(5)))
print(asyncio.run(main()))
""", "[0, 1, 4, 9, 16]\n"),
    _works("asyncio twice", "asyncio", """
import asyncio
async def main():
    queue = asyncio.Queue()
    asyncio.get_running_loop().call_later(0.01, queue.put_nowait, 5)
    return await asyncio.wait_for(queue.get(), 30)
print(asyncio.run(main()), asyncio.run(main()))
""", "5 5\n"),
    _works("asyncio and threads", "asyncio", """
import asyncio, time
async def main(): return await asyncio.to_thread(lambda: (time.sleep(0.01), 7)[1])
print(asyncio.new_event_loop().run_until_complete(main()))
""", "7\n"),
]  # fmt: skip

_DEEP = [
    _works("ten thousand frames", "deep recursion", """
import sys
sys.setrecursionlimit(20_000)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(15_000))
""", "15000\n"),
    _works("with a cache", "deep recursion", """
import sys
from functools import lru_cache
sys.setrecursionlimit(10**6)
@lru_cache(None)
def f(n): return n if n < 2 else (f(n - 1) + f(n - 2)) % 1000007
print(f(2000))
""", "457938\n"),
    _works("in a thread with a larger stack", "deep recursion", """
import sys, threading
sys.setrecursionlimit(10**5)
threading.stack_size(64 << 20)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
t = threading.Thread(target=lambda: print(f(30_000)))
t.start(); t.join()
""", "30000\n"),
    _works("caught", "deep recursion", """
def f(n): return f(n + 1)
try: f(0)
except RecursionError: print('too deep')
""", "too deep\n"),
]  # fmt: skip

_LARGE = [
    _works("an array of 300 MB", "large", "a = np.ones(300 * 2**17)\nprint(int(a.sum()))", "39321600\n"),
    _works("a sieve of ten million", "large", """
n = 10**7
sieve = np.ones(n, dtype=bool)
sieve[:2] = False
for p in range(2, int(n**0.5) + 1):
    if sieve[p]: sieve[p * p::p] = False
print(int(sieve.sum()))
""", "664579\n"),
    _works("large numbers printed", "large", "print(len(str(10**5000)), str(3**20000)[:5], int('9' * 6000) % 7)",
           "5001 26613 0\n"),
    _works("numbers with many digits", "large", """
from mpmath import mp
mp.dps = 60
print(mp.pi)
""", "3.14159265358979323846264338327950288419716939937510582097494\n"),
]  # fmt: skip

_ENDINGS = [
    _works("exit()", "exit", "print('out')\nexit()\nprint('un' 'reached')", "out\n"),
    _works("sys.exit(0) in main", "exit", """
import sys
def main():
    print('out')
    sys.exit(0)
if __name__ == '__main__': main()
""", "out\n"),
    _works("quit in a loop", "exit", "for n in range(10):\n    print(n)\n    if n == 1: quit()", "0\n1\n"),
    _works("an exit that is caught", "exit", "try: exit(3)\nexcept SystemExit as error: print(error.code)", "3\n"),
    Attack("a warning", "warnings", "import warnings\nwarnings.warn('beware')\nprint('after')", says="^after$"),
    _works("warnings caught", "warnings", """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    warnings.warn('beware')
print(caught[0].message)
""", "beware\n"),
    _works("warnings off", "warnings", "import warnings\nwarnings.filterwarnings('ignore')\nprint(np.array([1.0]) / 0)",
           "[inf]\n"),
]  # fmt: skip

_PICKLES = [
    _works("a data class", "pickling", """
import pickle
from dataclasses import dataclass
@dataclass
class Point:
    x: int
    y: int
print(pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2), pickle.loads(pickle.dumps([{1: 'a'}])))
""", "True [{1: 'a'}]\n"),
    Attack("a lambda", "pickling", "import pickle\npickle.dumps(lambda x: x)", (ERROR,), says="PicklingError|AttributeError"),
    _works("copies", "pickling", """
import copy
def f():
    n = [1]
    return lambda: n
g = f()
print(copy.deepcopy(g) is g, copy.deepcopy({'a': [1, {2}]}))
""", "True {'a': [1, {2}]}\n"),
    _works("a generator is not copied", "pickling", """
import copy
try: copy.deepcopy(x for x in [1])
except TypeError as error: print(error)
""", "cannot pickle 'generator' object\n"),
]  # fmt: skip

_FILES = [
    _works("/dev/null", "files", """
import contextlib, os
with open(os.devnull, 'w') as null, contextlib.redirect_stdout(null): print('hidden')
print('shown', open('/dev/null').read() == '', len(open('/dev/urandom', 'rb').read(5)), open('/dev/zero', 'rb').read(2))
""", "shown True 5 b'\\x00\\x00'\n"),
    _works("a file of its own", "files", """
import csv, os
with open('data.csv', 'w', newline='') as file: csv.writer(file).writerows([['a', 'b'], [1, 2]])
with open('data.csv', newline='') as file: print(list(csv.reader(file)))
os.rename('data.csv', 'moved.csv')
os.makedirs('a/b')
print(sorted(os.listdir('.')))
os.remove('moved.csv')
os.rmdir('a/b')
print(os.path.exists('moved.csv'))
""", "[['a', 'b'], ['1', '2']]\n['a', 'moved.csv']\nFalse\n"),
    _works("temporary files", "files", """
import os, tempfile
with tempfile.TemporaryFile() as file:
    file.write(b'abc'); file.seek(0); print(file.read())
with tempfile.NamedTemporaryFile('w+', suffix='.txt') as file:
    print('x', file=file, flush=True); print(open(file.name).read().strip(), os.path.exists(file.name))
with tempfile.TemporaryDirectory() as folder: open(folder + '/f', 'w').close(); print(os.listdir(folder))
print(os.path.exists(folder))
""", "b'abc'\nx True\n['f']\nFalse\n"),
    _works("pathlib", "files", """
from pathlib import Path
Path('d').mkdir()
Path('d/note.txt').write_text('é')
print([str(p) for p in Path('.').rglob('*.txt')], Path('d/note.txt').read_text(), Path.home() == Path.cwd())
""", "['d/note.txt'] é True\n"),
    _works("sqlite in memory", "files", """
import sqlite3
c = sqlite3.connect(':memory:')
c.execute('create table t (n int)')
c.executemany('insert into t values (?)', [(n,) for n in range(5)])
print(c.execute('select sum(n) from t').fetchone())
""", "(10,)\n"),
    _works("an archive", "files", """
import gzip, json, zipfile
with gzip.open('x.gz', 'wt') as file: json.dump({'a': 1}, file)
print(json.load(gzip.open('x.gz', 'rt')))
with zipfile.ZipFile('x.zip', 'w') as archive: archive.writestr('a', 'b')
print(zipfile.ZipFile('x.zip').namelist())
np.save('x.npy', np.arange(3)); print(np.load('x.npy'))
""", "{'a': 1}\n['a']\n[0 1 2]\n"),
]  # fmt: skip

_REST = [
    _works("decimals and fractions", "everyday", """
from decimal import Decimal, getcontext
from fractions import Fraction
getcontext().prec = 30
print(Decimal(1) / 7, Fraction(1, 3) + Fraction(1, 6))
""", "0.142857142857142857142857142857 1/2\n"),
    _works("time zones", "everyday", """
from datetime import datetime, timezone
from zoneinfo import ZoneInfo
print(datetime(2024, 7, 1, 12, tzinfo=timezone.utc).astimezone(ZoneInfo('Europe/Paris')).isoformat())
""", "2024-07-01T14:00:00+02:00\n"),
    _works("Unicode", "everyday", "print('π ≈ 3.14 😀 中文 e\u0301')", "π ≈ 3.14 😀 中文 e\u0301\n"),
    _works("random numbers", "everyday", """
import random
random.seed(5); a = [random.random(), float(np.random.default_rng(5).random())]
random.seed(5); b = [random.random(), float(np.random.default_rng(5).random())]
print(a == b, random.SystemRandom().random() < 1)
""", "True True\n"),
    _works("its own source", "everyday", """
import inspect
def f(x):
    return x + 1
print(inspect.getsource(f), end='')
""", "def f(x):\n    return x + 1\n"),
    _works("sleep", "everyday", "import time\nt = time.monotonic()\ntime.sleep(0.2)\nprint(time.monotonic() - t >= 0.2)",
           "True\n"),
    _works("timing", "everyday", """
import time, timeit
print(timeit.timeit('1 + 1', number=10) >= 0, time.perf_counter() > 0, time.process_time() >= 0, time.time() > 1.6e9)
""", "True True True True\n"),
    _works("the machine", "everyday", """
import os, platform, sys
print(os.cpu_count() >= 1, platform.system(), sys.version_info >= (3, 10), len(os.urandom(4)), os.getpid() > 0)
""", "True Linux True 4 True\n"),
    _works("logging", "everyday", """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format='%(message)s')
logging.info('solved')
""", "solved\n"),
    _works("ctypes", "everyday", "import ctypes\nprint(ctypes.CDLL(None).abs(-5), ctypes.c_int(2**31).value)",
           "5 -2147483648\n"),
    _works("a callback in C", "everyday", """
import ctypes
numbers = (ctypes.c_int * 4)(3, 1, 4, 1)
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
ctypes.CDLL(None).qsort(numbers, 4, 4, kind(lambda a, b: a[0] - b[0]))
print(list(numbers))
""", "[1, 1, 3, 4]\n"),
    _works("linear algebra", "everyday", """
print(np.linalg.solve([[2.0, 1], [1, 3]], [3, 5]).round(6).tolist(), np.linalg.eigvalsh(np.eye(300)).sum().round(3))
""", "[0.8, 1.4] 300.0\n"),
    _works("equations", "everyday", "x = sp.symbols('x')\nprint(sp.solve(x**3 - 6*x**2 + 11*x - 6, x))", "[1, 2, 3]\n"),
    _works("a warning signal of its own", "everyday", """
import signal
def late(*_): raise RuntimeError('late')
signal.signal(signal.SIGUSR1, late)
try: signal.raise_signal(signal.SIGUSR1)
except RuntimeError as error: print(error)
""", "late\n"),
    _works("a pair of sockets", "everyday", "import socket\na, b = socket.socketpair()\na.send(b'hi')\nprint(b.recv(9))",
           "b'hi'\n"),
    _works("subprocess is imported, not used", "everyday", "import subprocess, multiprocessing, socket\nprint('fine')",
           "fine\n"),
]  # fmt: skip

ATTACKS = [*_IMPORTS, *_CONCURRENT, *_DEEP, *_LARGE, *_ENDINGS, *_PICKLES, *_FILES, *_REST]
