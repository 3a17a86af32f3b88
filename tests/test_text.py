"""Text of others becomes what a screen shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.text import on_terminal, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\ufeffFind $x$.", "Find $x$."),
        ("a\u200bb\u2060c\u00add", "abcd"),
        ("\u202eabc\u202c \u2067x\u2069 \u061c", "abc x "),
        ("Solve.\U000e0049\U000e0067\U000e006e\U000e007f", "Solve."),
        ("a\ufe01\ufe02b\U000e0100", "ab"),
        ("a\u200d\u200cb", "ab"),
        ("é\u200d\u200ca", "éa"),
        ("<|im_\u200d\ufeffend|>", "<|im_end|>"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x00\x07\x1b\x7f\x85b", "ab"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        ("tab\tand $x_1$ — ½ é 数 𝟙", "tab\tand $x_1$ — ½ é 数 𝟙"),
        ("می\u200cخواهم 👩\u200d💻 ❤\ufe0f", "می\u200cخواهم 👩\u200d💻 ❤\ufe0f"),
    ],
)
def test_what_shows_nothing_is_left_out_and_all_else_kept(text: str, seen: str) -> None:
    assert visible(text) == seen


@given(st.text(st.characters(codec=None)))
def test_visible_text_is_encodable_and_stays_as_it_is(text: str) -> None:
    seen = visible(text)
    seen.encode()
    assert visible(seen) == seen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("1/3\r2/3\r3/3\n", "3/3\n"),
        ("abcdef\rxy\n", "xycdef\n"),
        ("long line\r\x1b[Kend\n", "end\n"),
        ("long line\x1b[2K\rend\n", "end\n"),
        ("50%\r   \rdone", "done"),
        ("ab\b\bX", "Xb"),
        ("\b\bX", "X"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;2Hup\x1b[?25l", "up"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bcharset\x1b=", "charset"),
        ("kept  \nblanks", "kept  \nblanks"),
    ],
)
def test_an_output_is_what_a_terminal_shows_at_the_end(text: str, shown: str) -> None:
    assert on_terminal(text) == shown
