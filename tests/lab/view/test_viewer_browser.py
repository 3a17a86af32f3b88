"""The viewer's page in real Chromium: what is seen, what the keys do, how it looks."""

from __future__ import annotations

import pytest

from benchmarks.written import run
from sctir_kaggle.lab.view import page as pages
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, PartialTurn, Problem, SolveResult, TraceStatus
from tests.support.pages import Show
from tests.support.solved import solved, trace, turn

pytestmark = pytest.mark.browser

ENTER, ESCAPE, DOWN, UP, RIGHT = "\ue007", "\ue00c", "\ue015", "\ue013", "\ue014"
"""WebDriver's codes of these keys."""

FOCUSED = "document.activeElement"


def three() -> list[SolveResult]:
    """One right, one wrong, one default."""
    return [
        solved("first", 7, 7, 5, reference=7, seconds=3.0),
        solved("second", 4, 4, 8, 9, reference=8, seconds=1.0),
        solved("third", None, reference=2, seconds=2.0, stopped="deadline"),
    ]


# what is seen


@pytest.mark.slow
def test_the_overview_says_what_the_run_reached(show: Show) -> None:
    header, results = run(6, 8, 2)
    page = show(results, [header], title="my run")
    assert page.text("h1") == "my run"
    assert page.texts(".tile h2")[:2] == ["Right", "Tokens"]
    page.until(
        "document.querySelectorAll('#curves path').length === 4 && document.querySelectorAll('#times .bar').length === 6"
    )
    assert "8 × 2, T = 0.8" in page.text("#about")


def test_a_row_says_answer_reference_and_votes(show: Show) -> None:
    page = show(three())
    cells = page.texts('tr[data-id="second"] td')
    assert [cells[0], cells[2], cells[3], cells[5]] == ["✗", "contested4", "8", "4/4"]
    label = page.js("document.querySelector('tr[data-id=second] .votebar').getAttribute('aria-label')")
    assert label == "2 leader, 1 runner up, 1 others"


def test_an_opened_problem_shows_text_code_formula_and_output(show: Show) -> None:
    written = "Let $x^2$ be.\n```python\nfor k in range(3):  # three\n    print('a', k)\n```\n```output\n"
    executed = turn(written, code="...", execution=ExecutionResult("a 0\na 1", ExecutionStatus.ERROR, 0.25))
    last = turn("So \\[\\boxed{7}\\] it is.", prefix="The answer is ")
    page = show([solved("p", traces=(trace(0, 7, executed, last),))])
    page.open("p")
    assert page.texts("#candidate .math .katex-html")
    assert page.js("document.querySelector('.katex-display') !== null")
    assert page.texts(".py-word") == ["for", "in"]
    assert (page.texts(".py-string"), page.texts(".py-comment")) == (["'a'"], ["# three"])
    assert page.text("pre.output") == "a 0\na 1"
    assert "raised in 0.25 s" in page.text(".output-head")
    assert "written for it The answer is" in page.text(".prefix")
    assert "```" not in page.text("#candidate")


def test_a_formula_that_cannot_be_drawn_is_shown_as_it_was_written(show: Show) -> None:
    page = show([solved("p", traces=(trace(0, 7, turn("see $\\frac{1$ and \\$5 or $6 and $7")),))])
    page.open("p")
    assert page.text(".bad-math") == "$\\frac{1$"
    assert "and $5 or $6 and $7" in page.text(".prose:not(.statement *)")


def test_as_written_is_exactly_what_the_model_wrote(show: Show) -> None:
    text = "  $x$ **bold** <b>\n\n```python\n1\n```\n```output\n"
    page = show([solved("p", traces=(trace(0, 7, turn(text)),))])
    page.open("p")
    page.press("r")
    assert page.text("pre.raw") == text
    assert page.js("document.getElementById('raw').getAttribute('aria-pressed')") == "true"


def test_the_vote_is_drawn_as_it_grew(show: Show) -> None:
    page = show([solved("p", 5, 7, None, 7, reference=7)])
    page.open("p")
    page.until("document.querySelector('.step.place0') !== null")
    ys = page.js(
        "document.querySelector('.step.place0').getAttribute('d').slice(1).split('L').map((p) => +p.split(',')[1])"
    )
    heights = [round((ys[0] - y) / (ys[0] - ys[-1]), 2) for y in ys]
    assert heights == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1]  # a point before and after each candidate
    assert page.js("[...document.querySelectorAll('.cell')].map((c) => c.classList[1])") == [
        "runner-up",
        "leader",
        "no-answer",
        "leader",
    ]
    assert page.texts(".voterow .answer") == ["7 ✓", "5", "no answer"]


def test_a_right_answer_that_nobody_gave_is_named(show: Show) -> None:
    page = show([solved("p", 5, reference=7)])
    page.open("p")
    assert page.texts(".voterow .answer") == ["5", "7 ✓"]
    assert "right is 7" in page.text(".verdict")


def test_a_cancelled_candidate_says_what_it_was_doing(show: Show) -> None:
    cut = PartialTurn("p/0/0", "executing", turn("```python\nwhile 1: pass\n```", code="while 1: pass"), 2.5)
    page = show([solved("p", traces=(trace(0, None, status=TraceStatus.CANCELLED, cut=cut),))])
    page.open("p")
    assert "cut short after 2.5 s while its code ran" in page.text("#candidate")
    assert "while 1: pass" in page.text("pre.code")


def test_each_reason_to_end_is_explained(show: Show) -> None:
    traces = tuple(trace(n, None, status=status, detail="the detail") for n, status in enumerate(TraceStatus))
    page = show([solved("p", traces=traces)])
    page.open("p")
    for place, status in enumerate(TraceStatus):
        page.click(f'.chip[data-place="{place}"]')
        page.until(f"document.querySelector('#candidate-title').textContent.startsWith('Candidate {place}')")
        assert page.text("#candidate .tag") == status.value.replace("_", " ")
        assert page.text("#candidate .detail") == "the detail"


def test_seeds_are_shown_one_at_a_time(show: Show) -> None:
    page = show([solved("p", 1, reference=1, seed=3), solved("p", 2, reference=1, seed=4)])
    assert page.texts("#list td:first-child .mark") == ["✓", "✗"]
    assert "mixed1" in page.texts("#filters button")
    page.open("p")
    assert "answered 1" in page.text(".verdict")
    page.press("s")
    page.until("document.querySelector('.verdict').textContent.includes('answered 2')")
    assert page.text('.seeds [aria-pressed="true"]') == "✗ seed 4"


def test_of_many_seeds_the_list_counts_the_right_ones(show: Show) -> None:
    page = show([solved("p", answer, reference=1, seed=seed) for seed, answer in enumerate((1, 2, 1, 1, 1))])
    assert page.texts("#list td:first-child .mark") == ["4/5"]


def test_a_run_without_references_has_neither_right_nor_wrong(show: Show) -> None:
    page = show([solved("p", 1), solved("q", 2)])
    assert page.texts("#filters button") == ["all2"]
    assert page.js("document.getElementById('curves').hidden")
    page.open("p")
    assert "no reference answer" in page.text(".verdict")


def test_a_run_without_results_says_so(show: Show) -> None:
    page = show([], [{"version": "1"}], faults=["the engine never came up"])
    assert page.texts(".tile .value") == ["none yet"]
    assert "the engine never came up" in page.text("#faults")
    assert page.js("document.getElementById('browse').hidden")
    page.press("j", "k", "s", "r", "h", ENTER, ESCAPE)


def test_a_problem_without_candidates_says_so(show: Show) -> None:
    page = show([solved("p", stopped="error")])
    page.open("p")
    assert "No candidate was started" in page.text("#problem")
    page.press("h", "l", "r")


def test_texts_that_were_left_out_are_told(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "TEXT_LIMIT", 0)
    page = show([solved("p", 1)])
    page.open("p")
    assert "the journal has it" in page.text("#candidate .notice")


def test_an_answer_of_many_digits_keeps_them_all(show: Show) -> None:
    answer = 10**40 + 7
    page = show([solved("p", answer, reference=answer)])
    page.open("p")
    assert str(answer) in page.text(".verdict")


# the list


def test_a_filter_shows_its_problems_only(show: Show) -> None:
    page = show(three())
    assert page.texts("#filters button") == ["all3", "right1", "wrong2", "default1", "contested1"]
    for name, rows in {
        "right": ["first"],
        "wrong": ["second", "third"],
        "default": ["third"],
        "contested": ["second"],
    }.items():
        page.click(f'[data-filter="{name}"]')
        assert page.rows() == rows
    assert page.text("#count") == "1 of 3 problems"


def test_a_column_sorts_up_down_and_not(show: Show) -> None:
    page = show(three())
    orders = []
    for way in ("ascending", "descending", "none"):
        page.click("th.c-seconds button")
        assert page.js("document.querySelector('th.c-seconds').getAttribute('aria-sort')") == way
        orders.append(page.rows())
    assert orders == [["second", "third", "first"], ["first", "third", "second"], ["first", "second", "third"]]


def test_every_word_of_a_search_must_occur(show: Show) -> None:
    page = show(three())
    page.press("/", *"Statement sec")
    assert page.rows() == ["second"]
    page.press(ESCAPE)
    assert len(page.rows()) == 3


# the keys


def test_the_list_is_walked_by_keys_and_the_focus_is_seen(show: Show) -> None:
    page = show(three())
    page.press("j", DOWN, "j")
    assert page.js(f"{FOCUSED}.dataset.id") == "third"
    assert page.js(f"getComputedStyle({FOCUSED}).outlineStyle") == "solid"
    page.press("k", UP)
    assert page.js("document.querySelector('[aria-selected=true]').dataset.id") == "first"
    assert page.js("document.querySelectorAll('#list tbody [tabindex=\"0\"]').length") == 1


def test_enter_opens_and_escape_returns_to_the_row(show: Show) -> None:
    page = show(three())
    page.press("j", ENTER)
    page.until("document.getElementById('problem-title')?.textContent === 'second'")
    assert page.js(f"{FOCUSED}.id") == "problem-title"
    page.press(ESCAPE)
    assert page.js("document.getElementById('problem').hidden")
    assert page.js(f"{FOCUSED}.dataset.id") == "second"


def test_an_opened_problem_gives_way_to_the_next(show: Show) -> None:
    page = show(three())
    page.press(ENTER)
    page.until("document.getElementById('problem-title')?.textContent === 'first'")
    page.press("j")
    page.until("document.getElementById('problem-title')?.textContent === 'second'")


def test_candidates_are_walked_in_the_order_in_which_they_ended(show: Show) -> None:
    page = show([solved("p", traces=tuple(trace(number, 1, turn(f"I am {number}")) for number in (4, 2, 9)))])
    page.open("p")
    seen = []
    for _ in range(4):
        seen.append(page.text("#candidate .prose"))
        page.press(RIGHT)
    assert seen == ["I am 4", "I am 2", "I am 9", "I am 9"]
    page.press("h")
    assert page.texts('.chip[aria-selected="true"]') == ["2"]
    page.until("document.querySelectorAll('.cell')[1].classList.contains('chosen')")


def test_slash_reaches_the_search_and_enter_opens_what_was_found(show: Show) -> None:
    page = show(three())
    page.press("/", *"third")
    assert page.js(f"{FOCUSED}.id") == "search"
    page.press(ENTER)
    page.until("document.getElementById('problem-title')?.textContent === 'third'")


def test_an_address_opens_its_problem_and_going_back_closes_it(show: Show) -> None:
    page = show(three(), address="#second")
    assert page.text("#problem-title") == "second"
    page.press(ESCAPE)
    page.open("first")
    page.browser.back()
    page.until("document.getElementById('problem').hidden")


def test_every_control_has_a_name_and_tabs_have_their_panel(show: Show) -> None:
    page = show(three())
    page.open("second")
    named = "e.textContent.trim() || e.getAttribute('aria-label')"
    assert page.js(f"[...document.querySelectorAll('button, input')].every((e) => {named})")
    assert page.js("document.querySelectorAll('[role=tablist] [role=tab]').length") == 4
    assert (
        page.js(
            "document.getElementById(document.querySelector('[role=tab]').getAttribute('aria-controls')).getAttribute('role')"
        )
        == "tabpanel"
    )


# how it looks


def test_light_and_dark_follow_the_system_until_one_is_chosen(show: Show) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    light = show(three(), scheme="light").js(shade)
    page = show(three(), scheme="dark")
    dark = page.js(shade)
    assert light != dark
    page.press("t")
    assert (page.text("#theme"), page.js(shade)) == ("Light", light)
    page.press("t")
    assert (page.text("#theme"), page.js(shade)) == ("Dark", dark)
    page.press("t")
    assert page.text("#theme") == "Auto"


def test_a_chosen_theme_is_remembered(show: Show) -> None:
    show(three()).press("t", "t")
    assert show(three()).text("#theme") == "Dark"


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(show: Show, width: int) -> None:
    long = "x" * 500
    text = f"$${'+'.join('abcdefgh' * 12)}$$ {long}\n```python\n{long}\n```\n```output\n"
    hostile = trace(0, 10**60, turn(text, code=long, execution=ExecutionResult(long)), detail=long, boxed=long)
    results = [solved(long, problem=Problem(long, f"{long} $x$", 10**60), traces=(hostile,)), *run(3, 48, 2)[1]]
    page = show(results, [{}], width=width, title=long, faults=[long])
    wider = "document.documentElement.scrollWidth > innerWidth"
    assert not page.js(wider)
    page.open(long)
    assert not page.js(wider)
    page.press("r")
    assert not page.js(wider)
