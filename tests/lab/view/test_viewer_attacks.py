"""What a model wrote, in real Chromium: it is text wherever it stands, it never acts, and the page asks for nothing."""

from __future__ import annotations

import pytest

from benchmarks.written import run
from sctir_kaggle.types import ExecutionResult, Problem
from tests.support.pages import Show
from tests.support.solved import solved, trace, turn

pytestmark = pytest.mark.browser

ATTACKS = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned=1'>",
    "<!--<script>",
    "]]>\u2028\u2029\u0000\ud800<svg/onload=window.pwned=1>",
    "$\\href{javascript:window.pwned=1}{click}$ $\\url{https://example.org}$",
    "$\\htmlData{x=y}{z}$ $\\htmlClass{a}{b}$ $\\htmlStyle{color:red}{c}$ $\\includegraphics{https://example.org/a.png}$",
    "$\\text{<img src=x onerror=window.pwned=1>}$",
    "```python\n'<img src=x onerror=window.pwned=1>' # </script>\n```",
    "```<img src=x onerror=window.pwned=1>\nx\n```",
    "{{script}}{{index}}",
)


MADE = "'img, iframe, object, a, main script, svg[onload]'"
"""Elements that the page never has."""


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_model_wrote_never_acts(show: Show, attack: str) -> None:
    executed = turn(attack, prefix=attack, code=attack, execution=ExecutionResult(attack), bridge=(attack,))
    candidate = trace(0, 1, executed, detail=attack, boxed=attack)
    page = show(
        [solved(attack, problem=Problem(attack, attack, 1, attack, attack), traces=(candidate,))],
        title=attack,
        faults=[attack],
    )
    page.click("#list tbody tr")
    page.until("document.getElementById('candidate-title') !== null")
    for _ in range(2):
        assert page.js(f"window.pwned === undefined && document.querySelectorAll({MADE}).length === 0")
        page.press("r")
    page.press("r")
    kept = attack.replace("\ud800", "?")
    assert page.text("pre.raw") == kept
    assert page.text("pre.output") == kept


def test_the_page_asks_for_nothing(show: Show) -> None:
    header, results = run(3, 8, 2)
    page = show(results, [header])
    page.open(results[0].problem.id)
    page.press("l", "l", "r", "t", "j")
    assert [url for url in page.requests() if not url.startswith(("data:", page.path.as_uri(), "about:blank"))] == []


def test_the_policy_stops_what_would_ask_or_run(show: Show) -> None:
    page = show([solved("p", 1)])
    attempt = "fetch('https://example.org').then(() => 'went out', () => 'stopped')"
    assert page.js(f"await {attempt}") == "stopped"
    tried = "try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch { return 'stopped' }"
    assert page.browser.execute_script(tried) == "stopped"
    assert len(page.console()) >= 1  # Chromium says what it stopped
