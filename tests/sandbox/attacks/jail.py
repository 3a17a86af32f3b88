"""Runs families of the corpus where a failing layer does no harm: in a pid namespace and a pids cgroup of its own.

`python -m tests.sandbox.attacks.jail FAMILY...` prints a report, one JSON object a line; `FAMILY/ID` is a single block.
`--setting='--user --container'` runs the host in a `tests.sandbox.setting`; with `--again` blocks run alone, and longer. Four
processes stand in a row: the warden makes the cgroup and removes it whatever happens; the gate enters it and the new
namespaces; the init is their first process, whose end kills all others; the host runs the sandbox. Python's installation lies
there under layers that take all writes: a sandbox with a hole once let this corpus delete the interpreter. Without a jail
only harmless families run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

PROCESSES = 384
"""At most so many processes and threads in the jail: enough for the sandbox, too few for a fork bomb to be felt."""

NEEDS_JAIL = {"processes", "kernel", "memory", "view", "writes"}
"""Families that create processes or threads, send signals, take memory that no limit counts, or write anywhere."""

_V1 = Path("/sys/fs/cgroup/pids")
_V2 = Path("/sys/fs/cgroup")
_NEW = 0x00020000 | 0x08000000 | 0x04000000 | 0x20000000  # CLONE_NEWNS, NEWIPC, NEWUTS, NEWPID: clone(2)
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18  # mount(2)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Run the families in a jail, or without one those that are harmless; the exit status is the host's."""
    families = [word for word in sys.argv[1:] if not word.startswith("--")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was made is removed
    die_with_parent(signal.SIGTERM)
    with _folder() as folder:
        try:
            if _wait(_fork(lambda: _unshare() or _mount_all(folder))):
                raise PermissionError("namespaces or mounts are refused")
            with pids_cgroup() as cgroup:
                return _wait(_fork(lambda: _gate(cgroup, folder, families)))
        except OSError as error:
            return _unjailed(folder, families, f"no jail for this user on this machine: {error}")


def _unjailed(folder: Path, families: list[str], why: str) -> int:
    print(json.dumps({"skip": why, "families": sorted(NEEDS_JAIL)}), flush=True)
    harmless = [family for family in families if family.partition("/")[0] not in NEEDS_JAIL]
    return _wait(_fork(lambda: _host(folder, harmless, jailed=False))) if harmless else 0


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="attacked-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pids_cgroup(limit: int = PROCESSES) -> Iterator[Path]:
    """A new pids cgroup; OSError where this user may not make one. Removed at the end."""
    cgroup = _hierarchy() / f"attacks-{os.getpid()}"
    cgroup.mkdir()
    try:
        (cgroup / "pids.max").write_text(str(limit))
        yield cgroup
    finally:
        _remove(cgroup)


def _hierarchy() -> Path:
    if (_V1 / "cgroup.procs").exists():
        return _V1
    if "pids" not in (_V2 / "cgroup.controllers").read_text().split():
        raise FileNotFoundError("no pids controller")
    (_V2 / "cgroup.subtree_control").write_text("+pids")
    return _V2


def _remove(cgroup: Path) -> None:
    """Kill what is left in it, which is nothing unless a jail broke, until the kernel lets it go."""
    for _ in range(200):
        for pid in (cgroup / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            cgroup.rmdir()
            return
        time.sleep(0.02)
    print(f"the cgroup {cgroup} could not be removed", file=sys.stderr)


def _gate(cgroup: Path, folder: Path, families: list[str]) -> int:
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    _unshare()
    return _wait(_fork(lambda: _init(folder, families)))


def _init(folder: Path, families: list[str]) -> int:
    _mount_all(folder)
    return _wait(_fork(lambda: _host(folder, families, jailed=True)))


def _mount_all(folder: Path) -> int:
    """The jail's own view of files; 0, or OSError. Tried out first, in namespaces that are thrown away."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    _mount("proc", "/proc", "proc", 0, None)
    _mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=256m,mode=1777")  # so that a leak in memory is a small one
    _mount("tmpfs", str(folder), "tmpfs", 0, "size=4g,mode=755")
    _cover_installation(folder / "covers")
    return 0


def _cover_installation(covers: Path) -> None:
    """Whatever is written to Python, to its packages or to this project in the jail is gone with it."""
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, Path(__file__).parents[3])}
    for number, prefix in enumerate(sorted(prefixes)):
        upper, work = covers / f"{number}-upper", covers / f"{number}-work"
        upper.mkdir(parents=True)
        work.mkdir()
        _mount("overlay", str(prefix), "overlay", 0, f"lowerdir={prefix},upperdir={upper},workdir={work}")
    os.chdir(os.getcwd())  # into the cover


def _host(folder: Path, families: list[str], *, jailed: bool) -> int:
    setting = [word for chosen in sys.argv[1:] if chosen.startswith("--setting=") for word in chosen[10:].split()]
    again = "--again" in sys.argv[1:]
    if setting:
        said = ("jailed" if jailed else "free") + ("+again" if again else "")
        folder.chmod(0o777)  # the setting may be that of another user
        python = [sys.executable, "-m"]
        host_ = [*python, "tests.sandbox.attacks.host", str(folder), said, *families]
        os.execv(sys.executable, [*python, "tests.sandbox.setting", *setting, *host_])
    from tests.sandbox.attacks import host  # the processes above stay small and single-threaded

    return host.main(families, folder, jailed=jailed, again=again)


def _fork(main: Callable[[], int]) -> int:
    """A child that runs `main`, exits with what it returns, and ends when this process does."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)
        status = main()
    except OSError as error:
        print(f"jail: {error}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int) -> int:
    """Reap everything until this child ends; its exit status. Kills it where the wait is broken off."""
    try:
        while True:
            ended, status = os.wait()
            if ended == pid:
                return abs(os.waitstatus_to_exitcode(status))
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise


def die_with_parent(signum: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)


def _unshare() -> int:
    """Make the namespaces; 0, or OSError where this user may not."""
    if _libc.unshare(_NEW):
        raise OSError(ctypes.get_errno(), "unshare")
    return 0


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    source_, kind_, options_ = (text and text.encode() for text in (source, kind, options))
    if _libc.mount(source_, target.encode(), kind_, ctypes.c_ulong(flags), options_):
        raise OSError(ctypes.get_errno(), f"mount on {target}")


if __name__ == "__main__":
    sys.exit(main())
