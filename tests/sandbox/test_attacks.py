"""The corpus of hostile, faulty and ordinary blocks against a real sandbox in a jail: one test a block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.corpus import CORPUS
from tests.sandbox.attacks.report import ROOT, Report, lacking
from tests.sandbox.attacks.verdict import faults

pytest.importorskip("numpy")
pytest.importorskip("sympy")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the jail and the facts about the host are Linux's"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # the first test runs them all
]

ROOM_KIB = 48 << 10
"""By how much the host may grow over a family: an interpreter's heap never shrinks back exactly."""

CLASSES = """
    python loop, waiting, C loop, sympy loop, swallowed exception, ignored signal, blocked signal, reset timer, stopped,
    hook that hangs, allocation, numpy, shared memory, memfd pages, threads, descriptors, raised limit, fork bomb, daemon,
    subprocess, raw process call, thread left behind, flood, drip, giant exception, exception whose str fails,
    damaged stream, forged marker, forged result, recursion, segfault, abort, os._exit, sys.exit, hang at exit,
    syntax error, NUL and surrogates, deep nesting, megabytes of source, environment, proc, heap, home, inputs,
    working folder, machine, submission, journal, installation, outside, room in the folder, internet, UNIX socket,
    other family, ptrace, signals, mount, identity, kernel interface, alternate ABI, confinement undone, standard input,
    patched builtins, patched modules, interpreter state, own names, lazy import, asyncio, deep recursion, large, exit,
    warnings, pickling, files, everyday, Python's files, way out, neighbours, folder storm, hidden use
"""
"""What the sandbox makes a promise about."""

ALL = [(family, attack) for family, attacks in CORPUS.items() for attack in attacks]


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Report:
    """The families of the tests that were asked for, in one jail for each time limit."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    families = {parameters.get("family") for parameters in asked}
    report = Report()
    report.run_all([family for family in CORPUS if family in families])
    return report


def as_id(value: object) -> str:
    return re.sub(r"[^\w.()]+", "-", value.id) if isinstance(value, Attack) else str(value)


@pytest.mark.parametrize(("family", "attack"), ALL, ids=as_id)
def test_a_block_is_answered_truthfully_and_soon_and_changes_nothing(
    report: Report, family: str, attack: Attack
) -> None:
    if missing := lacking(attack):
        pytest.skip(f"this machine has no {', '.join(missing)}")
    if family in report.skipped:
        pytest.skip(report.skipped[family])
    record = report.records.get(family, {}).get(attack.id)
    assert record, f"the host ended before or during this block: {report.last_words}"
    if found := faults(attack, record):
        pytest.fail("\n".join([*found, f"output: {record['output'][-2000:]!r}"]), pytrace=False)


@pytest.mark.parametrize("family", CORPUS)
def test_after_a_family_nothing_is_left_of_it(report: Report, family: str) -> None:
    if family in report.skipped:
        pytest.skip(report.skipped[family])
    assert report.left.get(family) == [], report.last_words
    assert report.grown_kib[family] < ROOM_KIB


def test_every_class_has_three_snippets_at_least() -> None:
    count = Counter(attack.cls for _, attack in ALL)
    assert {name for name, number in count.items() if number >= 3} == set(re.split(r",\s+", CLASSES.strip()))


def test_every_snippet_has_a_name_of_its_own() -> None:
    for attacks in CORPUS.values():
        assert not [name for name, number in Counter(attack.id for attack in attacks).items() if number > 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="the jail needs root")
def test_the_jail_leaves_no_cgroup_and_no_folder_behind(tmp_path: Path) -> None:
    cgroups = Path("/sys/fs/cgroup")
    before = {path.name for path in cgroups.rglob("attacks-*")}
    command = [sys.executable, "-m", "tests.sandbox.attacks.jail", "no such family"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "no such family" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert {path.name for path in cgroups.rglob("attacks-*")} <= before
