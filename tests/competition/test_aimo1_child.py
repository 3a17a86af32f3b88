"""AIMO-1's compiled module under its own CPython 3.10: a real one, in a child, with frames that cross a socket."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from sctir_kaggle.competition import aimo1, aimo1_child, aimo1_process
from sctir_kaggle.competition.aimo1_process import ChildEnvironment, ModuleError
from sctir_kaggle.competition.aimo1_python import interpreter_in, unpacked
from sctir_kaggle.competition.inputs import ROOTS_VARIABLE, find_python
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.submission import Submission
from sctir_kaggle.kaggle.checks import inputs
from sctir_kaggle.kaggle.checks.finding import Finding, Machine
from sctir_kaggle.kaggle.wheels.python310 import ARCHIVE, interpreter_of, pack
from sctir_kaggle.types import UserError
from tests.support import aimo_stub
from tests.support.competitions import ANSWERS, PROBLEMS, answers_in, run_of, scripted
from tests.support.kaggle_like import write_problems
from tests.support.push_support import children

pytestmark = pytest.mark.slow

AIMO1 = PROFILES["aimo1"]

needs_310 = pytest.mark.skipif(bool(aimo_stub.missing()), reason=aimo_stub.missing() or "all is there")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sctir wheels --cpython` packs, of this machine's CPython 3.10."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIP_RETRIES", "0")  # without a network there is nothing to wait for
            return pack(tmp_path_factory.mktemp("packed"), interpreter_of(aimo_stub.cpython310()))
    except UserError as error:
        if "pip cannot install" in str(error):
            pytest.skip(f"the packages are not to be had here: {error}")
        raise


@pytest.fixture(scope="module")
def python(data_set: Path) -> Iterator[Path]:
    with unpacked(data_set / ARCHIVE) as python:
        yield python


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition's folder."""
    folder = tmp_path_factory.mktemp("competition")
    aimo_stub.build(folder)
    write_problems(folder / "hidden.csv", PROBLEMS)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the module writes its file there. The module behaves unless the test says how not."""
    monkeypatch.delenv("AIMO_STUB", raising=False)
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    return tmp_path / "working"


@pytest.fixture
def mounted(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The input folder, with the competition and without an interpreter."""
    root = tmp_path / "input"
    shutil.copytree(compiled, root / AIMO1.slug)
    monkeypatch.setenv(ROOTS_VARIABLE, str(root))
    return root


def attach(data_set: Path, root: Path, place: str) -> None:
    """As Kaggle mounts a data set: the archive as it is, or unpacked, read-only and without executable bits."""
    folder = root / place
    if not place.endswith("tree"):
        folder.mkdir(parents=True)
        (folder / ARCHIVE).symlink_to(data_set / ARCHIVE)
        return
    with tarfile.open(data_set / ARCHIVE) as stored:
        stored.extractall(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(stat.S_IREAD)


def submission(home: Path) -> Submission:
    profile = replace(AIMO1, problems=len(PROBLEMS))
    return Submission(profile, run_of(600.0), folder=home, load=scripted(), rerun=True, started=time.monotonic())


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"id": ["007", "424e18"], "problem": ["What is $\\frac12$? ü\n\"'", "\u2028"]}, index=[7, 8]),
        pd.DataFrame({"problem": pd.Series(["a lone surrogate: \ud800", "b"], dtype="object")}),
        pd.DataFrame({"id": ["a"], "answer": [2**62]}),
        pd.DataFrame({"x": [1.5, float("nan")], "y": [True, False], "z": ["a", None], "u": [1, "a"]}, index=["p", "q"]),
        pd.DataFrame({"i": pd.Series([1, None], dtype="Int64"), "j": pd.Series([1, 2], dtype="uint8")}),
        pd.DataFrame({"id": pd.Series([], dtype="object"), "answer": pd.Series([], dtype="int64")}),
        pd.DataFrame([["a", 1]], columns=["same", "same"], index=pd.Index([3], name="row")),
    ],
)
def test_a_frame_arrives_as_it_was_sent(frame: pd.DataFrame) -> None:
    line = json.dumps(aimo1_child.encode(frame))
    assert "\n" not in line
    pd.testing.assert_frame_equal(aimo1_child.decode(json.loads(line)), frame)


@pytest.mark.parametrize("value", [None, 5, "text", ("a", None, 1.5)])
def test_so_does_a_plain_value(value: object) -> None:
    assert aimo1_child.decode(json.loads(json.dumps(aimo1_child.encode(value)))) == value


def test_what_cannot_be_sent_is_refused_with_its_place() -> None:
    with pytest.raises(TypeError, match="column 'when' holds a Timestamp, which cannot be sent"):
        aimo1_child.encode(pd.DataFrame({"when": [pd.Timestamp(0)]}))


@needs_310
def test_without_an_interpreter_a_rerun_says_what_to_attach(home: Path, mounted: Path) -> None:
    with pytest.raises(UserError, match=r"cpython-310.*is not for Python.*no CPython 3\.10.*attach the data set"):
        submission(home).run()


@needs_310
@pytest.mark.parametrize(
    "place", ["sctir-python310", "datasets/owner/sctir-python310", "datasets/owner/sctir-python310/tree"]
)
def test_a_rerun_answers_every_problem_and_the_module_writes_the_file(
    home: Path, mounted: Path, data_set: Path, place: str
) -> None:
    attach(data_set, mounted, place)
    before = children()
    run = submission(home)
    run.run()
    assert answers_in(run) == ANSWERS
    assert [result.problem.id for result in run.results] == list(ANSWERS)
    assert run.faults == []
    assert children() - before == set()


@needs_310
def test_none_comes_through_and_so_do_exceptions_with_class_and_text(home: Path, python: Path, compiled: Path) -> None:
    with ChildEnvironment(python, compiled) as env:
        pairs = env.iter_test()
        test, sample = next(pairs) or pytest.fail("no pair")
        assert list(test.columns) == ["id", "problem"]
        assert (test["id"].iloc[0], list(test.index), sample["answer"].iloc[0]) == ("007", [0], 0)
        assert next(pairs) is None
        with pytest.raises(TypeError, match="takes a DataFrame, not NoneType"):
            env.predict(None)  # type: ignore[arg-type]
        env.predict(sample.assign(answer=3))
        with pytest.raises(KeyError, match="no open problem"):
            env.predict(sample.assign(answer=3))
        with pytest.raises(ModuleError, match=r"^Odd: iter_test\(\) works once"):
            env.iter_test()
        test, sample = next(pairs) or pytest.fail("no pair")
        assert (test["id"].iloc[0], list(test.index)) == ("424e18", [1])
    assert not (home / "submission.csv").exists()


@needs_310
def test_an_answer_that_the_module_refuses_ends_the_run_with_the_modules_words(
    home: Path, python: Path, compiled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ChildEnvironment(python, compiled) as env, pytest.raises(AssertionError, match="float64"):
        aimo1.serve(env, lambda *_: 1.5)  # type: ignore[arg-type]
    assert "Traceback" in caplog.text


@needs_310
def test_a_module_that_will_not_start_is_told_by_its_own_exception(
    home: Path, python: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMO_STUB", "refuse")
    with pytest.raises(PermissionError, match="not in this session"):
        ChildEnvironment(python, compiled)


@needs_310
def test_a_child_that_dies_ends_the_run_with_its_signal_and_its_last_words(
    home: Path, mounted: Path, data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(data_set, mounted, "sctir-python310")
    monkeypatch.setenv("AIMO_STUB", "die")
    run = submission(home)
    with pytest.raises(
        RuntimeError, match=r"ended by signal 9 \(Killed\) in next\(\); its last output: .*about to die"
    ):
        run.run()
    assert len(run.results) == 2


@needs_310
def test_a_child_that_hangs_at_the_start_is_killed_at_its_limit(
    home: Path, python: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMO_STUB", "hang")
    before = children()
    with pytest.raises(UserError, match=r"was not ready within 3 s in .*submit again"):
        ChildEnvironment(python, compiled, start=3.0)
    assert children() - before == set()


@needs_310
def test_a_module_that_prints_a_lot_stops_nothing_and_the_log_stays_short(
    home: Path, python: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIMO_STUB", "print")
    caplog.set_level(logging.INFO, "sctir_kaggle")
    with ChildEnvironment(python, compiled) as env:
        assert aimo1.serve(env, lambda *_: 4) == 4
    assert list(pd.read_csv(home / "submission.csv")["answer"]) == [4] * 4
    told = [message for message in caplog.messages if message.startswith("aimo: ")]
    assert told[0] == "aimo: aimo is here"
    assert told[-1] == f"aimo: {4 * 20_001 + 1 - aimo1_process.LINES} more lines are left out"
    assert len(told) == aimo1_process.LINES + 1


@needs_310
def test_a_file_that_is_written_as_the_module_ends_is_waited_for(
    home: Path, python: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMO_STUB", "late")
    with ChildEnvironment(python, compiled) as env:
        aimo1.serve(env, lambda *_: 4)
    assert list(pd.read_csv(home / "submission.csv")["answer"]) == [4] * 4


@needs_310
def test_the_child_ends_with_a_parent_that_is_killed(home: Path, python: Path, compiled: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sctir_kaggle.competition.aimo1_process import ChildEnvironment\n"
        "env = ChildEnvironment(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(env._process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(python), str(compiled)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip())
        assert b"aimo1_child" in (child / "cmdline").read_bytes()
        parent.kill()
    until = time.monotonic() + 60
    while running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(child)


def running(process: Path) -> bool:
    """Neither gone nor a zombie that its new parent has not reaped."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def look(root: Path) -> Finding:
    [finding] = inputs.competition(Machine(profile=AIMO1, roots=[root], environment={}))
    return finding


@needs_310
def test_the_doctor_runs_the_attached_interpreter(mounted: Path, data_set: Path) -> None:
    finding = look(mounted)
    assert finding.level == "fatal"
    assert "competition.cpython-310" in finding.detail
    assert "sctir wheels --cpython" in finding.remedy
    attach(data_set, mounted, "datasets/owner/sctir-python310/tree")
    finding = look(mounted)
    assert finding.level == "ok"
    assert "runs in the attached CPython 3.10." in finding.detail


@pytest.mark.parametrize("broken", ["torn", "no pandas"])
def test_an_interpreter_that_does_not_run_is_fatal(tmp_path: Path, broken: str) -> None:
    aimo, attached = tmp_path / AIMO1.slug / "aimo", tmp_path / "sctir-python310"
    aimo.mkdir(parents=True)
    (aimo / "competition.cpython-310-x86_64-linux-gnu.so").touch()
    attached.mkdir()
    if broken == "torn":
        (attached / ARCHIVE).write_bytes(b"\x1f\x8b torn")
    else:
        (attached / "bin").mkdir()
        (attached / "bin" / "python3.10").write_text("#!/bin/sh\necho 'No module named pandas' >&2; exit 1\n")
    finding = look(tmp_path)
    assert finding.level == "fatal"
    assert ("cannot be unpacked" if broken == "torn" else "No module named pandas") in finding.detail


@needs_310
def test_what_is_packed_is_one_archive_without_links_or_tests_and_with_its_metadata(data_set: Path) -> None:
    assert sorted(path.name for path in data_set.iterdir()) == [ARCHIVE, "dataset-metadata.json"]
    document = json.loads((data_set / "dataset-metadata.json").read_text())
    assert document["id"] == "INSERT_OWNER/sctir-python310"
    with tarfile.open(data_set / ARCHIVE) as stored:
        members = stored.getmembers()
    assert all(member.isfile() for member in members)
    assert not [member.name for member in members if {"tests", "test", "__pycache__"} & set(Path(member.name).parts)]
    assert (data_set / ARCHIVE).stat().st_size < 80e6
    made = (data_set / ARCHIVE).stat().st_mtime_ns
    assert pack(data_set.parent, interpreter_of(aimo_stub.cpython310())) == data_set  # typed again: it stays
    assert (data_set / ARCHIVE).stat().st_mtime_ns == made


@needs_310
def test_the_packed_interpreter_has_what_pandas_and_a_module_need(python: Path) -> None:
    from sctir_kaggle.competition.aimo1_python import environment, probe

    found = probe(python)
    assert found.prefix == str(python.parents[1])
    assert found.version.startswith("3.10.")
    code = "import ctypes, ssl, sqlite3, lzma, bz2, zlib, hashlib, multiprocessing, decimal, numpy.testing"
    assert os.spawnve(os.P_WAIT, python, [str(python), "-I", "-c", code], environment(python)) == 0


def test_another_python_is_not_packed(tmp_path: Path) -> None:
    if sys.version_info[:2] == (3, 10):
        pytest.skip("this Python is the one that is wanted")
    with pytest.raises(UserError, match=rf"is CPython 3\.{sys.version_info.minor}, not 3.10: name another"):
        interpreter_of(Path(sys.executable))
    with pytest.raises(UserError, match=r"bin/python3\.10 does not exist"):
        interpreter_of(tmp_path)


@pytest.mark.parametrize(
    "name", ["cpython310.tar.gz", "cpython310.tar", "cpython-3.10.20-linux.tar.xz", "python310.tgz"]
)
def test_an_archive_is_found_by_its_name_in_both_layouts(tmp_path: Path, name: str) -> None:
    for place in ("some-data", "datasets/owner/some-data"):
        folder = tmp_path / place.replace("/", "-") / place
        folder.mkdir(parents=True)
        (folder / name).touch()
        assert find_python(roots=[tmp_path / place.replace("/", "-")]) == folder / name


def test_other_archives_and_other_pythons_are_not(tmp_path: Path) -> None:
    (tmp_path / "data" / "bin").mkdir(parents=True)
    for name in ("cpython311.tar.gz", "data.tar.gz", "bin/python3.11", "bin/python3"):
        (tmp_path / "data" / name).touch()
    with pytest.raises(UserError, match=r"no CPython 3\.10 .*attach the data set that `sctir wheels --cpython` makes"):
        find_python(roots=[tmp_path])
    with pytest.raises(UserError, match=r"holds no bin/python3\.X"):
        interpreter_in(tmp_path / "data" / "empty")


@needs_310
def test_without_an_installation_uv_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("uv") and not find_spec("uv"):
        pytest.skip("needs uv: pip install uv")
    cpython = aimo_stub.cpython310()
    assert cpython is not None
    monkeypatch.setenv("PATH", str(cpython.parent), prepend=os.pathsep)
    assert interpreter_of(None).name == "python3.10"


@needs_310
def test_the_notebook_runs_it_in_a_rerun(tmp_path: Path, data_set: Path) -> None:
    for library in ("torch", "nbclient", "ipykernel"):
        pytest.importorskip(library, reason="needs the extras `cpu` and `test`")
    from sctir_kaggle.kaggle.bundle import build_wheel
    from sctir_kaggle.kaggle.notebook import build
    from tests.support.kaggle_like import PROBLEMS as ASKED
    from tests.support.kaggle_like import Kaggle

    kaggle = Kaggle.mounted(tmp_path, AIMO1, "nested", rerun=True)
    aimo_stub.build(kaggle.input / "competitions" / AIMO1.slug)
    attach(data_set, kaggle.input, "datasets/owner/sctir-python310")
    ran = kaggle.run(build(wheel=build_wheel(tmp_path)), kaggle.environment(KAGGLE_IS_COMPETITION_RERUN="1"))
    assert ran.error == ""
    assert "runs in the attached CPython 3.10." in ran.printed
    frame = pd.read_csv(kaggle.working / "submission.csv", dtype={"id": str})
    assert list(frame["id"]) == [problem.id for problem in ASKED]
