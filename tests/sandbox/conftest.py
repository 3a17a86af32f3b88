"""One sandbox for all of these tests, which a busy machine does not disturb, and candidates that are released after each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from sctir_kaggle.sandbox import Sandbox
from tests.sandbox.candidate import Candidate
from tests.support.patience import PATIENCE, patient_sandbox

pytest.importorskip("numpy")
pytest.importorskip("sympy")

_numbers = itertools.count()


@pytest.fixture(scope="package", autouse=True)
def patience() -> Iterator[None]:
    with patient_sandbox():
        yield


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    """Its blocks have the time to come to their end; those that have none are run by `Candidate.within`."""
    with Sandbox(workers=4, code_seconds=PATIENCE, memory_mb=512) as sandbox:
        yield sandbox


@pytest.fixture
def run(sandbox: Sandbox) -> Iterator[Candidate]:
    talk = Candidate(sandbox, f"problem/{next(_numbers)}")
    yield talk
    sandbox.release(talk.candidate_id)


@pytest.fixture
def other(sandbox: Sandbox) -> Iterator[Candidate]:
    talk = Candidate(sandbox, f"problem/{next(_numbers)}")
    yield talk
    sandbox.release(talk.candidate_id)
