"""What an engine needs is installed from the attached wheels, in an environment of the test's own, without an index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.kaggle.bundle import CHECKOUT
from sctir_kaggle.kaggle.install import attach as attach_all
from tests.kaggle.test_bundle import fresh_environment
from tests.support.wheel_support import python_of, required, wheel

if find_spec("vllm") is not None:
    pytest.skip("vLLM is installed here: nothing is missing", allow_module_level=True)


def attach(folder: Path, name: str, *requires: str, version: str = "1.0") -> None:
    """A wheel, as a data set would hold it."""
    wheel(folder, name, *requires, version=version)


def hold(folder: Path, name: str, version: str) -> Path:
    """A distribution of the image, in the environment that `install` makes; the folder of its metadata."""
    [packages] = fresh_environment(folder / "environment").glob("lib/python*/site-packages")
    info = packages / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    (packages / f"{name}.py").write_text(f"VERSION = {version!r}\n")
    return info


def install(folder: Path, engine: str, then: str = "", first: str = "") -> subprocess.CompletedProcess[str]:
    """`install_missing(engine)` with `folder`/input attached, in a fresh environment."""
    place = folder / "environment"
    python = (place if place.exists() else fresh_environment(place)) / "bin" / "python"
    program = (
        f"{first}; " * bool(first)
        + f"from sctir_kaggle.kaggle.install import install_missing; print(install_missing({engine!r})); {then}"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "SCTIR_KAGGLE_INPUT": str(folder / "input")}
    return subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.slow
def test_what_is_missing_is_installed_with_what_it_needs_and_can_be_imported_at_once(tmp_path: Path) -> None:
    attach(tmp_path / "input/wheelhouse/part-1", "vllm", "sctir_test_dependency")
    attach(tmp_path / "input/wheelhouse/part-2", "sctir_test_dependency")
    done = install(tmp_path, "vllm", "import vllm, sctir_test_dependency")
    assert (done.stdout.strip(), done.returncode) == ("['vllm']", 0), done.stderr


def test_nothing_is_looked_for_where_all_is_there(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs an engine's libraries: the extra `cpu`")
    done = install(tmp_path, "transformers")
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_without_wheels_the_error_says_where_they_were_looked_for(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    done = install(tmp_path, "vllm")
    assert "NotFound: no wheels" in done.stderr
    assert str(tmp_path / "input") in done.stderr


def test_wheels_that_are_not_complete_are_named_with_what_lacks(tmp_path: Path) -> None:
    attach(tmp_path / "input/wheelhouse", "vllm", "sctir_test_absent")
    last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
    assert "sctir_test_absent" in last
    assert "sctir wheels" in last


def test_the_torch_of_the_image_is_never_replaced_and_pip_is_not_even_asked(tmp_path: Path) -> None:
    attach(tmp_path / "input/house", "vllm", "torch==2.10.0", "sctir_test_dependency")
    attach(tmp_path / "input/house", "torch", version="2.10.0")
    attach(tmp_path / "input/house", "sctir_test_dependency")
    info = hold(tmp_path, "torch", "2.11.0")
    last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
    assert "the wheels would replace torch 2.11.0 of this image" in last
    assert "sctir wheels --image image.txt" in last
    assert info.is_dir()
    assert not list(info.parent.glob("sctir_test_dependency*"))


def test_wheels_for_the_image_before_are_named_with_both_versions(tmp_path: Path) -> None:
    attach(tmp_path / "input/house", "vllm", "torch==2.10.0")
    hold(tmp_path, "torch", "2.11.0")
    last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
    assert "torch==2.10.0 (for vllm-1.0-py3-none-any.whl; the image has 2.11.0)" in last


@pytest.mark.slow
def test_what_is_imported_is_not_replaced_and_what_is_not_is(tmp_path: Path) -> None:
    attach(tmp_path / "input/house", "vllm", "sctir_test_held>=2")
    attach(tmp_path / "input/house", "sctir_test_held", version="2.0")
    hold(tmp_path, "sctir_test_held", "1.0")
    last = install(tmp_path, "vllm", first="import sctir_test_held").stderr.strip().splitlines()[-1]
    assert "would replace sctir-test-held 1.0, which is imported already: restart the kernel" in last
    done = install(tmp_path, "vllm", "import sctir_test_held; print(sctir_test_held.VERSION)")
    assert done.stdout.split() == ["['vllm']", "2.0"], done.stderr


@pytest.mark.slow
def test_an_image_that_has_moved_on_keeps_what_fits(tmp_path: Path) -> None:
    attach(tmp_path / "input/house", "vllm", "sctir_test_held>=1")
    attach(tmp_path / "input/house", "sctir_test_held", version="1.0")
    hold(tmp_path, "sctir_test_held", "1.5")
    done = install(tmp_path, "vllm", "import sctir_test_held; print(sctir_test_held.VERSION)")
    assert done.stdout.split() == ["['vllm']", "1.5"], done.stderr


def locked(folder: Path, python: str) -> None:
    """A lock without wheels beside the others."""
    head = f"# python: {python}\n# image: none\n# ship: \n# of: 0\n"
    (folder / "requirements.lock").write_text(head)


def test_wheels_for_another_python_are_refused_by_both_versions_and_in_a_rerun_they_are_a_fault(tmp_path: Path) -> None:
    attach(tmp_path / "input/house", "vllm")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = "3.12" if here != "3.12" else "3.13"
    locked(tmp_path / "input/house", other)
    last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
    assert (
        f"the wheels are for Python {other}, and this is Python {here}: make them for it, sctir wheels --python {here}"
        in last
    )
    found = attach_all("vllm", rerun=True, roots=[tmp_path / "input"])
    assert found.installed == []
    assert f"the wheels are for Python {other}, and this is Python {here}" in found.faults[0]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if find_spec("uv") is None and shutil.which("uv") is None:
        pytest.skip("uv is not installed: it comes with the extra `kaggle`")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def fresh(folder: Path, python: str) -> Path:
    """An environment of that Python, with its own pip and what the image has in any case: packaging."""
    import packaging

    subprocess.run([python, "-m", "venv", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "packaging").symlink_to(Path(packaging.__file__).parent)
    return folder / "bin" / "python"


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_the_wheels_of_a_python_are_installed_by_that_python_and_by_no_other(
    index: Path, tmp_path: Path, version: str
) -> None:
    pytest.importorskip("packaging", reason="comes with the extra `kaggle`")
    python = python_of(version)
    if not python:
        pytest.skip(f"there is no Python {version} on this machine")
    tag = f"cp{version.replace('.', '')}"
    wheel(index, "vllm", "sctir_test_held==2.0", "sctir_test_kept>=1", "sctir_test_old; python_version < '3.11'")
    wheel(index, "sctir_test_held", version="2.0", tags=f"{tag}-{tag}-manylinux_2_17_x86_64", python=f"=={version}.*")
    wheel(index, "sctir_test_kept", version="3.0")
    wheel(index, "sctir_test_old")
    image = tmp_path / "freeze.txt"
    image.write_text(f"# python: {version}\nsctir-test-kept==1.0\n")
    required(tmp_path, "vllm")
    arguments = ["--requirements", str(tmp_path / "requirements.txt"), "--image", str(image)]
    assert main(["wheels", *arguments, "--output", str(tmp_path / "input")]) == 0
    there = fresh(tmp_path / "there", python)
    subprocess.run([there, "-m", "pip", "install", "-q", index / "sctir_test_kept-3.0-py3-none-any.whl"], check=True)
    program = (
        "import json; from importlib.metadata import version\n"
        "from sctir_kaggle.kaggle.install import install_missing\n"
        "print(json.dumps([install_missing('vllm'), version('sctir_test_held'), version('sctir_test_kept')]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "SCTIR_KAGGLE_INPUT": str(tmp_path / "input")}
    done = subprocess.run([there, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["vllm"], "2.0", "3.0"]
    if sys.version_info[:2] != tuple(map(int, version.split("."))):
        last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
        assert f"the wheels are for Python {version}, and this is Python 3." in last


def test_a_wheel_that_is_not_the_locks_is_refused_by_its_hash(index: Path, tmp_path: Path) -> None:
    pytest.importorskip("packaging", reason="comes with the extra `kaggle`")
    wheel(index, "vllm")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    arguments = ["--requirements", str(required(tmp_path, "vllm")), "--image", "none", "--python", here]
    assert main(["wheels", *arguments, "--output", str(tmp_path / "input")]) == 0
    wheel(tmp_path / "input" / "sctir-wheels", "vllm", padding=1)
    last = install(tmp_path, "vllm").stderr.strip().splitlines()[-1]
    assert "HASH" in last.upper()
    assert "pip cannot install" in last
