"""The viewer's page in real Chromium: opened from a file, without a network, at a chosen width."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.lab.view.page import write_page
from sctir_kaggle.types import SolveResult

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900")

PATIENCE = 120.0
"""Seconds for the page to become what a test waits for."""


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Headless, with the console and the requests recorded. Skips where Chromium, its driver or Selenium is missing."""
    pytest.importorskip("selenium", reason="a browser is driven by the extra `test`: pip install 'sctir-kaggle[test]'")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("there is no Chromium with its driver: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = binary
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """A page that is open. Nothing may be said in its console: `close` asserts it."""

    def __init__(self, browser: Chrome, path: Path, *, width: int, scheme: str, address: str) -> None:
        self.browser = browser
        self.path = path
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme_feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme_feature]})
        browser.get("about:blank")  # a mere change of the address would not load it anew
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # type: ignore[no-untyped-call]
        browser.get(path.as_uri() + address)
        self.until("document.body.dataset.ready === 'true'")

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.browser.execute_script(f"return {expression}")

    def until(self, expression: str) -> None:
        """Wait until it is true."""
        end = time.monotonic() + PATIENCE
        while not self.js(expression):
            assert time.monotonic() < end, (expression, self.console())
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """One after the other, where the focus is."""
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def click(self, selector: str) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def open(self, id_: str) -> None:
        """The problem's row is clicked; its candidates are there afterwards."""
        self.click(f'tr[data-id="{id_}"]')
        self.until(f"document.getElementById('problem-title')?.textContent === {json.dumps(id_)}")

    def text(self, selector: str) -> str:
        """What stands there, as it is in the document; "" where nothing is."""
        return str(self.js(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def texts(self, selector: str) -> list[str]:
        return list(self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"))

    def rows(self) -> list[str]:
        """The ids that the list shows, in its order."""
        return list(self.js("[...document.querySelectorAll('#list tbody tr')].map((row) => row.dataset.id)"))

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """What was asked for since the page was opened, by scheme and beginning."""
        log = self.browser.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in log]
        return [m["params"]["request"]["url"][:200] for m in messages if m["method"] == "Network.requestWillBeSent"]


Show = Callable[..., Page]


def shower(browser: Chrome, folder: Path) -> Show:
    """A function that writes results as a page and opens it."""

    def show(
        results: Sequence[SolveResult],
        headers: Sequence[dict[str, Any]] = (),
        *,
        width: int = 1280,
        scheme: str = "light",
        address: str = "",
        title: str = "run",
        faults: Sequence[str] = (),
    ) -> Page:
        path = folder / "view.html"
        write_page(results, headers, path, title=title, faults=faults)
        return Page(browser, path, width=width, scheme=scheme, address=address)

    return show
