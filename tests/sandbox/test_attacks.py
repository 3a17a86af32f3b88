"""The corpus of hostile, faulty and ordinary blocks against a real sandbox in a jail: one test a block."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.corpus import CORPUS
from tests.sandbox.attacks.host import code_seconds
from tests.sandbox.attacks.verdict import Record, faults

pytest.importorskip("numpy")
pytest.importorskip("sympy")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the jail and the facts about the host are Linux's"),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
JAIL_SECONDS = 600
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
    warnings, pickling, files, everyday
"""
"""What the sandbox makes a promise about."""

ALL = [(family, attack) for family, attacks in CORPUS.items() for attack in attacks]


@dataclass
class Report:
    """What the jails said, by family."""

    skipped: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Record]] = field(default_factory=dict)
    grown_kib: dict[str, int] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    last_words: str = ""

    def run(self, families: list[str]) -> None:
        """Run them in one jail; those that it did not come to since it broke, in another."""
        while families:
            lines = self._jail(families)
            for line in lines:
                self._add(line, families)
            reached = {line["family"] for line in lines if "family" in line} | self.skipped.keys()
            families = [family for family in families if family not in reached] if reached else []

    def _jail(self, families: list[str]) -> list[Record]:
        command = [sys.executable, "-m", "tests.sandbox.attacks.jail", *families]
        jail = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            lines, errors = jail.communicate(timeout=JAIL_SECONDS)
        except subprocess.TimeoutExpired:
            jail.terminate()  # it removes its cgroup
            lines, errors = jail.communicate()
        self.last_words += errors[-3000:]
        return [json.loads(line) for line in lines.splitlines()]

    def _add(self, line: Record, families: list[str]) -> None:
        if "skip" in line:
            self.skipped.update(dict.fromkeys(line["families"], line["skip"]))
        if "attack" in line:
            self.records.setdefault(line["family"], {})[line["attack"]] = line
        if "grown_kib" in line:
            self.grown_kib[line["family"]] = line["grown_kib"]
        if "closed" in line:
            for family in families:
                self.left[family] = line["closed"]


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Report:
    """The families of the tests that were asked for, in one jail for each time limit."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    families = {parameters.get("family") for parameters in asked}
    report = Report()
    for seconds in sorted({code_seconds(family) for family in CORPUS}):
        report.run([family for family in CORPUS if family in families and code_seconds(family) == seconds])
    return report


def lacking(attack: Attack) -> list[str]:
    """What the machine has not of what the block needs."""
    machine = platform.machine()
    return [name for name in attack.needs if name != machine and importlib.util.find_spec(name) is None]


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
    if found := faults(family, attack, record):
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
