"""What the process of a large run is given: open files, and warnings that can be read."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys

import pytest

from sctir_kaggle.recipes.data.tir.process import FILES, RateLimitFilter, raise_nofile_limit
from sctir_kaggle.types import UserError


def record(module: str, number: int) -> logging.LogRecord:
    return logging.LogRecord("sctir_kaggle", logging.WARNING, f"/{module}.py", 1, "failure %d", (number,), None)


def test_warnings_of_a_server_come_once_in_a_while_and_say_how_many_did_not() -> None:
    now = [0.0]
    seldom = RateLimitFilter(10.0, clock=lambda: now[0])
    passed = []
    for number in range(30):
        now[0] = float(number)
        if seldom.filter(one := record("openai", number)):
            passed.append(one.getMessage())
    more = " (and 9 more since the last)"
    assert passed == ["failure 0", "failure 10" + more, "failure 20" + more]


def test_all_other_records_pass() -> None:
    seldom = RateLimitFilter(10.0)
    assert all(seldom.filter(record("tir_data", number)) for number in range(3))


def test_open_files_are_allowed_as_far_as_the_machine_lets() -> None:
    program = (
        "import resource; from sctir_kaggle.recipes.data.tir.process import raise_nofile_limit; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 2000)); raise_nofile_limit(100); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"({256 + 100 * FILES}, 2000)"


def test_more_in_flight_than_the_machine_lets_is_refused_with_what_it_does_let() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this machine has no limit of open files")
    with pytest.raises(UserError, match=rf"of {hard}: .* or set it to {(hard - 256) // FILES}$"):
        raise_nofile_limit(hard)
