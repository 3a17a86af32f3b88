"""The root folder of links and copies: what is linked, what is copied, and what is left out."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import jail
from sctir_kaggle.sandbox.folder import remove
from sctir_kaggle.sandbox.jail import Jail

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root of Linux makes it"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jail")
    Jail(str(folder))
    return folder


def test_it_has_the_standard_library_and_its_shared_libraries(root: Path) -> None:
    for module in (json, subprocess):
        assert (root / Path(module.__file__ or "").relative_to("/")).is_file()
    stdlib = root / sysconfig.get_path("stdlib").lstrip("/")
    assert not (stdlib / "test").exists()
    assert list(root.glob("**/libc.so.6"))


@pytest.mark.parametrize("packages", [[], ["six.py"]])
def test_any_folder_of_packages_can_be_listed_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: list[str]
) -> None:
    site, link = tmp_path / "site", tmp_path / "link"
    site.mkdir()
    link.symlink_to(site)
    for name in [*packages, "private.py"]:
        (site / name).touch()
    monkeypatch.setattr(jail, "site_folders", lambda: [str(link)])
    (tmp_path / "root").mkdir()
    Jail(str(tmp_path / "root"))
    inside = Path(f"{tmp_path}/root{site}")
    assert stat.S_IMODE(inside.stat().st_mode) == 0o755
    assert os.listdir(inside) == packages


def test_nothing_else_of_the_machine_is_in_it(root: Path) -> None:
    assert not list(root.glob("root/.ssh/*"))
    assert (root / "etc/passwd").read_bytes() == b""
    assert stat.S_IMODE((root / "etc/passwd").stat().st_mode) == 0
    assert {path.name for path in (root / "dev").iterdir()} <= {"null", "zero", "random", "urandom", "shm", "ptmx"}


def test_a_program_starts_and_imports_in_it(root: Path) -> None:
    code = "import os, sys; os.chroot(sys.argv[1]); os.chdir('/')\n"
    code += "import sqlite3, lzma, ctypes, wave; print(os.listdir('/home'))"
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_that_anyone_may_write_is_copied_and_not_linked(tmp_path: Path) -> None:
    sources = {"open": 0o666, "usual": 0o644, "setuid": 0o4755}
    for name, mode in sources.items():
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    made = object.__new__(Jail)
    made._root, made._on_layers, made._linked, made._copied, made._bytes = str(tmp_path / "root"), False, 0, 0, 0
    made._put_tree(str(tmp_path / "usual"))
    for name in ("open", "setuid"):
        made._put_tree(str(tmp_path / name))
    inode = {name: (tmp_path / name).stat().st_ino for name in sources}
    inside = {name: Path(f"{tmp_path}/root{tmp_path}/{name}").stat() for name in sources}
    assert inside["usual"].st_ino == inode["usual"]
    assert inside["open"].st_ino != inode["open"]
    assert inside["setuid"].st_ino != inode["setuid"]
    assert not inside["open"].st_mode & stat.S_IWOTH
    assert not inside["setuid"].st_mode & stat.S_ISUID


def test_without_room_for_the_copies_it_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "ROOM_MB", 1)
    monkeypatch.setattr(jail, "_on_layers", lambda _: True)
    with pytest.raises(OSError, match="a copy of Python needs 1 MB and as many free in "):
        Jail(str(tmp_path))


def test_copies_in_a_container_s_layers_leave_the_original_alone(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * jail.ROOM_MB << 20:
        pytest.skip(f"copies and what has to stay free take {2 * jail.ROOM_MB} MB")
    links = os.stat(json.__file__).st_nlink
    # In a Python of its own, as the zygote is: the libraries that other tests have loaded here would be copied, too.
    code = "import sys\nfrom sctir_kaggle.sandbox import jail\njail._on_layers = lambda _: True\n"
    code += "print(jail.Jail(sys.argv[1])._linked)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "0\n"
    assert os.stat(json.__file__).st_nlink == links
    copy = tmp_path / json.__file__.lstrip("/")
    assert copy.read_bytes() == Path(json.__file__).read_bytes()
    assert copy.stat().st_mtime_ns // 1000 == os.stat(json.__file__).st_mtime_ns // 1000


def test_removing_it_leaves_the_installation_alone(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    before = (os.stat(json.__file__).st_mode, Path(json.__file__).read_bytes())
    made = Jail(str(folder))
    made.remove()
    assert list(folder.iterdir()) == []
    Jail(str(folder))
    remove(str(folder))  # as where the zygote was killed
    assert not folder.exists()
    assert (os.stat(json.__file__).st_mode, Path(json.__file__).read_bytes()) == before
