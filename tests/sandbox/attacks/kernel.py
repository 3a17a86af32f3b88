"""Blocks that trace, signal, mount, change who they are, or ask the kernel for what no candidate needs.

Each call is harmless if it succeeds: wrong magic numbers, empty arguments, or a jail around it. Numbers: x86-64.
"""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, OK, TIMEOUT, Attack, refused, system_call

_REFUSED = "E(PERM|ACCES|NOSYS|SRCH)"

_TRACES = [
    system_call("itself", "ptrace", "call('traceme', 101, 0, 0, 0, 0)"),
    system_call("others", "ptrace", """
for pid in (os.getppid(), @HOST@, 1, os.getpid()):
    call('attach', 101, 16, pid, 0, 0)
    call('seize', 101, 0x4206, pid, 0, 0)
""", says=_REFUSED),
    system_call("by descriptors", "ptrace", """
call('pidfd_open', 434, os.getppid(), 0)
call('pidfd_open', 434, @HOST@, 0)
call('pidfd_getfd', 438, 3, 0, 0)
call('process_madvise', 440, 3, 0, 0, 0, 0)
""", says="E(PERM|ACCES|NOSYS|SRCH)"),
]  # fmt: skip

_NOBODY = "ProcessLookupError|PermissionError"

_SIGNALS = [
    refused("to the host", "signals", """
import signal
for number in (0, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
    for pid in (@HOST@, 1): attempt(number, os.kill, pid, number)
""", says=_NOBODY, alone=True),
    refused("to the parent", "signals", """
import signal
if os.getppid():
    for number in (0, signal.SIGSTOP, signal.SIGKILL): attempt(number, os.kill, os.getppid(), number)
else: print('PermissionError: there is no parent')
""", says=_NOBODY, alone=True),
    refused("to every process", "signals", "import signal\nattempt('USR1', os.kill, -1, signal.SIGUSR1)", says=_NOBODY,
            alone=True),
    refused("to every number", "signals", """
import signal
known, me = 0, os.getpid()
for pid in range(1, 5000):
    if pid == me: continue
    try:
        os.kill(pid, 0)
        known += 1
    except OSError: pass
print('PermissionError' if not known else 'DO' 'NE')
""", says="PermissionError", alone=True),
    Attack("to its group", "signals", "import os, signal\nprint('before', flush=True)\nos.killpg(0, signal.SIGKILL)",
           (OK, ERROR, CRASH), says="^before$", alone=True),
    refused("to groups", "signals", """
import signal
for group in (1, @HOST@, os.getppid()):
    if group: attempt(group, os.killpg, group, signal.SIGUSR1)
print('PermissionError')
""", says=_NOBODY, alone=True),
    system_call("by raw calls", "signals", """
for pid in (1, @HOST@):
    call('kill', 62, pid, 10)
    call('tkill', 200, pid, 10)
    call('tgkill', 234, pid, pid, 10)
    call('sigqueue', 129, pid, 10, ctypes.create_string_buffer(128))
    call('tgsigqueue', 297, pid, pid, 10, ctypes.create_string_buffer(128))
    call('pidfd', 424, 3, 10, 0, 0)
""", says=_REFUSED, alone=True),
    Attack("SIGKILL to all", "signals", "import os, signal\nprint('before', flush=True)\ntry: os.kill(-1, signal.SIGKILL)\n"
           "except OSError as error: print(type(error).__name__)", (OK, CRASH), says="^before$", alone=True),
    Attack("asynchronous, by a descriptor", "signals", """
import fcntl, os
r, w = os.pipe()
for pid in (@HOST@, 1, os.getppid()):
    try:
        fcntl.fcntl(r, 10, 10)
        fcntl.fcntl(r, 8, pid)
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
        os.write(w, b'x')
    except OSError as error: print(type(error).__name__)
print('tried')
""", (OK, CRASH), says="tried|ended", alone=True),
]  # fmt: skip

_MOUNTS = [
    system_call("mount and umount", "mount", """
os.mkdir('here')
call('mount', 165, b'none', b'here', b'tmpfs', 0, 0)
call('bind', 165, b'/', b'here', 0, 4096, 0)
call('umount', 166, b'here', 2)
call('pivot_root', 155, b'here', b'here')
"""),
    system_call("the new calls", "mount", """
call('fsopen', 430, b'tmpfs', 0)
call('fspick', 433, -100, b'.', 0)
call('open_tree', 428, -100, b'.', 1)
call('move_mount', 429, -100, b'.', -100, b'.', 0)
call('mount_setattr', 442, -100, b'.', 0, ctypes.create_string_buffer(32), 32)
call('fsmount', 432, 0, 0, 0)
"""),
    refused("chroot", "mount", "os.mkdir('root')\nattempt('here', os.chroot, '.')\nattempt('root', os.chroot, 'root')"),
    system_call("namespaces", "mount", """
for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x04000000, 0x08000000, 0x02000000, 0x80):
    call(hex(flag), 272, flag)
call('setns', 308, 0, 0)
call('files', 272, 0x400)
"""),
]  # fmt: skip

_IDENTITY = [
    refused("user", "identity", """
for name in ('setuid', 'seteuid', 'setgid', 'setegid'): attempt(name, getattr(os, name), 0)
attempt('setresuid', os.setresuid, 0, 0, 0)
attempt('setreuid', os.setreuid, 12345, 12345)
attempt('setresgid', os.setresgid, 12345, 12345, 12345)
attempt('setgroups', os.setgroups, [0])
attempt('initgroups', os.initgroups, 'root', 0)
"""),
    system_call("by raw calls", "identity", """
for name, number in dict(setuid=105, setgid=106, setreuid=113, setregid=114, setresuid=117, setresgid=119, setfsuid=122,
                         setfsgid=123).items():
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 3)
    print(name, errno.errorcode[ctypes.get_errno()] if result == -1 else 'DONE' if name[3:5] != 'fs' else 'silent')
call('setgroups', 116, 0, 0)
"""),
    system_call("capabilities", "identity", """
header = (ctypes.c_uint * 2)(0x20080522, 0)
call('capset', 126, ctypes.byref(header), (ctypes.c_uint * 6)(*[0xffffffff] * 6))
call('keep', 157, 8, 1, 0, 0, 0)
call('ambient', 157, 47, 2, 21, 0, 0)
call('securebits', 157, 28, 1, 0, 0, 0)
"""),
    system_call("sessions and scheduling", "identity", """
call('setpgid', 109, os.getppid(), 0)
call('setpriority', 141, 0, 0, -20)
call('sched_setscheduler', 144, 0, 1, (ctypes.c_int * 1)(1))
call('sched_setattr', 314, 0, 0, 0)
call('ioprio_set', 251, 1, 0, 1 << 13)
call('sched_setscheduler of the host', 144, @HOST@, 0, (ctypes.c_int * 1)(0))
"""),
]  # fmt: skip

_INTERFACES = [
    system_call(name, "kernel interface", code, says=_REFUSED)
    for name, code in (
        ("bpf", "call('map', 321, 0, ctypes.create_string_buffer(128), 128)\ncall('load', 321, 5, 0, 0)"),
        ("keys", ("call('add', 248, b'user', b'x', b'y', 1, -3)\ncall('request', 249, b'user', b'x', 0, -3)\n"
         "call('control', 250, 0, -3, 1)")),
        ("io_uring", ("call('setup', 425, 8, ctypes.create_string_buffer(120))\ncall('enter', 426, 3, 1, 0, 0, 0, 0)\n"
         "call('register', 427, 3, 0, 0, 0)")),
        ("performance counters", "call('perf', 298, ctypes.create_string_buffer(128), 0, -1, -1, 0)"),
        ("page faults", "call('userfaultfd', 323, 0)\ncall('user', 323, 1)"),
        ("modules", "call('init', 175, b'x', 1, b'')\ncall('finit', 313, 0, b'', 0)\ncall('delete', 176, b'no such', 0)"),
        ("kexec", "call('load', 246, 0, 0, 0, 0)\ncall('file', 320, 0, 0, 0, b'', 0)"),
        ("reboot", "call('reboot', 169, 0, 0, 0, 0)"),
        ("clocks", ("call('settimeofday', 164, 0, 0)\ncall('clock', 227, 0, (ctypes.c_long * 2)(0, -1))\n"
         "call('adjtimex', 159, (ctypes.c_long * 30)(1))\ncall('adjtime', 305, 0, (ctypes.c_long * 30)(1))")),
        ("names", "call('host', 170, b'attacked', 8)\ncall('domain', 171, b'attacked', 8)"),
        ("swap, accounts, quotas", ("call('swapon', 167, b'x', 0)\ncall('swapoff', 168, b'x')\ncall('acct', 163, b'x')\n"
         "call('quota', 179, 0, 0, 0, 0)\ncall('hangup', 153)")),
        ("ports", "call('iopl', 172, 3)\ncall('ioperm', 173, 0x70, 1, 1)\ncall('ldt', 154, 0, 0, 0)"),
        ("System V", ("call('shmget', 29, 0, 4096, 0o1666)\ncall('msgget', 68, 0, 0o1666)\ncall('semget', 64, 0, 1, 0o1666)\n"
         "call('shmctl', 31, 0, 14, 0)\ncall('msgctl', 71, 0, 12, 0)")),
        ("message queues", "call('mq_open', 240, b'attack', 0o102, 0o600, 0)\ncall('mq_unlink', 241, b'attack')"),
        ("watching files", "call('fanotify', 300, 0, 0)\ncall('inotify', 253)\ncall('mark', 301, 3, 1, 0, -100, 0)"),
        ("memory of others", "call('move_pages', 279, @HOST@, 0, 0, 0, 0, 0)\ncall('migrate', 256, @HOST@, 0, 0, 0)"),
        ("handles", ("call('name', 303, -100, b'/', ctypes.create_string_buffer(200), ctypes.create_string_buffer(8), 0)\n"
         "call('open', 304, -100, ctypes.create_string_buffer(200), 0)")),
        ("new security modules", "call('lsm', 461, 0, 0, 0, 0)\ncall('set', 460, 100, 0, 0, 0)"),
        ("numbers that do not exist", "for number in (400, 500, 600, 1000, 5000, 2**20): call(number, number, 0, 0, 0)"),
    )
]  # fmt: skip

_DESCRIBED = [
    system_call("a file system's flags", "kernel interface", """
with open('mine', 'w') as file:
    call('immutable', 16, file.fileno(), 0x40086602, (ctypes.c_long * 1)(0x10))
    call('clone range', 16, file.fileno(), 0x40049409, 0)
call('terminal', 16, 1, 0x5412, b'x')
call('copy', 326, 0, 0, 1, 0, 10, 0xff)
call('splice', 275, 0, 0, 1, 0, 10, 0xff)
""", says=r"E(PERM|ACCES|NOTTY|INVAL|BADF|OPNOTSUPP)"),
]  # fmt: skip


def _alien(name: str, code: str) -> Attack:
    """A call through another table of calls, where no filter may be blind."""
    prelude = "import ctypes, mmap, os\nprint('before', flush=True)\n"
    says = r"^before$\n.*(SIGSYS|PermissionError|SIGSEGV)"
    return Attack(name, "alternate ABI", prelude + code, (CRASH, ERROR), says=says, never=("DONE",), needs=("x86_64",))


_MACHINE_CODE = """
code = bytes.fromhex({code!r})
page = mmap.mmap(-1, 4096, prot=7)
page.write(code)
run = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print('DO' 'NE', run())
"""

_ALIENS = [
    _alien("x32: getpid", "print('DO' 'NE', ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39)))"),
    _alien("x32: socket", "print('DO' 'NE', ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 41), 2, 1, 0))"),
    _alien("x32: execve", "print('DO' 'NE', ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 520), b'/bin/true', 0, 0))"),
    _alien("i386: getpid", _MACHINE_CODE.format(code="b814000000cd80c3")),
    _alien("i386: fork", _MACHINE_CODE.format(code="b802000000cd80c3")),
    _alien("i386: socketcall", _MACHINE_CODE.format(code="b86600000031db31c9cd80c3")),
    Attack("machine code of its own", "alternate ABI", "import ctypes, mmap, os\n" + _MACHINE_CODE.format(
        code="b839000000" "0f05c3").replace("DO' 'NE", "result"), (OK, ERROR), says="result -1$|PermissionError",
        needs=("x86_64",)),
]  # fmt: skip

_ESCAPES = [
    Attack("no more confinement", "confinement undone", """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
tried = [libc.prctl(22, 0), libc.prctl(38, 0, 0, 0, 0), libc.prctl(1, 0), libc.prctl(36, 1), libc.prctl(0x59616d61, -1)]
tried += [libc.syscall(317, 0, 0, 0), libc.syscall(317, 1, 8, 0), libc.syscall(446, -1, 0)]
print('tried', libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0))
try: open('/etc/passwd').read(); print('DONE')
except OSError as error: print(type(error).__name__)
""", (OK, CRASH), says="PermissionError|SIGSYS|SIGKILL", never=("DONE",)),
    Attack("an allow-all filter on top", "confinement undone", """
import ctypes, os
libc = ctypes.CDLL(None)
allow = ctypes.create_string_buffer((0x7fff0000 << 32 | 6).to_bytes(8, 'little'))
program = (ctypes.c_ulong * 2)(1, ctypes.addressof(allow))
libc.prctl(22, 2, ctypes.byref(program))
try: os.fork() or os._exit(0); print('DONE')
except OSError as error: print(type(error).__name__)
""", (OK,), says="PermissionError", never=("DONE",), alone=True),
    Attack("a core file", "confinement undone", """
import os, resource
for size in (-1, 1 << 30):
    try: resource.setrlimit(resource.RLIMIT_CORE, (size, size))
    except (OSError, ValueError): pass
print('before', flush=True)
os.abort()
""", (CRASH,), says="^before$"),
    Attack("strict mode", "confinement undone", "import ctypes\nprint('before', flush=True)\n"
           "ctypes.CDLL(None).prctl(22, 1)\nwhile True: pass", (CRASH, TIMEOUT), says="^before$"),
]  # fmt: skip

ATTACKS = [*_TRACES, *_SIGNALS, *_MOUNTS, *_IDENTITY, *_INTERFACES, *_DESCRIBED, *_ALIENS, *_ESCAPES]
