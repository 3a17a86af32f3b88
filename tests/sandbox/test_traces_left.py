"""What a block sees of the machine, and what it leaves behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from tests.sandbox.candidate import Candidate, eventually, zygote_pid


@pytest.mark.slow
def test_the_callers_environment_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_TOKEN", "hunter2")
    with Sandbox(workers=1) as sandbox:
        output = Candidate(sandbox, "problem/0")("import os\nprint(dict(os.environ))").output
    assert "OMP_NUM_THREADS" in output
    assert not re.search("PATH|PYTHON", output)
    assert "hunter2" not in output


def test_only_four_descriptors_are_open(run: Candidate) -> None:
    code = """
import os
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
[number for number in range(8192) if is_open(number)]"""
    assert run(code).output == "[0, 1, 2, 3]\n"


def test_a_child_cannot_gain_privileges_and_ends_with_its_parent(run: Candidate) -> None:
    code = "import ctypes\nv, c = ctypes.c_int(), ctypes.CDLL(None)\nc.prctl(2, ctypes.byref(v))\n"
    assert run(code + "(c.prctl(39, 0, 0, 0, 0), v.value)").output == "(1, 9)\n"


def test_files_are_written_to_a_private_folder_that_goes_with_the_child(run: Candidate, sandbox: Sandbox) -> None:
    folder = Path(run("import os\nopen('note', 'w').write('x')\nprint(os.getcwd())").output.strip())
    assert (folder / "note").read_text() == "x"
    sandbox.release(run.candidate_id)
    assert eventually(lambda: not folder.exists())


def test_randomness_repeats_for_a_turn_and_differs_between_candidates(sandbox: Sandbox) -> None:
    code = "import random\nprint(random.random(), np.random.rand(), sp.core.random.random(), np.random.default_rng().random())"

    def draw(candidate_id: str) -> str:
        output = Candidate(sandbox, candidate_id)(code).output
        sandbox.release(candidate_id)
        return output

    assert draw("random/1") == draw("random/1")
    assert not set(draw("random/1").split()) & set(draw("random/2").split())


def test_string_hashes_repeat(run: Candidate, other: Candidate) -> None:
    assert run("print({'a', 'b', 'c', 'd', 'e'})").output == other("print({'a', 'b', 'c', 'd', 'e'})").output


def test_the_zygote_has_one_thread(run: Candidate, sandbox: Sandbox) -> None:
    run("1")
    assert len(os.listdir(f"/proc/{zygote_pid(sandbox)}/task")) == 1
