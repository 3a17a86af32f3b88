"""What a fresh candidate sees of its interpreter. Two fresh candidates must see the same, whoever ran before."""

from __future__ import annotations

PORTRAIT = r"""
import builtins, collections, decimal, functools, gc, hashlib, itertools, json, linecache, locale, os
import random, re, signal, string, sys, threading, time, traceback, types, warnings
import importlib, io, math, pickle, struct
import numpy, sympy

def members(module):
    kinds = [(name, type(value).__name__, str(getattr(value, '__module__', '')), str(getattr(value, '__qualname__', '')))
             for name, value in sorted(vars(module).items()) if name != '_' and not name.startswith('__warning')]
    return hashlib.sha256(repr(kinds).encode()).hexdigest()[:12]

def open_descriptors():
    found = []
    for number in range(256):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    return found

modules = [builtins, collections, decimal, functools, gc, importlib, io, itertools, json, linecache, math, os]
modules += [pickle, random, re, signal, string, struct, sys, threading, time, traceback, types, warnings, numpy, sympy]
seen = {module.__name__: members(module) for module in modules}
seen.update(
    own=sorted(name for name in globals() if not name.startswith('__'))[:100],
    folder=os.listdir('.'),
    environment=sorted((k, v) for k, v in os.environ.items() if k not in ('HOME', 'TMPDIR')),
    path=sys.path,
    recursion=sys.getrecursionlimit(),
    collector=(gc.isenabled(), gc.get_threshold()),
    threads=threading.active_count(),
    tracing=(sys.gettrace() is None, sys.getprofile() is None, sys.getswitchinterval()),
    handlers=[str(signal.getsignal(number)) for number in (2, 10, 13, 15)],
    mask=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    precision=decimal.getcontext().prec,
    filters=len(warnings.filters),
    hooks=[len(sys.meta_path), len(sys.path_hooks), sys.excepthook is sys.__excepthook__],
    descriptors=open_descriptors(),
    sums=[sum([1, 2, 3]), math.sqrt(2), str(sympy.solve('x**2 - 2')), numpy.arange(5).sum().item(), 2 + 3, len('abc')],
    missing=sorted(set('os sys numpy sympy json traceback linecache'.split()) - set(sys.modules)),
)
print('PORTRAIT', json.dumps(seen))
"""
"""The block. It prints one line of JSON after a mark."""
