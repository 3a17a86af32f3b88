"""Blocks that write outside their folder, by content and by metadata, or more into it than there is room for.

What they aim at is planted, or of the machine. In the latter case a success must be harmless: it opens and does not
write, sets what is set already, or makes a file by a name that is swept up. A test run does meet a sandbox with a hole.
"""

from __future__ import annotations

from tests.sandbox.attacks.attack import (
    CRASH,
    ERROR,
    GOT_IT,
    MEMORY,
    OK,
    OUTPUT_LIMIT,
    TIMEOUT,
    Attack,
    refused,
    system_call,
)

_SUBMISSION = [
    refused("opened in every mode", "submission", """
for mode in ('w', 'a', 'r+', 'x', 'wb+', 'ab'): attempt(mode, open, '@SUBMISSION@', mode)
for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC, os.O_APPEND | os.O_RDWR):
    attempt(flags, os.open, '@SUBMISSION@', flags)
"""),
    refused("by libraries", "submission", """
import numpy, pathlib, pickle, shutil, sqlite3
attempt('savetxt', numpy.savetxt, '@SUBMISSION@', [1])
attempt('tofile', numpy.ones(3).tofile, '@SUBMISSION@')
attempt('memmap', numpy.memmap, '@SUBMISSION@', mode='r+')
attempt('write_text', pathlib.Path('@SUBMISSION@').write_text, 'x')
open('mine', 'w').write('0,42')
attempt('copy', shutil.copy, 'mine', '@SUBMISSION@')
attempt('move', shutil.move, 'mine', '@SUBMISSION@')
attempt('sqlite', lambda: sqlite3.connect('@SUBMISSION@').execute('create table x (y)'))
"""),
    refused("replaced", "submission", """
open('mine', 'w').write('0,42')
attempt('replace', os.replace, 'mine', '@SUBMISSION@')
attempt('rename', os.rename, '@SUBMISSION@', '@WORK@/attack-old.csv')
attempt('link', os.link, 'mine', '@WORK@/attack-link')
attempt('symlink', os.symlink, '/dev/null', '@WORK@/attack-link')
attempt('unlink', os.unlink, '@SUBMISSION@')
attempt('rmdir', os.rmdir, '@WORK@')
attempt('mkdir', os.mkdir, '@WORK@/attack-folder')
"""),
    refused("its metadata", "submission", """
attempt('truncate', os.truncate, '@SUBMISSION@', 0)
attempt('chmod', os.chmod, '@SUBMISSION@', 0)
attempt('chown', os.chown, '@SUBMISSION@', 12345, 12345)
attempt('lchown', os.lchown, '@SUBMISSION@', 12345, 12345)
attempt('utime', os.utime, '@SUBMISSION@', (1, 1))
attempt('setxattr', os.setxattr, '@SUBMISSION@', 'user.x', b'1')
attempt('mkfifo', os.mkfifo, '@WORK@/attack-fifo')
attempt('mknod', os.mknod, '@WORK@/attack-node')
attempt('folder', os.chmod, '@WORK@', 0)
attempt('folder time', os.utime, '@WORK@', (1, 1))
"""),
    system_call("by raw calls", "submission", """
path = b'@SUBMISSION@'
times = (ctypes.c_long * 4)(1, 0, 1, 0)
call('open', 2, path, 1)
call('creat', 85, path, 0o600)
call('truncate', 76, path, 0)
call('rename', 82, path, b'@WORK@/attack-x')
call('unlink', 87, path)
call('chmod', 90, path, 0)
call('chown', 92, path, 5, 5)
call('utime', 132, path, times)
call('utimes', 235, path, times)
call('setxattr', 188, path, b'user.x', b'1', 1, 0)
call('futimesat', 261, -100, path, times)
call('unlinkat', 263, -100, path, 0)
call('renameat', 264, -100, path, -100, b'moved')
call('fchmodat', 268, -100, path, 0)
call('fchownat', 260, -100, path, 5, 5, 0)
call('utimensat', 280, -100, path, times, 0)
call('renameat2', 316, -100, path, -100, b'moved', 0)
call('exchange', 316, -100, path, -100, b'moved', 2)
call('fchmodat2', 452, -100, path, 0, 0)
call('setxattrat', 463, -100, path, 0, b'user.x', 0, 0)
"""),
    system_call("through a file without a name", "submission", """
call('tmpfile', 257, -100, b'@WORK@', 0o20200000 | 1, 0o666)
call('linkat', 265, -100, b'/proc/self/fd/0', -100, b'@WORK@/attack-linked', 0x400)
"""),
]  # fmt: skip

_JOURNAL = [
    refused("appended", "journal", "attempt('append', open, '@JOURNAL@', 'a')\n"
            "attempt('truncate', os.truncate, '@JOURNAL@', 1)"),
    refused("removed with its folder", "journal", """
import shutil
attempt('rmtree', shutil.rmtree, '@WORK@')
attempt('remove', os.remove, '@JOURNAL@')
attempt('removedirs', os.removedirs, '@WORK@')
"""),
    refused("by logging", "journal", """
import logging, logging.handlers
attempt('handler', logging.FileHandler, '@JOURNAL@')
attempt('rotating', logging.handlers.RotatingFileHandler, '@JOURNAL@', maxBytes=1)
attempt('config', logging.basicConfig, filename='@JOURNAL@', force=True)
"""),
]  # fmt: skip

_INSTALLATION = [
    refused("site-packages", "installation", """
import sysconfig
for folder in ('@SITE@', sysconfig.get_path('stdlib'), os.path.dirname(os.__file__)):
    attempt(folder, open, folder + '/attack-module.py', 'w')
    attempt('folder', os.mkdir, folder + '/attack-folder')
"""),
    refused("modules that are there", "installation", """
import json, numpy, sympy
for module in (json, numpy, sympy, os):
    path, now = module.__file__, os.stat(module.__file__)
    attempt(module.__name__, open, path, 'a')
    attempt('times', os.utime, path, ns=(now.st_atime_ns, now.st_mtime_ns))
    attempt('mode', os.chmod, path, now.st_mode & 0o7777)
    attempt('owner', os.chown, path, now.st_uid, now.st_gid)
    attempt('size', os.truncate, path, now.st_size)
"""),
    refused("the interpreter", "installation", """
import sys
path = os.path.realpath(sys.executable)
attempt('append', open, path, 'ab')
attempt('rename to itself', os.rename, path, path)
attempt('link', os.link, path, '@SITE@/attack-python')
attempt('mode', lambda: os.chmod(path, os.stat(path).st_mode & 0o7777))
""", says="PermissionError"),
    refused("compiled files", "installation", """
import importlib.util, py_compile, json.tool
attempt('cache', open, importlib.util.cache_from_source(json.tool.__file__), 'ab')
attempt('compile', py_compile.compile, json.tool.__file__, cfile='@SITE@/attack-tool.pyc', doraise=True)
attempt('customise', open, '@SITE@/attack-sitecustomize.pth', 'w')
"""),
]  # fmt: skip

_ELSEWHERE = [
    refused("scratch folders", "outside", """
for folder in ('/tmp', '/var/tmp', '/dev/shm', '/run', '/etc', '/', '/mnt', '@HOME@', '@INPUT@', '@SCRATCH@', '/root',
               '..', '../..'):
    attempt(folder, open, folder + '/attack-file', 'w')
    attempt('folder', os.mkdir, folder + '/attack-folder')
"""),
    refused("tempfile told where", "outside", """
import tempfile
for folder in ('/tmp', '/dev/shm', '@SCRATCH@'):
    attempt(folder, tempfile.NamedTemporaryFile, dir=folder, prefix='attack-', delete=False)
    attempt(folder, tempfile.mkdtemp, dir=folder, prefix='attack-')
    attempt(folder, tempfile.TemporaryFile, dir=folder)
"""),
    refused("knobs of the kernel", "outside", """
for path in ('/proc/sys/kernel/hostname', '/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches', '/proc/self/mem',
             '/proc/self/comm', '/proc/self/uid_map', '/sys/kernel/mm/ksm/run', '/sys/fs/cgroup/cgroup.procs',
             '/sys/fs/cgroup/pids/cgroup.procs', '/proc/self/clear_refs', '/proc/self/coredump_filter', '/proc/sysrq-trigger'):
    attempt(path, os.open, path, os.O_WRONLY)
""", says="PermissionError|FileNotFoundError"),
    refused("devices", "outside", """
for path in ('/dev/vda', '/dev/sda', '/dev/mem', '/dev/kmsg', '/dev/tty', '/dev/shm/attack-x', '/dev/full', '/dev/ptmx'):
    attempt(path, os.open, path, os.O_WRONLY)
attempt('node', os.mknod, 'node', 0o60666, os.makedev(8, 0))
attempt('character', os.mknod, 'memory', 0o20666, os.makedev(1, 1))
attempt('pipe', os.mkfifo, 'pipe')
"""),
    refused("metadata in the own folder", "outside", """
open('mine', 'w').write('x')
attempt('mode', os.chmod, 'mine', 0o4777)
attempt('folder', os.chmod, '.', 0)
attempt('owner', os.chown, 'mine', 0, 0)
attempt('symlink', os.symlink, '/etc/passwd', 'link')
attempt('link', os.link, 'mine', 'second')
attempt('attribute', os.setxattr, 'mine', 'user.x', b'1')
"""),
]  # fmt: skip

_FULL = (OK, ERROR, CRASH, MEMORY, OUTPUT_LIMIT, TIMEOUT)


def _room(name: str, code: str, *, says: str = "", statuses: tuple[str, ...] = ()) -> Attack:
    """More than the private folder holds: refused or stopped, and gone with the candidate."""
    allowed = tuple(status for status in _FULL if not statuses or status.value in statuses)
    return Attack(
        name,
        "room in the folder",
        code.replace("print('DONE')", GOT_IT),
        allowed,
        says=says,
        never=("\nDONE", "DONE\n"),
        ruins=True,
        watched=True,
    )


_ROOM = [
    _room("one large file", """
import errno
with open('large', 'wb', buffering=0) as file:
    try:
        for _ in range(100): file.write(bytes(1 << 20))
        print('DONE')
    except OSError as error: print(errno.errorcode[error.errno])
""", says="EFBIG|ENOSPC|EDQUOT"),
    _room("a sparse file", "import os\nwith open('sparse', 'wb') as file: os.truncate(file.fileno(), 1 << 40)\nprint('DONE')",
          says="Errno 27|Errno 28|File too large", statuses=("error",)),
    _room("reserved space", "import os\nwith open('reserved', 'wb') as f: os.posix_fallocate(f.fileno(), 0, 1 << 32)\n"
          "print('DONE')", says="Errno|Error|stopped"),
    _room("many large files", """
import os
for n in range(40):
    with open(f'large{n}', 'wb', buffering=0) as file:
        for _ in range(60): file.write(bytes(1 << 20))
print('DONE')
""", says="Errno|stopped|Error"),
    _room("many small files", """
for n in range(40_000): open(f'small{n}', 'w').close()
print('DONE')
""", says="Errno|stopped|Error"),
    _room("many folders", """
import os
for n in range(40_000): os.mkdir(f'folder{n}')
print('DONE')
""", says="Errno|stopped|Error"),
    *(
        _room(name, f"""
import ctypes, os
libc, kept, block = ctypes.CDLL(None), [], bytes(1 << 20)
while len(kept) < 12:
    file = os.open('f', os.O_CREAT | os.O_RDWR)
    os.unlink('f')
    for _ in range(48): os.write(file, block)
    {keep}
print('DONE')
""", says="Errno|stopped|Error")
        for name, keep in (
            ("deleted files held open", "kept.append(file)"),
            ("deleted files that are only mapped",
             "kept.append(libc.mmap(None, ctypes.c_size_t(4096), 1, 2, file, ctypes.c_long(0))); os.close(file)"),
            ("files replaced while open", "kept.append(file); open('g', 'wb').close(); os.rename('g', 'h')"),
        )
    ),
    Attack("deep folders", "room in the folder", """
import os
for n in range(300):
    os.mkdir('f' * 200)
    os.chdir('f' * 200)
open('x', 'w').close()
print('deep')
""", (OK, ERROR, OUTPUT_LIMIT), says="deep|Errno|stopped", ruins=True),
    Attack("odd names", "room in the folder", """
import os
for name in (b'\\xff\\xfe', b'a\\nb', b'-rf', b' ', b'*', '\\u202e'.encode(), b'\\x1b[31m', b'n' * 255):
    open(name, 'wb').close()
print(len(os.listdir('.')))
""", says="^8$"),
]  # fmt: skip

ATTACKS = [*_SUBMISSION, *_JOURNAL, *_INSTALLATION, *_ELSEWHERE, *_ROOM]
