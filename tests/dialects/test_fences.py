"""Code as models fence it: which of a text is code, and which is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.dialects.fences import blocks, python_code, without_code

OUTPUT = "```output\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("So\n```python\nprint(1)\n```\n```output\n", "print(1)"),
        ("```python\na = 1\n```\nand\n```python\nprint(a)\n```", "a = 1\nprint(a)"),
        ("```python  \nx = 1\n\n```", "x = 1\n"),
        ("```python\n```", ""),
        ("```python\nprint(1)", None),
        ("```python\na\n```\nagain ```python\nb", None),
        ("no code, but `python`", None),
        ("```\nprint(1)\n```", None),
        ("```py\nprint(1)\n```", "print(1)"),
        ("```Python3\nprint(1)\n```", "print(1)"),
        ("```{python}\nprint(1)\n```", "print(1)"),
        ("~~~python\nprint(1)\n~~~", "print(1)"),
        ("Here: ```python\nprint(1)\n```", "print(1)"),
        ("```python\nprint(1)```\nprose\n", "print(1)"),
        ("```python\nprint(1)\n```output\n", "print(1)"),
        ("```python\n# the ``` fence\nprint(1)\n```\n", "# the ``` fence\nprint(1)"),
        ('```python\ns = """\n```\n"""\nprint(s)\n```\n', 's = """\n```\n"""\nprint(s)'),
        ("```python\nx = (\n```\nfirst a draft\n```python\nx = 1\n```", "x = 1"),
        ("1. So\n   ```python\n   if 1:\n       print(1)\n   ```\n", "if 1:\n    print(1)"),
        ("> ```python\n> if 1:\n>     print(1)\n> ```\n", "if 1:\n    print(1)"),
        ("```pycon\n>>> 1\n```", None),
        ("```text\n7\n```", None),
    ],
)
def test_the_code_of_a_text(text: str, code: str | None) -> None:
    assert python_code(text) == code


def test_a_block_without_a_name_is_code_only_before_the_output_that_the_model_asks_for() -> None:
    assert python_code("```\nprint(1)\n```\n" + OUTPUT, handed_over=True) == "print(1)"
    assert python_code("```\nprint(1)\n```\n" + OUTPUT) is None
    assert python_code("print(1)\n```\n" + OUTPUT, handed_over=True) is None


def test_the_last_block_alone_where_that_is_asked_for() -> None:
    assert python_code("```python\na = 1\n```\n```python\nprint(2)\n```", last=True) == "print(2)"


def test_code_and_outputs_are_taken_out_and_other_blocks_stay() -> None:
    text = "a\n```python\n\\boxed{1}\n```\nb\n```output\n\\boxed{2}\n```\nc\n```latex\n\\boxed{3}\n```"
    assert without_code(text) == "a\n\n\nb\n\n\nc\n```latex\n\\boxed{3}\n```"


@given(st.text(alphabet="`~ap \npython'\"#>", max_size=200))
def test_blocks_stand_in_order_inside_the_text_whatever_it_is(text: str) -> None:
    place = 0
    for block in blocks(text):
        assert place <= block.start < block.end <= len(text)
        place = block.end


@pytest.mark.slow
def test_a_text_of_fences_takes_no_longer_than_its_length_says() -> None:
    assert without_code("```python\nx = '\n" * 20_000).count("`") == 0
