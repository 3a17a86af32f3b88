"""One sandbox for all of these tests, with short limits, and candidates that are released after each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from sctir_kaggle.sandbox import Sandbox
from tests.sandbox.candidate import CODE_SECONDS, Candidate

pytest.importorskip("numpy")
pytest.importorskip("sympy")

_numbers = itertools.count()


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=4, code_seconds=CODE_SECONDS, memory_mb=512) as sandbox:
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
