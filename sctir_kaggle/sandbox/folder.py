"""A child's private folder, seen from outside: how much is in it, and its removal whatever was done to it.

A file that was removed while it is open takes room that no folder shows: hence the look at the disk, which all share.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets

FILES = 1000
TOTAL_MB = 256
DISK_MB = 1024
"""By as much the disk may grow fuller while a block runs; and so much has to stay free, unless it was not before."""
_SLACK_MB = 16
_HIDDEN = (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)


def free_mb(folder: str) -> int:
    """The room on the disk of a child's folder; asked of the folder above, which outlives the child's."""
    try:
        disk = os.statvfs(os.path.dirname(folder))
    except OSError:  # the zygote has removed it, and its children with it
        return 0
    return disk.f_bavail * disk.f_frsize >> 20


def over_quota(folder: str, *, free_before: int) -> bool:
    """Whether a block has to be stopped: more than FILES files and folders, more than TOTAL_MB of them, some that
    cannot be looked at, or a disk that has grown too full since there were `free_before` MB."""
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
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:  # renamed or removed meanwhile
        return 0


def remove(folder: str) -> None:
    """Remove a folder with all that is in it: nested deeper than a path can say, unreadable, or both."""
    with contextlib.suppress(OSError):
        names = (f"{secrets.token_hex(8)}-{number}" for number in itertools.count())
        while inner := [entry.path for entry in os.scandir(folder) if not _unlinked(entry)]:
            for path in inner:
                for name in os.listdir(path):  # lift what it holds, so that no path grows long
                    _open_up(f"{path}/{name}")
                    os.rename(f"{path}/{name}", f"{folder}/{next(names)}")
                os.rmdir(path)
        os.rmdir(folder)


def _unlinked(entry: os.DirEntry[str]) -> bool:
    """Whether it was a file, and is gone; a folder is opened up instead."""
    if entry.is_dir(follow_symlinks=False):
        _open_up(entry.path)
        return False
    os.unlink(entry.path)
    return True


def _open_up(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
