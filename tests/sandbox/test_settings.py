"""Confinement where some layers are missing: the table in the docstring of `confinement`, tried out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.permissions import ALLOWED, FORBIDDEN, SECRET

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or platform.machine() != "x86_64" or sys.platform != "linux",
    reason="poorer settings are made by root, with x86_64 Linux's numbers of system calls",
)

ALL = {"limits": True, "namespaces": True, "landlock": True, "seccomp": True, "user": True}
READS = {"read /etc/passwd"}
WRITES = {"write a file in the folder", "write to /dev/null"}

SETTINGS: dict[str, tuple[dict[str, bool | None], set[str], set[str]]] = {
    "": ({}, set(), set()),
    "--open": ({}, set(), set()),
    "--user": ({"user": None}, set(), set()),
    "--container --open": ({"namespaces": False}, set(), set()),
    "--container --user": ({"namespaces": False, "user": None}, set(), set()),
    "--container --open --no-landlock": ({"namespaces": False, "landlock": False}, READS, WRITES),
    "--container --user --no-landlock": (
        {"namespaces": False, "landlock": False, "user": None},
        READS | {"read the host's environment"},
        WRITES,
    ),
    "--no-seccomp": ({"seccomp": False}, {"open a socket", "create a process", "change the mode of a file"}, set()),
}
"""For each setting: the layers that are otherwise than in `ALL`, what can be done there, and what ordinary code cannot."""


@cache
def permissions(setting: str) -> Any:
    command = [sys.executable, "-m", "tests.sandbox.setting", *setting.split()]
    environment = {**os.environ, "SECRET": SECRET}
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.sandbox.permissions"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "mount" in done.stderr and done.returncode:
        pytest.skip(f"the setting cannot be made here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_layers_that_work_are_known(setting: str) -> None:
    expected, _, _ = SETTINGS[setting]
    assert permissions(setting)["layers"] == {**ALL, **expected}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_more_is_possible_than_the_missing_layers_held(setting: str) -> None:
    _, possible, _ = SETTINGS[setting]
    assert {name for name in FORBIDDEN if permissions(setting)["done"][name]} == possible


@pytest.mark.parametrize("setting", SETTINGS)
def test_ordinary_code_keeps_working(setting: str) -> None:
    _, _, impossible = SETTINGS[setting]
    assert {name for name in ALLOWED if not permissions(setting)["done"][name]} == impossible
