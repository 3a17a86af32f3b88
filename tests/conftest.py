"""What the tests share: the real sandbox, and the recorded data beside the project where it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sctir_kaggle.sandbox import Sandbox

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.support.pages import Show
    from tests.support.vllm_support import Engines

# pytest-xdist tells its workers the width of its own terminal, which would fold our tables there.
os.environ.pop("COLUMNS", None)

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # By default an example that takes 200 ms fails, and so does data that is slow to draw: on a busy machine anything is.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

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
    with Sandbox(workers=2, code_seconds=60) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """vLLM's engine in this process, one at a time for the whole test session."""
    from tests.support.vllm_support import Engines

    engines = Engines()
    yield engines
    engines.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """One headless Chromium for the whole test session."""
    from tests.support.pages import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def show(browser: Chrome, tmp_path: Path) -> Iterator[Show]:
    """Opens a page; after each test its console must be empty: no error, nothing that the policy had to stop."""
    from tests.support.pages import shower

    yield shower(browser, tmp_path)
    browser.execute_script("localStorage.clear()")  # a chosen theme outlives its page
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
