"""Blocks that try the view of files itself: Python's files in it, the way out of it, and the folders of others."""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, GOT_IT, OK, OUTPUT_LIMIT, TIMEOUT, Attack, refused, system_call

_PYTHON = [
    refused("written in place", "Python's files", """
import json, sympy, numpy, sys, sysconfig
for path in (os.__file__, json.__file__, sympy.__file__, numpy.__file__, sys.executable,
             sysconfig.get_path('stdlib') + '/this.py',
             '/lib/x86_64-linux-gnu/libc.so.6', '/usr/lib/x86_64-linux-gnu/libz.so.1', '/etc/ld.so.cache', '/etc/localtime'):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        attempt(path, os.open, path, flags)
    attempt('truncate', os.truncate, path, 0)
    attempt('mode', os.chmod, path, 0o777)
    attempt('times', os.utime, path, (1, 1))
    attempt('owner', os.chown, path, os.getuid(), os.getgid())
    attempt('attribute', os.setxattr, path, 'user.x', b'1')
"""),
    refused("by a link in the own folder", "Python's files", """
import json
for path in (json.__file__, os.__file__, '/lib/x86_64-linux-gnu/libz.so.1'):
    attempt('link', os.link, path, 'mine')
    attempt('symlink', os.symlink, path, 'mine')
    attempt('write', os.open, 'mine', os.O_WRONLY)
    attempt('moved here', os.rename, path, 'mine')
    attempt('mode', os.chmod, 'mine', 0o777)
    attempt('moved there', os.rename, '.', os.path.dirname(path) + '/attack-folder')
"""),
    refused("removed and replaced", "Python's files", """
import json, shutil
folder = os.path.dirname(json.__file__)
attempt('unlink', os.unlink, json.__file__)
attempt('rmdir', os.rmdir, folder)
attempt('rmtree', shutil.rmtree, folder)
attempt('rename', os.rename, folder, folder + '-old')
attempt('cache', os.mkdir, folder + '/__pycache__/attack-x')
open('mine', 'w').write('x')
attempt('replace', os.replace, 'mine', json.__file__)
attempt('exchange', os.rename, 'mine', folder + '/attack-x')
""", says="PermissionError|OSError"),
    Attack("written through memory", "Python's files", """
import json, mmap, os
with open(json.__file__, 'rb') as file:
    for protection in (mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE):
        try:
            with mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, protection) as view: view[0] = 0
            print('DO' 'NE')
        except (OSError, ValueError) as error: print('refused', type(error).__name__)
    try: os.ftruncate(file.fileno(), 0) or print('DO' 'NE')
    except OSError as error: print('refused', type(error).__name__)
    private = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    private[0] = 0  # its own copy: allowed
""", says="^refused", never=("DONE",)),
]  # fmt: skip

_OUT = [
    refused("another root", "way out", """
os.makedirs('a/b')
attempt('chroot', os.chroot, 'a')
attempt('here', os.chroot, '.')
attempt('passwd', open, '../' * 30 + 'etc/passwd')
for path in ('/proc/1/root/etc/passwd', '/proc/self/root', '/proc/self/cwd/..', '/proc/self/fd'):
    attempt(path, os.listdir, path)
    attempt(path, open, path)
"""),
    system_call("mounts", "way out", """
import os
os.makedirs('m')
call('mount proc', 165, b'proc', b'm', b'proc', 0, None)
call('bind', 165, b'/', b'm', None, 4096, None)
call('remount', 165, None, b'/', None, 32 | 4096, None)
call('umount', 166, b'/', 2)
call('umount work', 166, b'..', 2)
call('pivot_root', 155, b'.', b'm')
call('chroot', 161, b'm')
call('open_tree', 428, -100, b'/', 1)
call('move_mount', 429, -100, b'/', -100, b'm', 0)
call('fsopen', 430, b'proc', 0)
call('mount_setattr', 442, -100, b'/', 0, (ctypes.c_ulong * 4)(0, 1, 0, 0), 32)
call('unshare', 272, 0x10020000)
call('setns', 308, 0, 0x20000)
""", says="chroot E(PERM|ACCES)"),
    Attack("a folder that moves while it is open", "way out", """
import os
os.makedirs('a/b/c')
inner = os.open('a/b/c', os.O_RDONLY)
os.rename('a/b/c', 'c')
for number in (inner, os.open('..', os.O_PATH), os.open('/', os.O_PATH)):
    os.fchdir(number)
    for path in ('../' * 20 + 'etc/passwd', 'etc/passwd', '../../etc/passwd', 'kaggle/input', 'proc/1/environ'):
        try: print('DO' 'NE', open(path).read(10))
        except OSError as error: print('refused', type(error).__name__)
""", says="^refused", never=("DONE",)),
    refused("devices of its own", "way out", """
for name, device in (('null', (1, 3)), ('mem', (1, 1)), ('disk', (8, 0)), ('fuse', (10, 229))):
    attempt(name, os.mknod, name, 0o20666, os.makedev(*device))
    attempt(name, os.mknod, name, 0o60666, os.makedev(*device))
for path in ('/dev/fuse', '/dev/shm/attack-x', '/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/sda', '/dev/mqueue', '/dev/pts/0'):
    attempt(path, os.open, path, os.O_RDWR)
    attempt(path, os.open, path, os.O_RDWR | os.O_CREAT)
"""),
]  # fmt: skip

_NEIGHBOURS = [
    Attack("files of others, by number", "neighbours", """
import os
here = os.path.basename(os.getcwd())
for parent in ('..', '../..', '/work', '@SCRATCH@', '/'):
    for name in [*map(str, range(60)), 'probe', 'view']:
        if name == here: continue
        try: print('DO' 'NE', parent, name, os.listdir(f'{parent}/{name}'))
        except OSError: pass
        try: print('DO' 'NE', open(f'{parent}/{name}/secret').read())
        except OSError: pass
print('searched')
""", says="^searched$", never=("DONE",)),
    Attack("written into", "neighbours", """
import os
here = os.path.basename(os.getcwd())
for parent in ('..', '/work', '/'):
    for name in map(str, range(60)):
        if name == here: continue
        for act in (lambda: open(f'{parent}/{name}/attack-x', 'w'), lambda: os.mkdir(f'{parent}/{name}/attack-y'),
                    lambda: os.unlink(f'{parent}/{name}/secret'), lambda: os.rmdir(f'{parent}/{name}')):
            try: act(); print('DO' 'NE', parent, name)
            except OSError: pass
print('searched')
""", says="^searched$", never=("DONE",)),
    refused("a folder beside the own", "neighbours", """
for name in ('attack-x', '99999', 'probe'):
    attempt(name, os.mkdir, '../' + name)
    attempt(name, open, '../' + name, 'w')
attempt('moved', os.rename, '.', '../99999')
attempt('moved', os.rename, os.getcwd(), '../99999')
attempt('list', os.listdir, '..')
""", says="PermissionError|OSError"),
]  # fmt: skip

_STORMS = [
    Attack("folders made and removed", "folder storm", """
import os, time
end = time.time() + 0.6
while time.time() < end:
    for n in range(50): os.mkdir(f'd{n}')
    for n in range(50): os.rmdir(f'd{n}')
print('over')
""", (OK, TIMEOUT, OUTPUT_LIMIT), ruins=True),
    Attack("files that are renamed all the time", "folder storm", """
import os, time
open('a', 'w').close()
end = time.time() + 0.6
while time.time() < end: os.rename('a', 'b'); os.rename('b', 'a')
print(os.listdir('.'))
""", (OK, TIMEOUT), says=r"\['a'\]|TimeoutError"),
    Attack("deep and wide", "folder storm", """
import os
for a in range(30):
    os.makedirs(f'{a}/' + '/'.join(['x'] * 20))
for n in range(300): open(f'0/x/f{n}', 'w').close()
print('made')
""", (OK, OUTPUT_LIMIT, TIMEOUT), says="made|working folder", ruins=True),
]  # fmt: skip

_QUOTAS = [
    Attack("files that are deleted while open", "hidden use", """
import os
kept = []
for n in range(16):
    file = open(f'f{n}', 'wb', buffering=0)
    kept.append(file)
    os.unlink(f'f{n}')
    for _ in range(32): file.write(bytes(1 << 20))
""" + GOT_IT, (OUTPUT_LIMIT, TIMEOUT), never=("DONE",), ruins=True, watched=True, alone=True),
    Attack("threads up to the allowance", "hidden use", """
import threading
stop, started = threading.Event(), 0
threading.stack_size(1 << 16)
try:
    for _ in range(300):
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except (RuntimeError, MemoryError): pass
stop.set()
print('DO' 'NE' if started > 128 else 'refused')
""", (OK, CRASH), says=r"^refused$|^Error: the code started more than \d+ threads and was stopped$", alone=True),  # by the host
    Attack("files that are deleted while mapped", "hidden use", """
import mmap, os
kept = []
for n in range(16):
    with open(f'f{n}', 'wb+', buffering=0) as file:
        file.truncate(32 << 20)
        kept.append(mmap.mmap(file.fileno(), 32 << 20))
    os.unlink(f'f{n}')
    for _ in range(32): kept[-1].write(b'x' * (1 << 20))
""" + GOT_IT, (OUTPUT_LIMIT, TIMEOUT), never=("DONE",), ruins=True, watched=True, alone=True),
]  # fmt: skip

ATTACKS = [*_PYTHON, *_OUT, *_NEIGHBOURS, *_STORMS, *_QUOTAS]
