"""What an engine needs is installed from the attached wheels, in an environment of the test's own, without an index."""

from __future__ import annotations

import os
import subprocess
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from sctir_kaggle.kaggle.bundle import CHECKOUT
from tests.test_bundle import fresh_environment

if find_spec("vllm") is not None:
    pytest.skip("vLLM is installed here: nothing is missing", allow_module_level=True)


def attach(folder: Path, name: str, *requires: str) -> None:
    """A wheel of an empty module, as a data set would hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + "".join(
        f"Requires-Dist: {r}\n" for r in requires
    )
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def install(folder: Path, engine: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """`install_missing(engine)` with `folder`/input attached, in a fresh environment."""
    python = fresh_environment(folder / "environment") / "bin" / "python"
    program = f"from sctir_kaggle.kaggle.install import install_missing; print(install_missing({engine!r})); {then}"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "SCTIR_KAGGLE_INPUT": str(folder / "input")}
    return subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=folder, env=environment)


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
