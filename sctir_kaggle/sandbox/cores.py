"""The number of cores that this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(*, membership: str = "/proc/self/cgroup", root: Path = CGROUPS) -> int:
    """The cores of this process's affinity mask, or of its cgroup's quota where that is less; at least 1.

    `os.cpu_count` knows neither: on a machine of 64 cores it says 64 in a container that may use 4.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(membership, root))]))


def _quotas(membership: str, root: Path) -> Iterator[float]:
    """The quotas in cores of this process's cgroups and those above them, whose quotas hold as well.

    In a container the path in `membership` may be the machine's, which is not there: `root` is the container's own then.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path(membership).read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                for folder in _upwards(root, path):
                    yield from _quota(folder / "cpu.max")
            elif "cpu" in controllers.split(","):
                for folder in _upwards(root / "cpu", path):
                    yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _upwards(root: Path, path: str) -> Iterator[Path]:
    below = root / path.strip("/")
    yield from (folder for folder in (below, *below.parents) if folder == root or root in folder.parents)


def _quota(*files: Path) -> Iterator[float]:
    """Microseconds of CPU time by those of a period, nothing where there is no quota ("max" or -1)."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = " ".join(file.read_text().strip() for file in files).split()
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
