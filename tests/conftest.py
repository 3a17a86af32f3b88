"""What the tests share: the real sandbox, and the recorded data beside the project where it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of validation sets and recorded traces; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the recorded data is not part of the repository: no ../shared/data beside it")
    return SHARED


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One real sandbox for the whole test session: starting it costs a second."""
    with Sandbox(workers=2) as sandbox:
        yield sandbox
