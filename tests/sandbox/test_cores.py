"""The default number of workers: what this process may use, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.cores import usable_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity masks are Linux's")


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_affinity_mask_counts() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
        sandbox = Sandbox()
        assert sandbox.workers == 1
        sandbox.close()
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/docker/not/here\n", {"cpu.max": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 8),
        ("5:memory:/x\n", {"cpu.max": "100000 100000"}, 8),
        ("nonsense\n", {"cpu.max": "garbage"}, 8),
        ("", {}, 8),
    ],
)
def test_the_quota_of_the_cgroup_counts_and_that_of_those_above(
    tmp_path: Path, membership: str, files: dict[str, str], cores: int
) -> None:
    write(tmp_path / "cgroup", membership)
    for name, text in files.items():
        write(tmp_path / "root" / name, text + "\n")
    assert usable_cores(membership=str(tmp_path / "cgroup"), root=tmp_path / "root") == cores
