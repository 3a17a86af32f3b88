r"""A problem's text -> the words that are compared, whatever its case, LaTeX spacing, drawing and punctuation.

Letters and digits are words, all signs are punctuation: `$x+3$` and `\( X - 3 \)` are both `x 3`. So a problem that was
changed in a sign only is found, which is wanted of a decontamination. Not covered: scripts without spaces, where a whole
run of letters is one word.
"""

from __future__ import annotations

import re

_SPACING = "left|right|[bB]ig{1,2}[lrm]?|q?quad|[hv]space|limits|nolimits|displaystyle|textstyle|phantom|begin|end"
_FONTS = "text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|it|rm|sf|bb|cal|frak|scr)|operatorname|mbox|boldsymbol"
_TOKEN = re.compile(
    rf"\\(?:{_SPACING}|{_FONTS})(?![a-zA-Z])|\\[dtc](?=frac|binom)|([^\W\d_]+|\d+)",
)
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL | re.IGNORECASE)


def words_of(text: str) -> list[str]:
    r"""The words of `text` in order, in lower case. `\dfrac` is `frac`; fonts and spacing are none."""
    return [word for word in _TOKEN.findall(text.lower()) if word]


def without_drawings(text: str) -> str:
    """`text` without its `[asy]` drawings, whose code is alike in problems that are not."""
    return _DRAWING.sub(" ", text)
