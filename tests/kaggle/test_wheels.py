"""The wheelhouse for Kaggle's image: what it lacks and no more, whole, and when it is not, what is missing is named.

The wheels are made here, and an index is a folder of them or a server on loopback: no network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.kaggle.staging import DATASET_FILES
from sctir_kaggle.kaggle.wheels import build, wheelhouse
from sctir_kaggle.kaggle.wheels import image as images
from sctir_kaggle.kaggle.wheels.image import Image, image_of
from sctir_kaggle.kaggle.wheels.requirements import Wheel, find_lock, for_the_notebook
from sctir_kaggle.types import UserError
from tests.support.wheel_support import Index, required, served, wheel

pytest.importorskip("packaging", reason="comes with the extra `kaggle`")

ROOT = Path(__file__).parents[2]

OTHER = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
"""A Python that is not the one that runs: as at home, where the image has another one."""

uv = pytest.mark.skipif(
    find_spec("uv") is None and shutil.which("uv") is None,
    reason="uv is not installed: it comes with the extra `kaggle`",
)

Run = Callable[..., list[Path]]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip, and so `sctir wheels`, is configured to take instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`sctir wheels` for these lines; the dataset folders that it made."""

    def run(*lines: str, image: Sequence[str] | str = (), expect: int = 0, options: Sequence[str] = ()) -> list[Path]:
        named = image if isinstance(image, str) else str(frozen(tmp_path, *image)) if image else "none"
        output = tmp_path / "out"
        arguments = ["wheels", "--requirements", str(required(tmp_path, *lines)), "--output", str(output)]
        assert main([*arguments, "--image", named, *options]) == expect
        return sorted(output.glob("sctir-wheels*"))

    return run


def frozen(folder: Path, *lines: str) -> Path:
    path = folder / "freeze.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def names(folders: Sequence[Path]) -> set[str]:
    return {"-".join(path.name.split("-")[:2]) for folder in folders for path in folder.glob("*.whl")}


def lacking(folder: Path, lines: Sequence[str], python: str = "3.12") -> list[str]:
    return [str(lack) for lack in wheelhouse.plan([folder], lines, Image("none", python)).lacking]


@uv
def test_what_is_made_is_flat_a_dataset_and_pip_can_read_its_lock(index: Path, run: Run) -> None:
    wheel(index, "sctir_a", "sctir_b")
    wheel(index, "sctir_b")
    [part] = run("sctir_a")
    assert names([part]) == {"sctir_a-1.0", "sctir_b-1.0"}
    assert not [path for path in part.iterdir() if path.is_dir()]
    document = json.loads((part / "dataset-metadata.json").read_text())
    assert document["id"] == "INSERT_OWNER/sctir-wheels"
    assert 6 <= len(document["title"]) <= 50
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-index", "--require-hashes"]
    subprocess.run(
        [*pip, "--find-links", part, "-d", part.parent / "again", "-r", part / "requirements.lock"], check=True
    )


@uv
def test_what_the_image_has_is_left_out(index: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    wheel(index, "sctir_server", "torch==2.10.0", "sctir_small", "sctir_there>=1")
    wheel(index, "torch", "nvidia-cublas-cu12==12.8.4.1", version="2.10.0")
    wheel(index, "sctir_small")
    wheel(index, "sctir_there", version="2.0")
    folders = run("sctir_server", image=["torch==2.10.0+cu128", "sctir-there==1.5"])
    assert names(folders) == {"sctir_server-1.0", "sctir_small-1.0"}
    assert "2 that are needed are on the image" in caplog.text


@uv
def test_a_wheel_that_refuses_the_python_that_runs_is_no_failure(index: Path, run: Run) -> None:
    """pip 23.2.1 judges Requires-Python by its own Python: `sctir wheels` ended so after 5.2 GB (networkx 3.7)."""
    wheel(index, "sctir_top", "sctir_new")
    wheel(index, "sctir_new", python=f"=={OTHER}.*")
    folders = run("sctir_top", options=["--python", OTHER])
    assert names(folders) == {"sctir_top-1.0", "sctir_new-1.0"}
    assert main(["wheels", "--check", str(folders[0].parent)]) == 0


@uv
@pytest.mark.parametrize("python", images.PYTHONS)
def test_what_stays_at_home_is_not_asked_of_the_image(index: Path, run: Run, python: str) -> None:
    """The upload client wants Python 3.11: with it among the notebook's requirements, 3.10 had no wheels."""
    wheel(index, "sctir_engine")
    wheel(index, "sctir_client", python=">=3.14")
    assert names(run("sctir_engine", "sctir_client==1.0  # at home", options=["--python", python])) == {
        "sctir_engine-1.0"
    }


def test_the_clients_of_this_project_stay_at_home_and_the_rest_does_not() -> None:
    named = {re.split("[<>=]", line)[0] for line in for_the_notebook(ROOT / "requirements.txt")}
    assert named == {"vllm", "transformers", "sympy", "numpy", "pandas", "rich"}


@uv
def test_a_torch_that_is_not_the_images_is_said_with_both_versions_and_what_to_do(
    index: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(index, "sctir_server", "torch==2.10.0", version="1.0")
    wheel(index, "sctir_server", "torch==2.11.0", version="2.0")
    wheel(index, "torch", version="2.10.0")
    run("sctir_server==1.0", image=["torch==2.11.0+cu128"], expect=2)
    said = capsys.readouterr().err
    assert "sctir-server 1.0 wants torch 2.10.0, and " in said
    assert "has 2.11.0+cu128: take one that fits (--pin sctir-server==2.0), or ship torch (--ship torch, " in said
    assert names(run("sctir_server==1.0", image=["torch==2.11.0"], options=["--pin", "sctir-server==2.0"])) == {
        "sctir_server-2.0"
    }


@uv
def test_torch_can_be_shipped_on_purpose(index: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    wheel(index, "sctir_server", "torch==2.10.0")
    wheel(index, "torch", "triton==3.6.0", version="2.10.0")
    wheel(index, "triton", version="3.6.0")
    folders = run("sctir_server", image=["torch==2.11.0+cu128", "triton==3.6.0"], options=["--ship", "torch"])
    assert names(folders) == {"sctir_server-1.0", "torch-2.10.0", "triton-3.6.0"}
    lock = find_lock(folders)
    assert lock is not None
    assert list(lock.ship) == ["torch"]
    assert "replaced on the image: torch 2.11.0+cu128 by 2.10.0" in caplog.text


@uv
@pytest.mark.parametrize(("there", "shipped"), [("5.9", set()), ("5.0", {"sctir_transformers-4.57"})])
def test_of_a_pinned_package_the_images_version_is_kept_where_it_will_do(
    index: Path, run: Run, there: str, shipped: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    wheel(index, "sctir_server", "sctir_transformers!=5.0,>=4.56")
    for version in ("4.57", "5.9", "6.1"):
        wheel(index, "sctir_transformers", version=version)
    folders = run("sctir_server", "sctir_transformers==4.57", image=[f"sctir-transformers=={there}"])
    assert names(folders) == {"sctir_server-1.0"} | shipped
    assert ("replaced on the image: sctir-transformers 5.0 by 4.57" in caplog.text) == bool(shipped)


@uv
def test_nothing_of_the_image_is_replaced_that_an_older_version_of_something_else_spares(index: Path, run: Run) -> None:
    wheel(index, "sctir_server", "sctir_metrics")
    wheel(index, "sctir_metrics", "sctir_web>=1", version="8.0")
    wheel(index, "sctir_metrics", "sctir_web<1", version="7.0")
    wheel(index, "sctir_web", version="1.0")
    assert names(run("sctir_server", image=["sctir-web==0.5"])) == {"sctir_server-1.0", "sctir_metrics-7.0"}


@uv
def test_what_would_be_downloaded_is_said_with_its_size_and_nothing_is_written(
    index: Path, run: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    size = wheel(index, "sctir_a", "sctir_b", padding=2_000_000).stat().st_size
    wheel(index, "sctir_b")
    with caplog.at_level("INFO", logger="sctir_kaggle"):
        assert run("sctir_a", options=["--dry-run"]) == []
    assert "resolving 1 requirements for Python 3.12" in caplog.text
    assert "choosing among the wheels of 2 distributions" in caplog.text
    said = capsys.readouterr().out
    assert f"2 wheels, {size / 1e6:,.1f} MB, for Python 3.12" in said
    first, second = said.split("would be downloaded:\n")[1].splitlines()
    assert first.split() == [f"{size / 1e6:,.1f}", "MB", "sctir-a", "1.0"]
    assert second.split()[-2:] == ["sctir-b", "1.0"]


@uv
def test_a_second_run_resolves_and_downloads_nothing(index: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    wheel(index, "sctir_a")
    folders = run("sctir_a")
    times = {path: path.stat().st_mtime_ns for path in folders[0].glob("*.*") if path.name != "dataset-metadata.json"}
    shutil.rmtree(index)
    assert run("sctir_a") == folders
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert "1 of 1 wheels are there already" in caplog.text


@uv
def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    big = wheel(tmp_path / "index", "sctir_big", padding=6_000_000)
    wheel(tmp_path / "index", "sctir_small")
    output = tmp_path / "out"
    with served(tmp_path / "index") as served_index:
        served_index.stop_after = 4_000_000
        command, environment = _command(tmp_path, served_index, output)
        process = subprocess.Popen(command, env=environment)
        _wait(lambda: any(path.stat().st_size >= 2_000_000 for path in (output / ".partial").glob("*")), process)
        process.kill()
        process.wait()
        served_index.go_on.set()
        assert subprocess.run(command, env=environment).returncode == 0
    asked = [first for name, first in served_index.downloads if name == big.name]
    assert asked[0] == 0
    assert asked[-1] >= 2_000_000
    assert (output / "sctir-wheels" / big.name).read_bytes() == big.read_bytes()
    assert not (output / ".partial").exists()


@uv
def test_a_run_that_was_killed_before_its_lock_was_written_begins_again(index: Path, run: Run) -> None:
    wheel(index, "sctir_a")
    [part] = run("sctir_a")
    for path in part.iterdir():
        if path.name not in ("image.txt", "requirements.txt"):
            path.unlink()
    assert names(run("sctir_a")) == {"sctir_a-1.0"}


def _command(folder: Path, index: Index, output: Path) -> tuple[list[str], dict[str, str]]:
    requirements = required(folder, "sctir_big", "sctir_small")
    arguments = ["--requirements", str(requirements), "--output", str(output), "--image", "none"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "sctir_kaggle", "wheels", *arguments], environment


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@uv
def test_other_requirements_are_not_mixed_with_old_wheels_unless_that_is_wanted(
    index: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sctir_a", "sctir_b", "sctir_c"):
        wheel(index, name)
    [part] = run("sctir_a", "sctir_b")
    kept = (part / "sctir_b-1.0-py3-none-any.whl").stat().st_ino
    run("sctir_b", "sctir_c", expect=2)
    assert "say --update to resolve again, or choose another --output" in capsys.readouterr().err
    assert names(run("sctir_b", "sctir_c", options=["--update"])) == {"sctir_b-1.0", "sctir_c-1.0"}
    assert (part / "sctir_b-1.0-py3-none-any.whl").stat().st_ino == kept


def test_a_folder_with_something_else_is_left_alone(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(tmp_path / "out", "a")
    run("a", expect=2)
    assert "is not empty" in capsys.readouterr().err


@uv
def test_a_wheel_that_is_gone_or_damaged_is_named(index: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    wheel(index, "sctir_a", "sctir_b")
    wheel(index, "sctir_b")
    [part] = run("sctir_a")
    path = part / "sctir_b-1.0-py3-none-any.whl"
    whole = path.read_bytes()
    for content in (None, whole[:-1], whole[:-1] + b"x"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert main(["wheels", "--check", str(part.parent)]) == 2
        assert "sctir_b-1.0-py3-none-any.whl: run `sctir wheels` again" in capsys.readouterr().err
    run("sctir_a")
    assert path.read_bytes() == whole


@uv
def test_a_wheelhouse_for_a_python_is_checked_for_that_python(index: Path, run: Run) -> None:
    wheel(index, "sctir_only", tags="cp311-cp311-manylinux_2_17_x86_64")
    wheel(index, "sctir_only", tags="cp312-cp312-manylinux_2_17_x86_64")
    wheel(
        index, "sctir_only", tags="cp312-cp312-manylinux_2_38_x86_64", version="2.0"
    )  # a glibc newer than the image's
    [part] = run("sctir_only", options=["--python", "3.12"])
    assert [path.name for path in part.glob("*.whl")] == ["sctir_only-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"]


@uv
def test_a_conflict_is_found_out_by_the_resolver(tmp_path: Path) -> None:
    wheel(tmp_path, "sctir_a", "sctir_c<2")
    wheel(tmp_path, "sctir_b", "sctir_c>=2")
    wheel(tmp_path, "sctir_c", version="1.0")
    wheel(tmp_path, "sctir_c", version="2.0")
    with pytest.raises(UserError, match="lacks sctir_c"):
        build.verify([tmp_path], required(tmp_path, "sctir_a", "sctir_b"))


def listed(name: str, size: int) -> Wheel:
    return Wheel(name, "1.0", f"{name}-1.0-py3-none-any.whl", "0" * 64, "file:///", size)


def test_more_wheels_than_a_dataset_holds_become_any_number_of_them(tmp_path: Path) -> None:
    each = DATASET_FILES - build.OWN_FILES
    parts = build.split([listed(f"n{number}", 1) for number in range(4 * each + 3)], tmp_path)
    assert [folder.name for folder in parts] == ["sctir-wheels", *(f"sctir-wheels-{number}" for number in range(2, 6))]
    assert [len(part) for part in parts.values()] == [each, each, each, each, 3]


def test_more_bytes_than_a_dataset_holds_become_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "DATASET_BYTES", 200)
    assert [len(part) for part in build.split([listed(f"n{n}", 100) for n in range(5)], tmp_path).values()] == [
        2,
        2,
        1,
    ]


def test_conditions_are_those_of_kaggles_python_and_not_of_this_one(tmp_path: Path) -> None:
    wheel(
        tmp_path, "a", 'old; python_version < "3.11"', 'new; python_version >= "3.12"', 'win; sys_platform == "win32"'
    )
    assert lacking(tmp_path, ["a"], "3.10") == ["old (for a-1.0-py3-none-any.whl)"]
    assert lacking(tmp_path, ["a"], "3.11") == []
    assert lacking(tmp_path, ["a"], "3.12") == ["new (for a-1.0-py3-none-any.whl)"]


def test_extras_are_followed_to_their_ends(tmp_path: Path) -> None:
    wheel(tmp_path, "a", 'b[x]; extra == "x"')
    wheel(tmp_path, "b", 'c>=2; extra == "x"')
    assert lacking(tmp_path, ["a"]) == []
    assert lacking(tmp_path, ["a[x]"]) == ["c>=2 (for b-1.0-py3-none-any.whl)"]


def test_a_wheel_of_another_version_or_another_python_does_not_count(tmp_path: Path) -> None:
    wheel(tmp_path, "a", version="1.0")
    assert lacking(tmp_path, ["a>=2"]) == ["a>=2 (for the notebook)"]
    wheel(tmp_path, "a", version="2.1", python=">=3.13")
    assert lacking(tmp_path, ["a>=2"], "3.12") == ["a>=2 (for the notebook)"]
    assert lacking(tmp_path, ["a>=2"], "3.13") == []


def test_packages_that_need_each_other_end(tmp_path: Path) -> None:
    wheel(tmp_path, "a", "b")
    wheel(tmp_path, "b", "a")
    assert lacking(tmp_path, ["a"]) == []


def test_the_images_version_is_kept_where_it_meets_all_and_named_where_it_does_not(tmp_path: Path) -> None:
    wheel(tmp_path, "a", "b>=1", "c==2.0")
    wheel(tmp_path, "b", version="3.0")
    plan = wheelhouse.plan([tmp_path], ["a"], Image("x", "3.12", {"b": "1.5", "c": "2.0+cu128"}))
    assert (set(plan.install), dict(plan.replaced), list(plan.lacking)) == ({"a"}, {}, [])
    plan = wheelhouse.plan([tmp_path], ["a"], Image("x", "3.12", {"b": "0.5", "c": "2.1+cu128"}))
    assert (set(plan.install), dict(plan.replaced), plan.replacements()) == ({"a", "b"}, {"b": "0.5"}, "b 0.5 by 3.0")
    assert list(map(str, plan.lacking)) == ["c==2.0 (for a-1.0-py3-none-any.whl; the image has 2.1+cu128)"]


def test_a_file_that_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"half a downl")
    with pytest.raises(UserError, match="cannot be read"):
        lacking(tmp_path, ["a"])


@pytest.mark.parametrize("name", images.snapshots())
def test_a_snapshot_has_a_date_a_source_a_python_and_a_torch(name: str) -> None:
    text = (images.SNAPSHOTS / f"{name}.txt").read_text()
    assert "# date: 2026-" in text
    assert "# source: " in text
    image = image_of(name)
    assert name == f"python{image.minor}-torch{'.'.join(image.versions['torch'].split('.')[:2])}"


def test_the_newest_known_image_of_a_python_is_taken_and_where_none_is_known_it_holds_nothing() -> None:
    assert image_of(None).name == image_of(None, "3.12").name == "python3.12-torch2.10"
    assert image_of(None, "3.13").minor == "3.13"
    assert image_of(None, "3.10") == Image("none", "3.10")


def test_a_freeze_is_read_as_pip_writes_it(tmp_path: Path) -> None:
    lines = [
        "# python: 3.13.1",
        "Some_Name==1.0+cu128",
        "-e git+https://host/x@1#egg=x",
        "local @ file:///tmp/local.tar.gz",
    ]
    path = frozen(tmp_path, *lines, "far @ https://host/far_name-26.2.0-cp313-cp313-linux_x86_64.whl#sha256=0")
    image = image_of(path)
    assert (image.minor, dict(image.versions)) == ("3.13", {"some-name": "1.0+cu128", "far": "26.2.0"})
    with pytest.raises(UserError, match=r"is of Python 3\.13, and --python says 3\.12"):
        image_of(path, "3.12")
    with pytest.raises(UserError, match="is no file and none of"):
        image_of("no-such-file")


def test_the_kernels_own_list_needs_no_pip_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "image.txt"
    path.write_text(images.freeze())
    image = image_of(path)
    assert image.python == ".".join(map(str, sys.version_info[:3]))
    assert dict(image.versions) == {name: each for name, each in images.installed().items() if name != "sctir-kaggle"}
    assert "pytest" in image.versions


@uv
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--check", "nowhere"], "there are no wheels to check: name the folder that `sctir wheels` made"),
        (["--ship", "nosuch", "--dry-run"], "--ship nosuch: "),
        (["--pin", "sctir_a", "--dry-run"], "--pin sctir_a pins nothing: write --pin sctir_a==VERSION"),
        (["--cpython", "nowhere"], "nowhere/bin/python3.10 does not exist"),
        (["--cpython", "nowhere", "--dry-run"], "nowhere/bin/python3.10 does not exist"),
    ],
)
def test_what_was_typed_wrongly_is_said_before_anything_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    required(tmp_path, "sctir_a")
    image = [] if "--check" in options else ["--image", str(frozen(tmp_path, "sctir-b==1.0"))]
    assert main(["wheels", *image, *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
