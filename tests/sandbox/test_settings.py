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

ALL = {"limits": True, "namespaces": True, "landlock": True, "view": None, "seccomp": True, "user": True}
READS = {"read /etc/passwd", "read the host's environment", "read an input", "open a device", "list the folder above"}
WRITES = {"write a file in the folder", "make a temporary file", "write to /dev/null", "draw a figure"}
A_VIEW: dict[str, bool | None] = {"landlock": False, "view": True}

SETTINGS: dict[str, tuple[dict[str, bool | None], set[str], set[str]]] = {
    "": ({}, set(), set()),
    "--open": ({}, set(), set()),
    "--user": ({"user": None}, set(), set()),
    "--container --open": ({"namespaces": False}, set(), set()),
    "--container --user": ({"namespaces": False, "user": None}, set(), set()),
    "--no-landlock": (A_VIEW, set(), set()),
    "--user --no-landlock": ({**A_VIEW, "user": None}, set(), set()),
    "--few-capabilities --no-landlock": (A_VIEW, set(), set()),
    "--old-kernel": (A_VIEW, set(), set()),
    "--user --old-kernel": ({**A_VIEW, "user": None}, set(), set()),
    "--container --no-landlock": ({**A_VIEW, "namespaces": False}, set(), set()),
    "--container --open --no-landlock": ({**A_VIEW, "namespaces": False}, set(), set()),
    "--container --user --no-landlock": (
        {"namespaces": False, "landlock": False, "view": False, "user": None},
        READS,
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
        timeout=600,
    )
    if "mount" in done.stderr and done.returncode:
        pytest.skip(f"the setting cannot be made here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_layers_that_work_are_known(setting: str) -> None:
    expected, _, _ = SETTINGS[setting]
    assert {name: active for name, (active, _) in permissions(setting)["layers"].items()} == {**ALL, **expected}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_more_is_possible_than_the_missing_layers_held(setting: str) -> None:
    _, possible, _ = SETTINGS[setting]
    assert {name for name in FORBIDDEN if permissions(setting)["done"][name]} == possible


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_ordinary_code_keeps_working(setting: str) -> None:
    _, _, impossible = SETTINGS[setting]
    assert {name for name in ALLOWED if not permissions(setting)["done"][name]} == impossible & ALLOWED.keys()


@pytest.mark.slow
def test_what_takes_the_place_of_a_missing_layer_is_said() -> None:
    layers = permissions("--no-landlock")["layers"]
    assert "the view confines the files instead" in layers["landlock"][1]
    assert layers["view"][1].startswith("mounts")
    assert "links" in permissions("--container --no-landlock")["layers"]["view"][1]


@pytest.mark.slow
def test_what_nothing_holds_is_said_in_one_line() -> None:
    _, said = permissions("--container --user --no-landlock")["layers"]["view"]
    assert "code can READ what user 12345 may" in said
    assert "environment of its processes" in said
    assert "run as root" in said
    assert "\n" not in said
