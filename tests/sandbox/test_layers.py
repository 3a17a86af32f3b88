"""The layers are reported, tried out at the start, missed with a warning, and demanded by `strict`."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from sctir_kaggle import sandbox as package
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.launcher import _BOOT as BOOT
from sctir_kaggle.sandbox.protocol import LAYERS
from sctir_kaggle.sandbox.selftest import _FORBIDDEN as FORBIDDEN
from sctir_kaggle.sandbox.selftest import PRIVATE
from sctir_kaggle.types import ExecutionStatus, ExecutorError, UserError
from tests.sandbox.candidate import Candidate


def test_the_report_names_every_layer_once() -> None:
    layers = package.layers()
    assert sorted(layer.name for layer in layers) == sorted(LAYERS)
    assert all(layer.detail for layer in layers)


def test_a_running_sandbox_reports_the_same_as_the_function(sandbox: Sandbox) -> None:
    states = {layer.name: layer.active for layer in sandbox.layers()}
    assert states == {layer.name: layer.active for layer in package.layers()}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_without_a_layer_the_others_hold_and_blocks_run(name: str) -> None:
    with Sandbox(workers=1, without=[name]) as sandbox:
        layers = {layer.name: layer for layer in sandbox.layers()}
        result = Candidate(sandbox, "problem/0")("1 + 1")
    assert (layers[name].active, layers[name].detail) in [(False, "switched off"), (None, layers[name].detail)]
    assert (result.output, result.status) == ("2\n", ExecutionStatus.OK)


@pytest.mark.slow
def test_strict_refuses_to_start_without_a_layer() -> None:
    with pytest.raises(ExecutorError, match=r"strict, and .*landlock is missing \(switched off\)"):
        Sandbox(strict=True, without=["landlock"]).start()


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="no such layer: selinux; there are limits, "):
        Sandbox(without=["selinux"])


def test_what_was_switched_off_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Sandbox(workers=1, without=["namespaces"]):
        assert "namespaces" not in caplog.text


def can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_the_self_test_finds_everything_wrong_with_a_process_that_is_not_confined(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("outer") / "inner"
    folder.mkdir()
    script = "import json\nfrom sctir_kaggle.sandbox import selftest\n"
    script += "print(json.dumps(selftest.failures(['seccomp', 'landlock'])))"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    failures = json.loads(done.stdout)
    attempts = {f"{layer} does not refuse {what}" for layer in ("seccomp", "landlock") for what in FORBIDDEN[layer]}
    # What this machine does not have or does not allow: a container may refuse a namespace.
    refused = [f"landlock does not refuse reading {path}" for path in PRIVATE if not can_open(path)]
    if not os.access(os.__file__, os.W_OK):
        refused.append("landlock does not refuse writing to Python's files")
    # A package that is installed may be read; and the namespace that was entered before has no rights over the parent.
    perhaps = ["a file of the project", "its parent's environment"]
    refused += [f"landlock does not refuse reading {what}" for what in perhaps]
    assert attempts - {*refused, "seccomp does not refuse a namespace"} <= set(failures) <= attempts


def test_a_layer_that_lets_something_pass_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = BOOT.replace(
        "main()", "from sctir_kaggle.sandbox.seccomp import Filter\nFilter.install = lambda *_: None\nmain()"
    )
    monkeypatch.setattr("sctir_kaggle.sandbox.launcher._BOOT", boot)
    with pytest.raises(ExecutorError, match="failed its self-test: seccomp does not refuse a process"):
        package.layers()


def test_a_python_that_ends_at_once_is_told() -> None:
    with pytest.raises(ExecutorError, match="ended while it started"):
        Sandbox(python="/bin/false").start()


@pytest.mark.parametrize(
    "argument",
    [
        {"workers": 0},
        {"code_seconds": 0},
        {"code_seconds": float("nan")},
        {"memory_mb": 1},
        {"output_bytes": 0},
        {"last_expression": "sometimes"},
    ],
)
def test_an_argument_that_cannot_be_is_refused_with_its_value_and_the_limit(argument: dict[str, Any]) -> None:
    ((name, value),) = argument.items()
    with pytest.raises(UserError, match=f"^the sandbox's {name} is {value!r}, and must be "):
        Sandbox(**argument)
