"""The private folder: its quota as the host sees it, and its removal whatever is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import folder
from sctir_kaggle.sandbox.executor import FOLDER_FULL
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate


def over_quota(path: Path) -> bool:
    return folder.over_quota(str(path), free_before=folder.free_mb(str(path)))


def test_an_ordinary_folder_is_within_the_quota(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_text("x" * 1000)
    assert not over_quota(tmp_path)


def test_too_many_files_are_over_it_wherever_they_lie(tmp_path: Path) -> None:
    for number in range(folder.FILES // 2 + 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").touch()
    assert over_quota(tmp_path)


def test_too_many_bytes_are_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "TOTAL_MB", 1)
    (tmp_path / "file").write_bytes(bytes(500_000))
    assert not over_quota(tmp_path)
    (tmp_path / "other").write_bytes(bytes(600_000))
    assert over_quota(tmp_path)


def test_a_hole_in_a_file_takes_no_room(tmp_path: Path) -> None:
    os.truncate(os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY), folder.TOTAL_MB << 21)
    assert not over_quota(tmp_path)


def test_a_folder_that_is_gone_is_within_it(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    free = folder.free_mb(str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    assert not folder.over_quota(str(tmp_path / "gone"), free_before=free)


def test_a_folder_nested_deeper_than_a_path_can_say_is_removed(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        os.mkdir("top")
        os.chdir("top")
        for _ in range(3000):
            os.mkdir("deeper")
            os.chdir("deeper")
        open("file", "w").close()
    finally:
        os.chdir(here)
    folder.remove(str(tmp_path / "top"))
    assert not list(tmp_path.iterdir())


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to(target)
    folder.remove(str(tmp_path / "top"))
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "kept"]


def test_a_folder_without_permissions_is_removed(tmp_path: Path) -> None:
    (tmp_path / "top" / "shut" / "inner").mkdir(parents=True)
    (tmp_path / "top" / "shut").chmod(0)
    folder.remove(str(tmp_path / "top"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "for i in range(5000): open(str(i), 'w').close()",
        "import os\nfor i in range(1200):\n    os.mkdir('d')\n    os.chdir('d')",
        "for i in range(9):\n    with open(str(i), 'wb') as f: f.write(bytes(4 << 20))\n__import__('time').sleep(0.5)",
        "import os, time\nos.mkdir('shut', 0)\nfor i in range(1200): os.mkdir(f'{i}', 0)\ntime.sleep(0.5)",
    ],
    ids=["files", "depth", "bytes", "shut folders"],
)
def test_a_block_that_fills_the_disk_is_stopped(run: Candidate, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "TOTAL_MB", 16)
    result = run(code)
    assert (result.output, result.status) == (FOLDER_FULL, ExecutionStatus.OUTPUT_LIMIT)


def test_removed_files_that_are_still_open_count_by_the_room_on_the_disk(
    run: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "DISK_MB", 32)
    code = """
import os
kept = []
for _ in range(4):
    kept.append(os.open('f', os.O_CREAT | os.O_RDWR))
    os.unlink('f')
    os.write(kept[-1], bytes(30 << 20))
    os.fsync(kept[-1])
"""
    assert run(code).output == FOLDER_FULL


def test_a_full_disk_stops_what_writes_and_not_what_computes(run: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "DISK_MB", 1 << 40)
    assert run("import time\ntime.sleep(0.3)\n1 + 1").output == "2\n"
    assert run("f = open('f', 'wb')\nfor _ in range(50): f.write(bytes(1 << 20))\nf.flush()").output == FOLDER_FULL


def test_room_cannot_be_taken_beyond_the_limit_on_a_file(run: Candidate) -> None:
    code = "import os\nf = open('f', 'wb')\nos.posix_fallocate(f.fileno(), 0, 600 << 20)"
    result = run(code)
    assert result.status in (ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT)


def test_a_file_over_its_limit_is_an_error_with_the_reason(run: Candidate) -> None:
    result = run("with open('big', 'wb') as f:\n    for _ in range(70): f.write(bytes(1 << 20))")
    assert result.status is ExecutionStatus.ERROR
    assert "OSError: [Errno 27] File too large\nNote: a file can have at most 64 MB here.\n" in result.output
