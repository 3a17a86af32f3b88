"""In no run of these tests does a sandbox give anything up since the machine is busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.patience import patient_sandbox


@pytest.fixture(scope="package", autouse=True)
def patience() -> Iterator[None]:
    with patient_sandbox():
        yield
