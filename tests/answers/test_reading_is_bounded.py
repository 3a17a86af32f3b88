"""No text raises, gives a vote out of range, or makes the reader do more work the longer it repeats itself."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reader import FLOODS
from sctir_kaggle.answers import boxed, parse, read_answer, stated
from sctir_kaggle.answers.rational import MAX_BITS

PIECES = [
    "0", "1", "2", "7", "42", "1,000", ".5", "+", "-", "*", "/", "^", "_", "!", "(", ")", "[", "]", "{", "}", "|", "=",
    ",", ".", r"\frac", r"\sqrt", r"\binom", r"\choose", r"\cdot", r"\left", r"\right", r"\mod", r"\pmod", r"\lfloor",
    r"\rfloor", r"\text{", r"\text{cm}", r"\boxed{", r"\pi", "x", "sqrt", "cm", "degrees", "mod", r"\%", r"\$",
    r"\circ", r"\{", r"\}", r"\,", r"\!", "$", "²", "√", "°", "−", "~", r"\quad", r"\large", r"\\", "&", "{,}", "４", "٢",
    r"\begin{aligned}", r"\end{aligned}", r"\begin{array}{c}", r"\color{red}", r"\hspace{1cm}", r"\underline{", r"\bf",
    "answer", "Answer:", "the answer is", "Final Answer", "**", "#", "\n", "\n\n", "is", "not", "and", "or", ":", "?", "which",
    "$$", r"\[", r"\]", r"\(", r"\)", "`", "```", "```python\n", "<answer>", "</answer>", "Wait", "答案", "。", "<b>", ";",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES))
ANY = st.one_of(st.text(), TEXTS.map("".join), TEXTS.map(" ".join))


@pytest.mark.slow
@given(ANY)
def test_no_text_raises_and_every_value_is_bounded(text: str) -> None:
    value = parse(text)
    if value is not None:
        assert max(value.numerator.bit_length(), value.denominator.bit_length()) <= MAX_BITS
    for around in (
        f"So $\\boxed{{{text}}}$. The answer is {text}",
        f"The answer is {text}",
        f"**Final Answer**\n{text}",
        text,
    ):
        reading = read_answer(around)
        assert reading.answer is None or 0 <= reading.answer <= 999
        assert reading.has_value or reading.answer is None


@pytest.mark.slow
@given(ANY)
def test_what_is_kept_of_an_answer_denotes_what_was_voted_for(text: str) -> None:
    reading = read_answer(f"We see that {text}", modulus=None, lowest=None, highest=None)
    if reading.answer is not None:
        assert reading.boxed is not None
        assert parse(reading.boxed) == reading.answer


def steps(text: str) -> int:
    """Lines of Python that reading `text` executes: the same number in every run and on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        boxed(text)
        stated(text)
        read_answer(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("piece", FLOODS.values(), ids=FLOODS.keys())
def test_a_text_that_repeats_itself_is_no_more_work_the_longer_it_is(piece: str) -> None:
    assert steps(piece * 200_000) <= 1.1 * steps(piece * 50_000) + 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 10**5 + "x" + "}" * 10**5,
        ("\\boxed" + " " * 1000) * 1000,
        "`" * 10**5 + "a`b",
        "~" * 10**5 + "a~b",
        "```python\n" + "`" * 10**5 + "a`b",
        "The answer is " + "1" * 10**6,
        "The answer is " + "(" * 10**6,
        "answer (" + "a" * 10**6,
        "answer" + "*" * 10**6,
        "answer to " + "a " * 10**6,
        "\\boxed{" + "1{" * 10**6 + "}",
    ],
    ids=lambda text: f"{text[:20]} {len(text)}",
)
def test_no_pattern_goes_back_and_forth_over_a_long_text(text: str) -> None:
    """With a pattern that is quadratic in any of these, the test would take hours."""
    assert read_answer(text).answer is None


@pytest.mark.parametrize(
    "text",
    [
        "1" + ",\\!" * 1300 + "x",
        "1{ " * 1300,
        "is " * 1300,
        "\\\\ " * 1300,
        "$a" * 1900,
        "\\text{a" * 500,
        ", abc" * 700,
    ],
)
def test_an_expression_that_repeats_itself_has_no_value(text: str) -> None:
    assert parse(text) is None
    assert read_answer(f"\\boxed{{{text}}}").answer is None
    assert read_answer(f"Answer: {text}").answer is None
