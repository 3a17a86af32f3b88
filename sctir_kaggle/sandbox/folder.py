"""A child's private folder, from outside: check its quota, and remove it whatever was done to it.

A file that was deleted while it is open takes space that no folder shows; so the free space of the disk is checked as
well, although all children share it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets

FILES = 1000
"""Files and folders that a child may have at a time."""

TOTAL_MB = 256
"""MiB on disk that they may take together."""

DISK_MB = 1024
"""MiB by which the disk may fill up while a block runs. As much has to stay free, unless it was not free before."""

_SLACK_MB = 16
"""On a disk that is nearly full, a block is stopped only where the disk has filled up by more than this meanwhile."""

# A folder that the host cannot look into: its permissions were taken away, or it is nested too deeply.
_HIDDEN = (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)


def free_mb(folder: str) -> int:
    """MiB that are free on the disk of a child's folder. Asks the parent folder, which outlives the child's own."""
    try:
        disk = os.statvfs(os.path.dirname(folder))
    except OSError:  # the zygote has removed it, and its children with it
        return 0
    return disk.f_bavail * disk.f_frsize >> 20


def over_quota(folder: str, *, free_before: int) -> bool:
    """Whether a block has to be stopped: its folder is over FILES or TOTAL_MB or cannot be inspected, or the disk has
    filled up too much since `free_before` MiB were free."""
    free = free_mb(folder)
    taken = free_before - free
    return _is_full(folder) or taken > DISK_MB or (free < DISK_MB and taken > _SLACK_MB)


def _is_full(folder: str) -> bool:
    left, room, folders = FILES, TOTAL_MB << 20, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    room -= _size(entry)
                    if left < 0 or room < 0:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            if error.errno in _HIDDEN:
                return True
    return False


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
