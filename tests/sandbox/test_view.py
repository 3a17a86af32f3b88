"""The view of files in place of Landlock: what it shows, what it hides, and that Python's own files stay as they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.view import lay_out, put_up_closed_doors
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate, eventually
from tests.support.patience import PATIENCE

linux = pytest.mark.skipif(sys.platform != "linux", reason="chroot and mounts are Linux's")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One that does without Landlock, which makes the view necessary."""
    with Sandbox(workers=2, code_seconds=PATIENCE, memory_mb=512, without=["landlock"]) as sandbox:
        if not next(layer for layer in sandbox.layers() if layer.name == "view").active:
            pytest.skip("this machine allows no view of files")
        yield sandbox


def test_links_on_the_way_are_made_and_what_lies_below_another_is_left_out(tmp_path: Path) -> None:
    machine, root = tmp_path / "machine", tmp_path / "root"
    (machine / "usr/lib/python").mkdir(parents=True)
    (machine / "lib").symlink_to("usr/lib")
    (machine / "opt").symlink_to(machine / "lib")
    root.mkdir()
    paths = [machine / "opt/python", machine / "lib", machine / "missing"]
    assert lay_out(str(root), map(str, paths)) == [f"{machine}/usr/lib"]
    assert os.readlink(f"{root}{machine}/lib") == "usr/lib"
    assert os.readlink(f"{root}{machine}/opt") == f"{machine}/lib"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert lay_out(str(tmp_path / "root"), [str(tmp_path / "a/lib")]) == []


def test_what_is_left_out_is_closed_even_for_its_owner(tmp_path: Path) -> None:
    for name in ("usr", "dev", "etc"):  # as in a view; an ordinary user can put nothing behind a door that is closed
        (tmp_path / name).mkdir()
    put_up_closed_doors(str(tmp_path))
    assert (tmp_path / "usr").stat().st_mode & 0o777
    assert not (tmp_path / "etc" / "passwd").exists() or not (tmp_path / "etc" / "passwd").stat().st_mode & 0o777
    assert {entry.name for entry in os.scandir("/") if entry.is_dir(follow_symlinks=False)} <= set(os.listdir(tmp_path))
    assert not (tmp_path / "proc").stat().st_mode & 0o777


@linux
@pytest.mark.slow
def test_a_file_of_the_machine_is_refused_as_by_landlock(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "input.csv").write_text("hunter2")
    tmp_path.chmod(0o777)
    # Where Python itself lies below /tmp, the way there is shown, and what is beside it does not exist.
    assert Candidate(sandbox, "input")(f"open({str(tmp_path / 'input.csv')!r})").status is ExecutionStatus.ERROR
    for code in ("open('/etc/passwd')", "open('/proc/self/environ')", "open('/sys/kernel/notes', 'rb')"):
        result = Candidate(sandbox, code)(code)
        assert result.status is ExecutionStatus.ERROR
        assert "PermissionError" in result.output
        assert "only the working folder can be written here" in result.output


@linux
@pytest.mark.slow
def test_the_folder_is_private_and_the_host_sees_it(sandbox: Sandbox) -> None:
    one, other = Candidate(sandbox, "one"), Candidate(sandbox, "other")
    one("open('note', 'w').write('x')")
    other("1")
    # Wherever it lies in the view: the host checks the quota of this folder from outside.
    found = list(Path(sandbox._zygote._folder).glob("*/note"))  # type: ignore[union-attr]
    assert [path.read_text() for path in found] == ["x"]
    number = found[0].parent.name
    assert "Error" in other(f"import os\nos.listdir('../{number}')").output
    assert "Error" in other(f"open('../{number}/note')").output


@linux
@pytest.mark.slow
def test_python_s_own_files_are_the_same_afterwards(sandbox: Sandbox) -> None:
    import json

    path = Path(json.__file__)
    before = (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_uid)
    code = """
import json, os
for act in (lambda p: open(p, 'r+b'), lambda p: os.chmod(p, 0o777), lambda p: os.link(p, 'mine'), os.unlink,
            lambda p: os.utime(p, (1, 1)), lambda p: os.truncate(p, 0), lambda p: os.rename(p, 'mine')):
    try: act(json.__file__); print('done')
    except OSError: print('refused')"""
    assert Candidate(sandbox, "installation")(code).output == "refused\n" * 7
    assert before == (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_uid)


@linux
@pytest.mark.slow
def test_a_child_that_stays_root_has_no_capability_to_leave_the_view_with() -> None:
    code = """
import ctypes
data = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)
list(data)"""
    with Sandbox(workers=1, without=["landlock", "user"]) as sandbox:
        if not next(layer for layer in sandbox.layers() if layer.name == "view").active:
            pytest.skip("this machine allows no view of files to root")
        assert Candidate(sandbox, "root")(code).output == "[0, 0, 0, 0, 0, 0]\n"


@linux
@pytest.mark.slow
def test_closing_leaves_neither_folder_nor_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mounts = Path("/proc/self/mounts").read_text()
    with Sandbox(workers=1, without=["landlock"]) as sandbox:
        Candidate(sandbox, "one")("1")
        assert Path("/proc/self/mounts").read_text() == mounts
    assert eventually(lambda: not list(tmp_path.iterdir()))
