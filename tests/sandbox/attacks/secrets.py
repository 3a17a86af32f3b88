"""Blocks that look for what is none of their business. What they find and print is searched for the planted secrets."""

from __future__ import annotations

from tests.sandbox.attacks.attack import ERROR, OK, Attack, refused, system_call

_ENVIRONMENT = [
    Attack("os.environ", "environment", """
import os
print(sorted(os.environ), os.environ.get('KAGGLE_USER_SECRETS_TOKEN'))
for name, value in os.environ.items(): print(name, value)
""", says="None$|None\n"),
    Attack("by the C library", "environment", """
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print('token', libc.getenv(b'KAGGLE_USER_SECRETS_TOKEN'))
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')
n = 0
while environ[n]: print(environ[n]); n += 1
""", says="^token None$"),
    Attack("through proc", "environment", """
import os
found = 0
for pid in ['self', 'thread-self', str(os.getppid()), '1', '@HOST@', *map(str, range(1, 400))]:
    for name in ('environ', 'cmdline', 'mem', 'maps', 'stack', 'fd/0'):
        try:
            with open(f'/proc/{pid}/{name}', 'rb') as file: print(pid, name, file.read(100_000))
        except (OSError, ValueError): found += 1
print('closed', found)
""", says="^closed"),
    Attack("in memory below the stack", "environment", """
import ctypes, os
try: maps = open('/proc/self/maps').read()
except OSError as error: print('no maps', type(error).__name__)
else:
    for line in maps.splitlines():
        if '[stack]' in line:
            start, end = (int(x, 16) for x in line.split()[0].split('-'))
            data = ctypes.string_at(start, end - start)
            at = data.find(b'hunter' + b'2-')
            print('found' if at < 0 else data[at:at + 30])
"""),
]  # fmt: skip

_PROC = [
    refused("the list of processes", "proc", "attempt('list', os.listdir, '/proc')\nattempt('self', os.listdir, '/proc/self')"),
    refused("the parent", "proc", """
for name in ('environ', 'cmdline', 'maps', 'mem', 'status', 'fd', 'root', 'cwd', 'exe', 'task'):
    path = f'/proc/{os.getppid()}/{name}'
    attempt(name, os.listdir if name in ('fd', 'root', 'cwd', 'task') else open, path)
""", says=r"PermissionError|FileNotFoundError"),
    refused("the host", "proc", """
for name in ('environ', 'cmdline', 'maps', 'mem', 'root/etc/passwd', 'cwd/submission.csv'):
    attempt(name, open, f'/proc/@HOST@/{name}', 'rb')
""", says=r"PermissionError|FileNotFoundError"),
    refused("of the kernel", "proc", """
for name in ('kallsyms', 'kcore', 'kmsg', 'sysrq-trigger', 'mounts', 'net/tcp', 'sys/kernel/hostname', 'cmdline',
             'modules', 'keys', 'self/mountinfo', 'self/status', 'self/attr/current', 'config.gz', 'mem'):
    attempt(name, open, '/proc/' + name, 'rb')
""", says=r"PermissionError|FileNotFoundError"),
    system_call("memory of another process", "proc", """
class Vector(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(64)
mine, theirs = Vector(ctypes.addressof(buffer), 64), Vector(id(type), 64)
for pid in (os.getppid(), @HOST@, 1):
    call('readv', 310, pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
    call('writev', 311, pid, ctypes.byref(mine), 1, ctypes.byref(mine), 1, 0)
    call('kcmp', 312, pid, pid, 0, 0, 0)
"""),
]  # fmt: skip

_HEAP = [
    Attack("objects", "heap", """
import gc
prefix = 'hunter' + '2-'
for thing in gc.get_objects():
    if isinstance(thing, dict):
        for key, value in list(thing.items()):
            if isinstance(value, str) and value.startswith(prefix): print(value)
print('searched')
""", says="searched"),
    Attack("pages", "heap", """
import ctypes
prefix = b'hunter' + b'2-'
try:
    lines = open('/proc/self/maps').read().splitlines()
    with open('/proc/self/mem', 'rb', buffering=0) as memory:
        for line in lines:
            if line.split()[1].startswith('rw'):
                start, end = (int(x, 16) for x in line.split()[0].split('-'))
                if end - start > 1 << 26: continue
                memory.seek(start)
                data = memory.read(end - start) or b''
                at = -1
                while (at := data.find(prefix, at + 1)) >= 0: print(data[at:at + 30])
except OSError as error: print(error)
print('searched')
""", says="searched"),
    Attack("frames of the driver", "heap", """
import sys
frame = sys._getframe()
while frame:
    for scope in (frame.f_locals, frame.f_globals):
        for key, value in list(scope.items()):
            text = str(value)[:5000]
            if 'hunter' + '2-' in text: print(key, text)
    frame = frame.f_back
print('searched')
""", says="searched"),
    Attack("fresh pages are empty", "heap", """
data = bytes(np.empty(3 * 10**7, dtype=np.uint8).data)
at = data.find(b'hunter' + b'2-')
print('searched' if at < 0 else data[at:at + 30])
""", (OK, ERROR), says="searched"),
]  # fmt: skip

_HOME = [
    refused("the key in it", "home", """
attempt('open', open, '@HOME@/.kaggle/kaggle.json')
attempt('os.open', os.open, '@HOME@/.kaggle/kaggle.json', os.O_RDONLY)
attempt('list', os.listdir, '@HOME@')
attempt('scan', os.scandir, '@HOME@/.kaggle')
"""),
    Attack("found by itself", "home", """
import os, pathlib, pwd
places = [os.path.expanduser('~'), '@HOME@', '/root', '/home', os.environ.get('HOME', '')]
try: places.append(pwd.getpwuid(os.getuid()).pw_dir)
except (KeyError, OSError): pass
for place in places:
    for path in pathlib.Path(place).rglob('*'):
        try: print(path, path.read_text()[:200])
        except (OSError, ValueError): pass
    print('searched', len(place))
""", (OK, ERROR), says="searched|PermissionError"),
    refused("by other readers", "home", """
import mmap, numpy, runpy, shutil, tokenize, zipfile, linecache, configparser, io, importlib.util, pathlib
path = '@HOME@/.kaggle/kaggle.json'
attempt('fromfile', numpy.fromfile, path)
attempt('memmap', numpy.memmap, path)
attempt('copy', shutil.copy, path, 'copy')
attempt('run', runpy.run_path, path)
attempt('tokenize', tokenize.open, path)
attempt('open_code', io.open_code, path)
attempt('read_text', pathlib.Path(path).read_text)
print('lines', linecache.getlines(path))
"""),
    system_call("by raw calls", "home", """
path = b'@HOME@/.kaggle/kaggle.json'
call('open', 2, path, 0)
call('openat', 257, -100, path, 0)
try: os.read(os.open(path, os.O_PATH), 10) and print('DO' 'NE')
except OSError as error: print('by its place', error.errno)
how = (ctypes.c_ulong * 3)(0, 0, 0)
call('openat2', 437, -100, path, ctypes.byref(how), 24)
call('handle', 303, -100, path, ctypes.byref(how), ctypes.byref(how), 0)
call('open by handle', 304, -100, ctypes.byref(how), 0)
call('tree', 428, -100, b'/', 1)
""", says="open E(PERM|ACCES|NOENT)(.|\n)*openat E(PERM|ACCES|NOENT)"),
]  # fmt: skip

_INPUTS = [
    refused("the test problems", "inputs", "attempt('open', open, '@INPUT@/test.csv')\nattempt('list', os.listdir, '@INPUT@')"),
    Attack("by numpy", "inputs", "print(np.genfromtxt('@INPUT@/test.csv', dtype=str))", (ERROR,),
           says="PermissionError|FileNotFoundError"),
    Attack("by every wildcard", "inputs", """
import glob, os
found = [p for p in glob.glob('@INPUT@/**', recursive=True) + glob.glob('../../**/*.csv', recursive=True)]
for path in found:
    try: print(path, open(path).read())
    except OSError as error: print(type(error).__name__)
print('searched')
""", says="searched$"),
    refused("by sqlite", "inputs", """
import sqlite3
attempt('open', lambda: sqlite3.connect('@INPUT@/test.csv').execute('select 1 from x').fetchall())
attempt('attach', lambda: sqlite3.connect(':memory:').execute("attach '@INPUT@/test.csv' as x"))
""", says="OperationalError|PermissionError"),
    refused("by other ways", "inputs", """
import ctypes, importlib.machinery, urllib.request
attempt('url', urllib.request.urlopen, 'file://@INPUT@/test.csv')
attempt('loader', importlib.machinery.SourceFileLoader('x', '@INPUT@/test.csv').load_module)
attempt('library', ctypes.CDLL, '@INPUT@/test.csv')
attempt('up', open, '../' * 20 + '@INPUT@/test.csv')
attempt('symlink', os.symlink, '@INPUT@/test.csv', 'link')
attempt('followed', open, 'link')
attempt('hard link', os.link, '@INPUT@/test.csv', 'hard')
attempt('moved', os.rename, '@INPUT@/test.csv', 'moved')
""", says="PermissionError|URLError"),
]  # fmt: skip

_WORK = [
    refused("the submission", "working folder", "attempt('open', open, '@SUBMISSION@')\nattempt('list', os.listdir, '@WORK@')"),
    refused("the journal", "working folder", "attempt('open', open, '@JOURNAL@', 'rb')\n"
            "attempt('go', lambda: os.listdir(os.chdir('@WORK@')))"),
    Attack("what is relative", "working folder", """
import os
print(os.listdir('.'), os.path.basename(os.getcwd()) != 'working')
for name in ('submission.csv', '../submission.csv', '../../working/submission.csv', '../../../working/journal.jsonl'):
    try: print(open(name).read())
    except OSError as error: print(type(error).__name__)
""", says=r"^\[\] True$"),
]  # fmt: skip

_MACHINE = [
    refused("files of the system", "machine", """
for path in ('/etc/passwd', '/etc/shadow', '/etc/hosts', '/etc/hostname', '/etc/machine-id', '/root/.ssh/id_rsa',
             '/var/log/dpkg.log', '/.dockerenv', '/sys/class/net', '/sys/kernel/notes', '/run', '/etc/ssl/openssl.cnf'):
    attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
""", says="/etc/passwd (PermissionError|FileNotFoundError)"),
    refused("devices", "machine", """
import glob
for path in ('/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda', '/dev/nvidia0', '/dev/nvidiactl', '/dev/tty', '/dev/ptmx',
             '/dev/fuse', '/dev/kvm', '/dev/full', '/dev/console', '/dev/net/tun', '/dev/loop-control', '/dev/tty0'):
    attempt(path, open, path, 'rb')
attempt('list', os.listdir, '/dev')
"""),
    refused("folders", "machine", "for path in ('/', '/etc', '/root', '/home', '/sys', '/tmp', '/var', '/mnt', '/dev/shm'):\n"
            "    attempt(path, os.listdir, path)"),
    system_call("the kernel's log", "machine", "call('syslog', 103, 3, ctypes.create_string_buffer(9999), 9999)"),
    Attack("descriptors that are open", "machine", """
import os
for number in [0, *range(3, 256)]:
    try:
        os.set_blocking(number, False)
        os.lseek(number, 0, 0)
        print(number, os.read(number, 10_000))
    except OSError: pass
print('searched')
""", (OK, ERROR), says="searched", ruins=True),
    Attack("another candidate's folder", "machine", """
import os
here = os.getcwd()
for place in (os.path.dirname(here), os.path.dirname(os.path.dirname(here)), '@SCRATCH@'):
    try: print('D' 'ONE', os.listdir(place))
    except OSError as error: print('refused', type(error).__name__)
""", says="refused PermissionError", never=("DONE",)),
]  # fmt: skip

ATTACKS = [*_ENVIRONMENT, *_PROC, *_HEAP, *_HOME, *_INPUTS, *_WORK, *_MACHINE]
