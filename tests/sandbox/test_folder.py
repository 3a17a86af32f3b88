"""The private folder: its quota as the host sees it, and its removal whatever is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox, folder, watch
from sctir_kaggle.sandbox.outcome import DISK_FULL, FOLDER_FULL
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import CODE_SECONDS, Candidate
from tests.support.patience import PATIENCE


def test_an_ordinary_folder_has_a_size(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).write_bytes(bytes(5000))
    size = folder.size(str(tmp_path))
    assert size is not None
    assert 500_000 <= size < 1_000_000


def test_too_many_files_have_none_wherever_they_lie(tmp_path: Path) -> None:
    for number in range(folder.FILES // 2 + 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").touch()
    assert folder.size(str(tmp_path)) is None


def test_a_hole_in_a_file_takes_no_room(tmp_path: Path) -> None:
    os.truncate(os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY), folder.TOTAL_MB << 21)
    size = folder.size(str(tmp_path))
    assert size is not None
    assert size < 1 << 20


def test_a_folder_that_is_gone_takes_nothing(tmp_path: Path) -> None:
    assert folder.size(str(tmp_path / "gone")) == 0


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


@pytest.fixture(scope="module")
def patient_sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, code_seconds=PATIENCE) as sandbox:
        yield sandbox


@pytest.fixture
def patient(patient_sandbox: Sandbox) -> Iterator[Candidate]:
    """A candidate whose blocks have the time to come to their point on a busy machine."""
    candidate = Candidate(patient_sandbox, "problem/0")
    yield candidate
    patient_sandbox.release(candidate.candidate_id)


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
def test_a_block_that_fills_the_disk_is_stopped(patient: Candidate, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TOTAL_MB", 16)
    result = patient(code)
    assert (result.output, result.status) == (FOLDER_FULL, ExecutionStatus.OUTPUT_LIMIT)


HELD = """
import ctypes, os
libc = ctypes.CDLL(None)
kept = globals().get('kept', [])
for _ in range({files}):
    f = os.open('f', os.O_CREAT | os.O_RDWR)
    os.unlink('f')
    os.write(f, bytes({mb} << 20))
    {keep}
"""
MAPPED = "kept.append(libc.mmap(None, ctypes.c_size_t(4096), 1, 2, f, ctypes.c_long(0))); os.close(f)"


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["kept.append(f)", MAPPED], ids=["open", "mapped"])
def test_deleted_files_count_as_long_as_they_are_held(
    patient: Candidate, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr(watch, "TOTAL_MB", 32)
    sibling = Candidate(patient.sandbox, "sibling/0")
    sibling("x = 7")
    result = patient(HELD.format(files=9, mb=5, keep=keep) + "__import__('time').sleep(1)")
    assert result.status is ExecutionStatus.OUTPUT_LIMIT
    assert result.output.endswith(FOLDER_FULL)
    assert sibling("x").output == "7\n"


@pytest.mark.slow
def test_deleted_files_are_added_up_over_the_turns(patient: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TOTAL_MB", 64)
    results = [patient(HELD.format(files=5, mb=5, keep="kept.append(f)")) for _ in range(3)]
    assert [result.status.value for result in results] == ["ok", "ok", "output_limit"]


@pytest.mark.slow
def test_deleted_files_that_are_no_longer_held_count_nothing(
    patient: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "TOTAL_MB", 32)
    for _ in range(3):
        assert patient(HELD.format(files=9, mb=5, keep="os.close(f)")).status is ExecutionStatus.OK


def test_what_others_write_to_the_disk_ends_no_block(
    run: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "DISK_MB", 1 << 40)  # as if they had filled it
    assert run("x = 7\nopen('mine', 'wb').write(bytes(4 << 20))").status is ExecutionStatus.OK
    with ThreadPoolExecutor(1) as pool:
        block = pool.submit(run, "import time\ntime.sleep(0.6)\nprint(x)")
        (tmp_path / "download").write_bytes(bytes(50 << 20))
        assert block.result().output == "7\n"


def test_a_full_disk_stops_what_writes_and_not_what_computes(run: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "DISK_MB", 1 << 40)
    assert run("import time\ntime.sleep(0.3)\n1 + 1").output == "2\n"
    result = run("f = open('f', 'wb')\nfor _ in range(50): f.write(bytes(1 << 20))\nf.flush()")
    assert (result.output, result.status) == (DISK_FULL, ExecutionStatus.OUTPUT_LIMIT)


def test_room_cannot_be_taken_beyond_the_limit_on_a_file(run: Candidate) -> None:
    code = "import os\nf = open('f', 'wb')\nos.posix_fallocate(f.fileno(), 0, 600 << 20)"
    result = run.within(CODE_SECONDS, code)
    assert result.status in (ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT)


def test_a_file_over_its_limit_is_an_error_with_the_reason(run: Candidate) -> None:
    result = run("with open('big', 'wb') as f:\n    for _ in range(70): f.write(bytes(1 << 20))")
    assert result.status is ExecutionStatus.ERROR
    assert "OSError: [Errno 27] File too large\nNote: a file can have at most 64 MB here.\n" in result.output
