"""The families of the corpus that attack files and the confinement itself, where a view has to do what Landlock does."""

from __future__ import annotations

import os
import platform
import sys

import pytest

from tests.sandbox.attacks.report import Report

pytest.importorskip("numpy")
pytest.importorskip("sympy")
pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or platform.machine() != "x86_64" or sys.platform != "linux",
        reason="poorer settings are made by root, with x86_64 Linux's numbers of system calls",
    ),
    pytest.mark.slow,
]

FAMILIES = ["kernel", "network", "processes", "secrets", "state", "view", "writes"]
SETTINGS = ["--no-landlock", "--user --no-landlock", "--few-capabilities --no-landlock", "--container --no-landlock"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_attack_succeeds_and_nothing_is_left(setting: str) -> None:
    report = Report(setting)
    report.run_all(FAMILIES)
    if report.skipped:
        pytest.skip(next(iter(report.skipped.values())))
    assert len(report.ran()) > 200, report.last_words
    assert report.failures() == {}
    assert {family: left for family, left in report.left.items() if left} == {}
