"""Runs a command in a setting poorer than this machine: `python -m tests.sandbox.setting [--user] [--container] ...`.

Needs root. Everyone gets to see Python and this repository (--open, --user) even where only root could: in a mount
namespace the folders above them are replaced by open ones. A container refuses namespaces and mounts, as the usual
default profile does, and takes the capabilities away that it takes; with --few-capabilities it does only the latter, as
where no profile is applied. A kernel without a feature is one whose call for it
fails.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.seccomp import ALLOW, Assembly

ORDINARY_USER = 12_345
REPOSITORY = Path(__file__).resolve().parents[2]

CAPABILITIES_OF_CONTAINERS = 0xA80425FB
_PR_CAPBSET_DROP, _PR_SET_SECCOMP = 24, 22
_LAST_CAPABILITY = 40
_CLONE_NEWNS = 0x00020000
NUMBERS = {
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "prctl": 157,
    "mount_setattr": 442,
    "landlock": 444,
}
"""Of system calls, on x86_64: arch/x86/entry/syscalls/syscall_64.tbl of the kernel."""
_REFUSED_IN_CONTAINERS = ("unshare", "setns", "mount", "umount2", "pivot_root")
_LOAD, _IF_EQUAL, _RETURN, _ERRNO = 0x20, 0x15, 0x06, 0x00050000


def main() -> None:
    """Enter the setting, and become the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("open", "user", "container", "few-capabilities", "old-kernel", "no-landlock", "no-seccomp"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.open or args.user:
        open_the_way([Path(sys.prefix), Path(sys.base_prefix), REPOSITORY])
    refused = dict.fromkeys(_REFUSED_IN_CONTAINERS, errno.EPERM) if args.container else {}
    if args.container or args.few_capabilities:
        for capability in range(_LAST_CAPABILITY + 1):
            if not CAPABILITIES_OF_CONTAINERS >> capability & 1:
                kernel.prctl(_PR_CAPBSET_DROP, capability)
    if args.no_landlock or args.old_kernel:
        refused["landlock"] = errno.ENOSYS
    if args.old_kernel:  # before 5.12
        refused["mount_setattr"] = errno.ENOSYS
    install(refused, without_seccomp=args.no_seccomp)
    if args.user:
        os.setgroups([])
        os.setresgid(*[ORDINARY_USER] * 3)
        os.setresuid(*[ORDINARY_USER] * 3)
    os.execv(args.command[0], args.command)


def open_the_way(needed: Iterable[Path]) -> None:
    """Make the folders reachable for everyone, in a mount namespace of this process."""
    kernel.unshare(_CLONE_NEWNS)
    _run("mount", "--make-rprivate", "/")
    closed = {folder: barrier for folder in map(Path.resolve, needed) if (barrier := _barrier(folder))}
    kept = {folder: tempfile.mkdtemp() for folder in closed}
    for folder, place in kept.items():
        _run("mount", "--rbind", str(folder), place)
    for barrier in set(closed.values()):
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(barrier))
    for folder, place in kept.items():
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "--move", place, str(folder))
        with contextlib.suppress(OSError):
            os.rmdir(place)


def _barrier(folder: Path) -> Path | None:
    """The highest folder on the way that not everyone may pass."""
    return next((step for step in reversed((folder, *folder.parents)) if not step.stat().st_mode & 1), None)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def install(refused: dict[str, int], *, without_seccomp: bool) -> None:
    """A filter that fails the calls with their error, and allows all others; none where there is nothing to refuse."""
    assembly = Assembly()
    assembly.emit(_LOAD, 0)  # the number
    for name, error in refused.items():
        allowed = assembly.label()
        assembly.emit(_IF_EQUAL, NUMBERS[name], no=allowed)
        assembly.emit(_RETURN, _ERRNO | error)
        assembly.place(allowed)
    if without_seccomp:
        allowed = assembly.label()
        assembly.emit(_IF_EQUAL, NUMBERS["prctl"], no=allowed)
        assembly.emit(_LOAD, 16)  # the first argument
        assembly.emit(_IF_EQUAL, _PR_SET_SECCOMP, no=allowed)
        assembly.emit(_RETURN, _ERRNO | errno.EINVAL)
        assembly.place(allowed)
    assembly.emit(_RETURN, ALLOW)
    if refused or without_seccomp:
        _load(assembly.finish()[0])


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _load(code: bytes) -> None:
    program = _Program(len(code) // 8, code)
    if ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0):
        raise OSError("the kernel refuses the filter")


if __name__ == "__main__":
    main()
