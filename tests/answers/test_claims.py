r"""Answers that are stated without a box: one claim in another, on the next line, in bold; and claims that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.answers import Reading, read_answer, stated
from sctir_kaggle.types import Answer


def vote(text: str) -> Answer | None:
    return read_answer(text, modulus=None, lowest=None, highest=None).answer


# fmt: off
CLAIMS: dict[str, dict[str, int]] = {
    "one in another": {
        "Final Answer: The final answer is $42$. I hope it is correct.": 42,
        "Final Answer:\nThe final answer is $14{,}916$. I hope it is correct.": 14916,
        "FINAL ANSWER: the answer is 42": 42,
        "Answer: the final answer is \\(42\\)": 42,
        "**Final Answer:** The answer is **42**.": 42,
        "Final Answer: The volume of $ABCDEFGH$ is 120. I hope it is correct.": 120,
        "Final Answer: The largest $n$ is 34.": 34,
        "### Final Answer\n\nThe minimum value of $x^2 + y^2$ is $20$.": 20,
    },
    "one beside another": {
        "So the numerical answer is 56.The answer is: $56$": 56,
        "The answer is: 256 The answer is: $256$": 256,
        "The value of the final answer is: $$ 38 $$.The answer is: $ 38$": 38,
        "The final numerical answer is: $100$.The answer is: $100$": 100,
        "The value of $f(100)$ is 1.The answer is: $1$": 1,
        "The answer is 41. No: the answer is 42.": 42,
        "The answer is 42. This answer is what we expected.": 42,
        "The answer is $42$, so the answer is $42$.": 42,
    },
    "on the next lines": {
        "The answer is\n$$\n42\n$$": 42,
        "The answer is\n\\[\n42\n\\]\n": 42,
        "The answer is:\n\n\\[ 42 \\]\n\nas required.": 42,
        "The answer is:\n\n42": 42,
        "The answer is\n\n**42**": 42,
        "The answer is\n\\begin{align*}\nx &= 6 \\cdot 7 \\\\\n&= 42.\n\\end{align*}": 42,
        "Answer:\n```\n42\n```": 42,
        "The answer is\r\n$$\r\n42\r\n$$\r\n": 42,
        "the answer is $x =\n42$.": 42,
    },
    "in bold, and below a heading": {
        "---\n\n**Final Answer**: 73": 73,
        "**Final Answer:** $73$": 73,
        "\u2705 Final Answer: **73**": 73,
        "### Final Answer: 73": 73,
        "### Final Answer\n73": 73,
        "## Answer\n\n$$73$$": 73,
        "**Final Answer**\n\n73": 73,
        "**Answer**\n\\[73\\]": 73,
        "**Answer: 73**": 73,
        "__Answer__: 73": 73,
        "*Answer:* `73`": 73,
        "\\textbf{Answer: 73}": 73,
        "\\textbf{Answer:} 73": 73,
        "\\textbf{Final Answer}: $73$": 73,
        "\\[\n\\text{Answer: } 73\n\\]": 73,
        "$$\\text{Final Answer} = 73$$": 73,
        "> **Answer:** 73": 73,
        "<answer>73</answer>": 73,
        "<b>Answer:</b> 73</p>": 73,
        "16 * 3 = 48\n#### 48": 48,
        "Final answer\n\n73": 73,
        "Final Answer\n------------\n73": 73,
        "**Final Answer:**\n- 73": 73,
        "**Final Answer:**\n-73": -73,
        "**Answer** 73": 73,
        "**Answer.** 73": 73,
        "**Final Answer** \u2014 **73**": 73,
        "Final answer 73": 73,
        "\\section*{Final Answer}\n73": 73,
        "\\paragraph{Answer.} 73": 73,
    },
    "before the end of a sentence": {
        "The answer is $42$!": 42,
        "The answer is 42!": 42,
        "The answer is 42!!": 42,
        "The answer is **42**!": 42,
        "The answer is $42$ !": 42,
        "The answer is \\(42\\)! What a nice problem.": 42,
        "The answer is $5!$.": 120,
        "The answer is $5!$!": 120,
        "The answer is 5! = 120.": 120,
        "The answer is \\(4! + 1\\)": 25,
        "The answer is $42.$": 42,
        "The answer is 1,234.": 1234,
        "The answer is 42 ...".replace(" ...", " ."): 42,
        "The answer is: \u201c42\u201d.": 42,
        "The answer is 42. \u220e": 42,
        "Answer: 42 \u2705": 42,
        "The answer is 42 $\\blacksquare$": 42,
    },
    "in other words": {
        "The answer to the question is 42.": 42,
        "The answer, therefore, is 42.": 42,
        "Answer (in cm): 42": 42,
        "The answer should be 42.": 42,
        "The answer must be $42$.": 42,
        "The answer equals 42.": 42,
        "The answer is equal to 42.": 42,
        "The answer is therefore $\\frac{84}{2} = 42$.": 42,
        "Answer = 42": 42,
        "Answer \u2192 42": 42,
        "Ans: 42": 42,
        "The answer is $42, since it was $41 before.".replace(", since it was $41 before", ""): 42,
        "\u7b54\u6848\u662f\uff14\uff12\u3002": 42,
        "\u6700\u7ec8\u7b54\u6848\uff1a$42$\u3002": 42,
        "Answer\uff1a42": 42,
        "The answer is: $\\boldsymbol{140}$ (and this time, the minimum value was calculated without any errors).": 140,
        "The answer is 42, as required.": 42,
        "The answer is 42, which is even.": 42,
        "The answer is 42 because we counted them.": 42,
        "The answer is $42$ square units.": 42,
        "The answer is $m + n = 2 + 40 = \\mathbf{42}$.": 42,
        "Answer: (C) 42": 42,
        "The answer is $-42$": -42,
        "The answer is \uff14\uff12\u3002": 42,
    },
}

NO_CLAIMS: dict[str, list[str]] = {
    "denied, doubted, conditional": [
        "The answer is not 42.", "The answer is surely not $42$!", "I do not think the answer is 42.",
        "It is not true that the answer is 42.", "I don't believe that the answer is 42", "Suppose the answer is 42.",
        "If the answer is 42, we are done.", "Let us see whether the answer is 42.", "The answer is 42? I am not sure.",
        "The answer is 42, right?", "The wrong answer is 42.", "A possible answer is 42.", "The previous answer was 42.",
        "The answer might be 42.", "There is no answer: 42 was a guess.", "Is the answer 42?", "The answer isn't 42.",
    ],
    "taken back": [
        "The answer is 42. Wait, that is wrong.", "The answer is 42. This answer is wrong.", "The answer is 42. Hmm.",
        "The answer is 42. I made a mistake.", "The answer is 41. The answer is not 41.",
    ],
    "several values": [
        "The answer is between 3 and 5.", "The answer is 41 or 42.", "The answer is either 41 or 42", "The answer is 3 and 4.",
        "The answer is 3, 4.", "The answer is $3$ and $4$.", "The answer is x=3, y=4.", "The answer is $x = 3$, $y = 4$.",
        "The answer is 41 and the answer is 42.", "The answer is: 255 The answer is: $256$",
        "The answer is $41$ or maybe $42$.",
        "The answers are 42 and 43", "The answer is 42, or 43.", "The answer is 42 (or 43).", "The answer is 5 to 6.",
        "The answer is $\\pm 3$.", "The answer is [3, 5].", "The answer is (3, 5).", "The answer is $[3, 5)$.",
        "Final Answer: $x = 3$ and y is 4", "Final Answer: for n=3 it is 5 and for n=4 it is 6",
        "The answer is 5 for part (a) and 6 for part (b).",
    ],
    "no integer, no number": [
        "The answer is x.", "The answer is $2x + 1$.", "The answer is A.", "Answer: (C)", "The answer is forty-two.",
        "The answer is clear.", "The answer is:", "The answer is $\\pi$.", "The answer is 42x", "The answer is $\\boxed{}$.",
        "Answer:\n\nWe count the 42 cases one by one", "The answer is 42 million.", "The answer is about 42.",
        "The answer is at most 42.", "The answer is less than 42.", "The answer is approximately $42$.", "The answer is 0.5.",
        "The answer is the value of x when y is 5.", "The answer is the number whose square is 16.",
        "Final Answer: Jane started 3 hours ago.", "The answer has 42 digits.", "The answer is a multiple of 42.",
    ],
    "no conclusion": [
        "The answer is 5. " + "Now we look at the second half of the problem in more detail. " * 3,
        "The intermediate answer is 5.\n\n" + "We go on. " * 30, "The partial answer is 5.", "I do not know the answer\n42",
        "42", "It is 42.", "answering 42", "unanswered: 42",
        "The **answer** 42 is near", "Final answers 42", "We give the final answer 42 times",
    ],
}
# fmt: on


@pytest.mark.parametrize(("text", "value"), [pair for group in CLAIMS.values() for pair in group.items()])
def test_a_closing_claim_is_the_answer(text: str, value: int) -> None:
    assert vote(f"We add up, and that is all.\n\n{text}") == value
    assert read_answer(text, allow_stated=False) == Reading()


@pytest.mark.parametrize("text", [text for group in NO_CLAIMS.values() for text in group])
def test_no_vote_is_invented_from_a_sentence(text: str) -> None:
    assert vote(f"We add up, and that is all.\n\n{text}") is None


def test_a_claim_is_kept_as_it_is_written_without_what_is_around_it() -> None:
    assert stated("**Final Answer**: $14{,}916$!") == "14{,}916"
    assert stated("The answer is\n$$\n42\n$$") == "42"
    assert stated("Answer: the area is 42 cm.") == "42 cm"
    assert stated("The answer is 41 or 42.") is None


def test_a_claim_counts_up_to_a_hundred_characters_before_the_end() -> None:
    assert vote("The answer is 42. " + "x" * 98) == 42
    assert vote("The answer is 42. " + "x" * 100) is None


@pytest.mark.parametrize(
    "shape",
    [
        "The answer is {}.", "The answer is ${}$!", "**Final Answer**: {}", "Answer:\n$$\n{}\n$$", "### Answer\n{}",
        "Final Answer: The final answer is ${}$. I hope it is correct.", "It is {}.The answer is: ${}$",
        "The answer is \\({}\\), as required.", "#### {}", "<answer>{}</answer>", "Final Answer: the sum is {}.",
    ],
)  # fmt: skip
@given(number=st.integers(-(10**12), 10**12))
def test_every_integer_comes_back_from_every_shape_of_a_claim(shape: str, number: int) -> None:
    assert vote(shape.format(number, number)) == number
    assert vote(shape.format(f"{number:,}", f"{number:,}".replace(",", "{,}"))) == number


@given(st.integers(), st.integers(), st.sampled_from(["or", "and", ",", "to", "but not", "if n is not"]))
def test_two_numbers_in_a_claim_are_no_answer(one: int, two: int, word: str) -> None:
    assert vote(f"The answer is {one} {word} {two}.") is None
