"""A child's private folder, from outside: what it holds, and its removal whatever was done to it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets

FILES = 1000
"""Files and folders that a child may have at a time."""

TOTAL_MB = 256
"""MiB on disk that they may take together, deleted files that it still holds open included."""

# A folder that the host cannot look into: its permissions were taken away, or it is nested too deeply.
_HIDDEN = (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)


def free_mb(folder: str) -> int:
    """MiB that are free on the disk of a child's folder. Asks the parent folder, which outlives the child's own."""
    try:
        disk = os.statvfs(os.path.dirname(folder))
    except OSError:  # the zygote has removed it, and its children with it
        return 0
    return disk.f_bavail * disk.f_frsize >> 20


def size(folder: str) -> int | None:
    """Bytes on disk of what lies in the folder; None where that is more than FILES, or cannot be inspected."""
    left, total, folders = FILES, 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return None
                    total += _size(entry)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            if error.errno in _HIDDEN:
                return None
    return total


def _size(entry: os.DirEntry[str]) -> int:
    """Bytes on disk, so that a sparse file counts for what it takes."""
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:  # renamed or removed meanwhile
        return 0


def remove(folder: str) -> None:
    """Remove a folder with its contents, even where they are unreadable or nested deeper than a path can be long."""
    with contextlib.suppress(OSError):
        names = (f"{secrets.token_hex(8)}-{number}" for number in itertools.count())
        while inner := [entry.path for entry in os.scandir(folder) if not _unlinked(entry)]:
            for path in inner:
                # shutil.rmtree fails beyond PATH_MAX: move what is nested up to the top, level by level.
                for name in os.listdir(path):
                    _open_up(f"{path}/{name}")
                    os.rename(f"{path}/{name}", f"{folder}/{next(names)}")
                os.rmdir(path)
        os.rmdir(folder)


def _unlinked(entry: os.DirEntry[str]) -> bool:
    """Delete a file and return True; make a folder accessible and return False."""
    if entry.is_dir(follow_symlinks=False):
        _open_up(entry.path)
        return False
    os.unlink(entry.path)
    return True


def _open_up(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
