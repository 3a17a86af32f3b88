"""The view of files where mounts are refused too, as in most containers: a root folder of links to Python's files.

Made once, by root, in the folder of the children itself; a child enters it by chroot. Its files are hard links where that
is possible, and copies where it is not: across disks, in the layers of a container's image (a link would copy them for
good), and of files that anyone may write. A linked file is the file of the installation, so the children must have user
ids of their own, which may not write it or change its mode.

It is trimmed: the standard library without its tests, the packages below, and the shared libraries that these load.
Other packages cannot be imported in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator

from sctir_kaggle.sandbox import kernel
from sctir_kaggle.sandbox.landlock import DEVICES, LIBRARIES, TIME_ZONES, site_folders
from sctir_kaggle.sandbox.view import ALTERNATIVES, lay_out, put_up_closed_doors

PACKAGES = """
    numpy scipy sympy mpmath gmpy2 networkx matplotlib mpl_toolkits pylab pandas
    PIL pillow kiwisolver contourpy fonttools cycler python_dateutil dateutil pyparsing packaging six pytz tzdata
    isympy flint python_flint primesieve pyprimes more_itertools sortedcontainers tabulate tqdm joblib sklearn scikit_learn
    threadpoolctl shapely statsmodels patsy numexpr bottleneck seaborn typing_extensions
"""
"""Names of modules and distributions that the jail has, with all that they import, as far as they are installed."""

_SKIPPED = {"test", "tests", "idlelib", "turtledemo", "ensurepip", "site-packages", "dist-packages", "posix", "right"}
"""Folders without use for a candidate; the last two hold all time zones a second and third time."""

ROOM_MB = 1024
"""MiB that copies may take, and that have to stay free besides."""


class Jail:
    """A root folder made of links and copies."""

    needs_users = True

    def __init__(self, folder: str) -> None:
        """Make it of `folder`; OSError where this process may not change its root, or the disk has no room."""
        if os.geteuid() != 0 or not kernel.capabilities() >> kernel.CAP_SYS_CHROOT & 1:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self._root, self._on_layers = folder, _on_layers(folder)
        self._linked = self._copied = self._bytes = 0
        trees = [*_standard_library(), *_packages(), *filter(os.path.exists, (*TIME_ZONES, ALTERNATIVES))]
        for tree in trees:  # one by one: packages lie in the standard library's folder, and it is taken without them
            for real in lay_out(self._root, [tree]):
                self._put_tree(real)
        for site in lay_out(self._root, site_folders()):
            os.makedirs(self._root + site, exist_ok=True)
            os.chmod(self._root + site, 0o755)  # an import lists it, even where none of the packages is in it
        libraries = {path for path in _loaded_by(trees) if not os.path.exists(self._root + path)}
        for library in lay_out(self._root, [*libraries, *_other_names(libraries), "/etc/ld.so.cache"]):
            self._put(library)
        self._make_devices()
        put_up_closed_doors(self._root)

    def enter(self, folder: str, *, alone: bool) -> str:
        if alone:
            raise PermissionError(errno.EPERM, "children without user ids of their own would own the jail")
        os.chroot(self._root)
        inside = "/" + os.path.basename(folder)
        os.chdir(inside)
        return inside

    def remove(self) -> None:
        """Unlink its files: the folder's owner would remove ten thousand of them too slowly, and one by one."""
        for folder, inner, files in os.walk(self._root, topdown=False):
            with contextlib.suppress(OSError):  # a child's folder may hold what cannot be removed so easily
                for name in [*files, *(name for name in inner if os.path.islink(f"{folder}/{name}"))]:
                    os.unlink(f"{folder}/{name}")
                if folder != self._root:
                    os.rmdir(folder)

    def __str__(self) -> str:
        made = f"{self._linked} links, {self._copied} copies"
        return f"a changed root of {made} ({self._bytes >> 20} MB): the standard library and common packages only"

    def _put_tree(self, path: str) -> None:
        """A file or folder with what is in it, without what a candidate has no use for."""
        if not os.path.isdir(path):
            self._put(path)
            return
        for folder, inner, files in _walk(path):
            os.makedirs(self._root + folder, exist_ok=True)
            os.chmod(self._root + folder, 0o755)  # an import lists it
            for name in [*files, *(name for name in inner if os.path.islink(f"{folder}/{name}"))]:
                self._put(f"{folder}/{name}")

    def _put(self, path: str) -> None:
        """A file at its usual path in the jail; what cannot be read is left out."""
        place = self._root + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(path), place)
            elif stat.S_ISREG(found.st_mode) and not self._link(path, place, found):
                self._copy(path, place, found)

    def _link(self, path: str, place: str, found: os.stat_result) -> bool:
        harmless = found.st_uid == 0 and not found.st_mode & (stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID)
        if self._on_layers or not harmless:
            return False
        try:
            os.link(path, place)
        except FileExistsError:
            raise
        except OSError:  # another disk; too many links; or refused
            return False
        self._linked += 1
        return True

    def _copy(self, path: str, place: str, found: os.stat_result) -> None:
        self._bytes += found.st_size
        if self._bytes > ROOM_MB << 20 or shutil.disk_usage(self._root).free < found.st_size + (ROOM_MB << 20):
            raise OSError(errno.ENOSPC, f"a copy of Python needs {ROOM_MB} MB and as many free in {self._root}")
        shutil.copyfile(path, place)
        os.chmod(place, 0o755 if found.st_mode & stat.S_IXUSR else 0o644)
        os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))  # compiled files are valid for a source of that time
        self._copied += 1

    def _make_devices(self) -> None:
        """Devices of its own. Where that is refused the jail has none, and what writes to /dev/null gets an error."""
        os.makedirs(f"{self._root}/dev", exist_ok=True)
        for path in filter(os.path.exists, DEVICES):
            place = self._root + path
            with contextlib.suppress(OSError):
                os.mknod(place, stat.S_IFCHR | 0o666, os.stat(path).st_rdev)
                os.chmod(place, 0o666)  # mknod heeds the umask
                try:
                    os.close(os.open(place, os.O_RDONLY))
                except OSError:  # the disk has no devices (nodev)
                    os.unlink(place)


def _standard_library() -> set[str]:
    return {path for kind in ("stdlib", "platstdlib") if os.path.isdir(path := sysconfig.get_paths()[kind])}


def _packages() -> Iterator[str]:
    """Modules, packages, bundled libraries and metadata of `PACKAGES`, wherever they are installed."""
    wanted = set(PACKAGES.lower().split())
    for folder in filter(os.path.isdir, site_folders()):
        for name in os.listdir(folder):
            # numpy, numpy.libs, numpy-2.4.dist-info, six.py, _cffi.cpython-311.so
            if name.partition(".")[0].partition("-")[0].lower() in wanted:
                yield f"{folder}/{name}"


def _loaded_by(trees: Iterable[str]) -> list[str]:
    """The shared libraries that this process and the extension modules in these trees have loaded, found by loading them.

    In a fork, since a library may do anything when it is loaded; if that ends early, so does the list.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(ours)
            _load_all(trees)
            with open("/proc/self/maps") as file, open(theirs, "w") as answer:
                answer.write("\n".join({line.split(maxsplit=5)[5].strip() for line in file if ".so" in line}))
        os._exit(0)
    os.close(theirs)
    with open(ours) as answer:
        found = answer.read().split("\n")
    os.waitpid(pid, 0)
    return sorted(path for path in found if path.startswith("/"))


def _other_names(libraries: Collection[str]) -> Iterator[str]:
    """The paths by which the loader looks for them: by links beside them, and in folders that are links (/lib)."""
    folders = {os.path.dirname(path) for path in libraries} | {f"/usr/lib/{os.uname().machine}-linux-gnu"}
    for folder in filter(os.path.isdir, folders):
        for entry in os.scandir(folder):
            if os.path.realpath(entry.path) in libraries:
                yield entry.path
                for base in filter(os.path.islink, LIBRARIES):
                    if entry.path.startswith(f"{(real := os.path.realpath(base))}/"):
                        yield base + entry.path[len(real) :]


def _load_all(trees: Iterable[str]) -> None:
    for tree in trees:
        files = [tree] if os.path.isfile(tree) else (f"{at}/{name}" for at, _, names in _walk(tree) for name in names)
        for path in files:
            if path.endswith(".so"):
                with contextlib.suppress(OSError):
                    ctypes.CDLL(path)


def _walk(tree: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` without what is skipped."""
    for folder, inner, files in os.walk(tree):
        inner[:] = [name for name in inner if name not in _SKIPPED and not name.startswith("config-")]
        yield folder, inner, files


def _on_layers(folder: str) -> bool:
    """Whether Python or the folder lies on an overlay file system, as a container's root does."""
    devices = {os.stat(path).st_dev for path in (folder, sys.base_prefix, sysconfig.get_paths()["stdlib"])}
    with open("/proc/self/mountinfo") as file:
        for fields in map(str.split, file):
            major, minor = map(int, fields[2].split(":"))
            if os.makedev(major, minor) in devices and fields[fields.index("-") + 1] == "overlay":
                return True
    return False
