r"""Which box holds the answer, and what is read in it: boxes inside boxes, boxes side by side, words around the number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.answers import Reading, boxed, read_answer
from sctir_kaggle.types import Answer


def vote(text: str) -> Answer | None:
    return read_answer(text, modulus=None, lowest=None, highest=None).answer


# fmt: off
READ: dict[str, int] = {
    # words before the number
    r"\boxed{\text{The answer is } 42}": 42,
    r"\boxed{\text{Answer: } 42}": 42,
    r"\boxed{\text{answer: 42}}": 42,
    r"\boxed{\textbf{Answer: \text{42}}}": 42,
    r"\boxed{Answer: 42}": 42,
    r"\boxed{\text{Area} = 42}": 42,
    r"\boxed{\text{Area}\colon 42}": 42,
    r"\boxed{The area of the polygon is 800}": 800,
    r"\boxed{\text{The minimum value of } f(x) \text{ is } -7.}": -7,
    r"\boxed{\text{The 3rd term is } 42}": 42,
    r"\boxed{\text{The sum of } a \text{ and } b \text{ equals } 42}": 42,
    r"\boxed{\text{The total is therefore } 1{,}024}": 1024,
    r"\boxed{\begin{gathered} \text{The answer is} \\ 42 \end{gathered}}": 42,
    r"\boxed{n = 42}": 42,
    r"\boxed{m + n = 2 + 40 = 42}": 42,
    r"\boxed{\text{Therefore } 42}": 42,
    r"\boxed{\text{Thus, } x = 42}": 42,
    # what prints nothing, and the end of what prints nothing
    r"\boxed{42\ }": 42, r"\boxed{\rule{0pt}{2ex}42}": 42, r"\boxed{\scalebox{2}{42}}": 42, r"\boxed{42\hspace{1pt}}": 42,
    # words after it
    r"\boxed{42 \text{ cm}^2}": 42,
    r"\boxed{42 \text{ ways}}": 42,
    r"\boxed{\text{There are } 42 \text{ ways}}": 42,
    r"\boxed{42 \text{ is the answer}}": 42,
    r"\boxed{42, \text{ as required}}": 42,
    r"\boxed{42 \text{ (the smallest such number)}}".replace("such ", ""): 42,
    r"\boxed{There are 5 polynomials that satisfy the given condition.}": 5,
    # money, degrees, percent
    r"\boxed{\$42}": 42, r"\boxed{42\%}": 42, r"\boxed{42^\circ}": 42, r"\boxed{\text{\$42}}": 42,
    # boxes inside boxes
    r"\boxed{The area is \boxed{800}}": 800,
    r"\boxed{\text{So we find } \boxed{\text{it is } \boxed{42}}}": 42,
    r"\boxed{\boxed{42}}": 42,
    r"\boxed{x = \boxed{42}}": 42,
    r"\boxed{\fbox{42} \text{ is what we wanted}}": 42,
    r"\boxed{\text{first } \boxed{42} \text{ and again } \boxed{42.0}}": 42,
    r"\boxed{\text{cut off} \boxed{42}": 42,
    # boxes side by side with one value
    r"$\boxed{42}$, that is, $\boxed{42}$": 42,
    r"$\boxed{42}$ and $\boxed{42.0}$": 42,
    r"First $\boxed{3}$ and then, in the end, $\boxed{42}$": 42,
    r"$\boxed{3}$. $\boxed{42}$": 42,
    r"$n = \boxed{3}$, so $m = \boxed{42}$": 42,
    r"$n = \boxed{3}$, $m + n = \boxed{42}$": 42,
    r"$\boxed{\pi}$ or $\boxed{42}$": 42,
    # what prints nothing is no box
    r"\boxed{42}, in \boxed{\quad}": 42, r"\boxed{42}, in \boxed{ ~ }": 42, r"\boxed{42}, in \boxed{\,}": 42,
    r"\framebox{42}": 42, "\\boxed{\n  42\n}": 42,
}

NOT_READ: list[str] = [
    # words that change the number, or that leave it open
    r"\boxed{\text{at least } 42}", r"\boxed{\text{not } 42}", r"\boxed{\text{The answer is not } 42}",
    r"\boxed{\text{about } 42}", r"\boxed{\text{The sum is about } 42}", r"\boxed{\text{between } 3 \text{ and } 5}",
    r"\boxed{\text{The remainder is between 19 and 35, inclusive.}}", r"\boxed{\text{twice } 21}",
    r"\boxed{\text{Case } 2}", r"\boxed{\text{Option 3}}", r"\boxed{m \text{ cannot be equal to } 3}",
    r"\boxed{\text{If } n = 3 \text{ the answer is } 5}", r"\boxed{x \text{ is } 3 \text{ and } y \text{ is } 4}",
    r"\boxed{x = 3, y = 4}", r"\boxed{x = 3 \text{ and } y \text{ is } 4}", r"\boxed{\text{x: } 3, \text{ y: } 4}",
    r"\boxed{3:2}", r"\boxed{7:30}", r"\boxed{42 \text{ million}}", r"\boxed{42 \text{ for } n = 7}",
    r"\boxed{42 \text{ for all } n}", r"\boxed{-3 \text{ (incorrect; see above)}}", r"\boxed{5, \text{six}}",
    r"\boxed{110 \text{ in binary}}", r"\boxed{45{,}360 - X \text{ (where } X \text{ is unknown)}}", r"\boxed{5, x}",
    r"\boxed{\text{There are no solutions}}", r"\boxed{\text{There is no } 5}", r"\boxed{\text{forty-two}}",
    # no number at all, intervals, variables
    r"\boxed{}", r"\boxed{A}", r"\boxed{\text{(C)}}", r"\boxed{x}", r"\boxed{[1, 2]}", r"\boxed{(3, 5)}", r"\boxed{42x}",
    r"\boxed{\ldots}", r"\boxed{\text{The answer is A}}", r"\boxed{?}", r"\boxed{\text{your answer}}",
    # two answers
    r"$\boxed{1}$ and $\boxed{2}$", r"$\boxed{1}$ or $\boxed{2}$", r"\boxed{1}, \boxed{2}",
    r"\[\boxed{1} \text{ and } \boxed{2}\]",
    r"$x = \boxed{3}$, $y = \boxed{4}$", r"$m=\boxed{3}$ and $n=\boxed{4}$", r"\boxed{1}, and \boxed{2}",
    r"\(a = \boxed{3}\) or \(a = \boxed{4}\)", r"$x_1 = \boxed{3}; x_2 = \boxed{4}$", "\\boxed{1},\n\\boxed{2}",
    r"\boxed{\text{either } \boxed{3} \text{ or } \boxed{4}}", r"\boxed{\text{good: } \boxed{x}, \text{ and } \boxed{4}}",
]
# fmt: on


@pytest.mark.parametrize(("text", "value"), READ.items(), ids=READ.keys())
def test_the_number_of_a_box_is_read(text: str, value: int) -> None:
    assert vote(f"We add up. Hence {text}.") == value


@pytest.mark.parametrize("text", NOT_READ)
def test_no_vote_is_invented_from_a_box(text: str) -> None:
    assert vote(f"We add up. Hence {text}.") is None


def test_a_reading_keeps_the_part_of_the_box_that_is_the_answer() -> None:
    assert read_answer(r"\boxed{\text{The area is } 1{,}042}") == Reading("1,042".replace(",", "{,}"), 42)
    assert read_answer(r"\boxed{\text{at least } 42}") == Reading(r"\text{at least } 42", None)
    assert read_answer(r"\boxed{\text{it is } \boxed{42}}") == Reading("42", 42)
    assert boxed(r"$\boxed{-2}$ and $\boxed{1}$") == "-2, 1"


@pytest.mark.parametrize(
    ("text", "has_value"),
    [
        (r"\boxed{42}", True),
        (r"\boxed{\frac{5}{2}}", True),
        (r"\boxed{\text{it is } 42}", True),
        (r"\boxed{\text{none}}", False),
        (r"\boxed{1} and \boxed{2}", False),
        ("", False),
    ],
)
def test_a_fraction_is_a_value_and_words_are_none(text: str, has_value: bool) -> None:
    assert read_answer(text).has_value is has_value


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.sampled_from([r"\text{so } ", "Area: ", r"\large ", "{", ""]), max_size=5),
)
def test_a_number_is_found_however_deep_its_box_lies(number: int, around: list[str]) -> None:
    text = f"\\boxed{{{number}}}"
    for words in around:
        text = f"\\boxed{{{words}{text}}}" + "}" * words.count("{")
    assert vote(text) == number


def test_many_boxes_in_a_box_are_searched_up_to_a_limit() -> None:
    assert vote("\\boxed{many of " + "\\boxed{42} " * 16 + "}") == 42
    assert vote("\\boxed{many of " + "\\boxed{42} " * 1000 + "}") is None
