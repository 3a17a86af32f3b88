r"""Find the box that holds a text's answer: the last complete `\boxed{...}` or `\fbox{...}` of the prose.

Braces balance, and `\{` is no brace. Of nested boxes the outer one counts if it has a value, else the ones that it holds,
if they agree. Two boxes side by side with different values, as in `\boxed{1} and \boxed{2}`, are two answers. Empty boxes are
passed over. Only the end of the prose is searched, so the work is bounded whatever its length.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.dialects.fences import without_code

_BRACES = re.compile(
    r"\\{1,2}(?:boxed|fbox|framebox)(?![A-Za-z])\s*(?:(?P<open>\{)|(?P<bare>[-+\u2212]?[0-9](?:[0-9,.]*[0-9])?))|\\.|[{}]",
    re.DOTALL,
)
_EMPTY = re.compile(r"(?:[\s~$]|\\[,;:!> ]|\\q?quad(?![A-Za-z]))*")
_SIGNS = r"(?:[\s$~}]|\\[,; ()\[\]]|\\q?quad)*"
_BESIDE = re.compile(  # $m = \boxed{1}$ and $n = \boxed{2}$
    rf"{_SIGNS}(?:[,;]|(?:\\[a-z]+\s*\{{\s*)?(?:and|or)(?![A-Za-z]))(?:{_SIGNS}(?:and|or)(?![A-Za-z]))?{_SIGNS}"
    rf"(?:\\?[A-Za-z]+(?:_\{{?\w\}}?)?\s*={_SIGNS})?"
)
_SEARCHED = 50_000
"""Characters before the end of the prose that are searched, more than an answer's turn has: models that loop write more."""

_MOST_NESTED = 16
"""Boxes inside one box among which a value is searched."""


class _Box(NamedTuple):
    begin: int  # of the command
    start: int  # of the content
    end: int


def boxed(text: str) -> str | None:
    r"""Return the content of the box that holds the answer, as written, or the number of `\boxed 42`; None without a box.

    >>> boxed(r"$\boxed{1}$, or rather $\boxed{\text{it is } \boxed{42}}$"), boxed(r"$\boxed{1}$ and $\boxed{2}$")
    ('42', '1, 2')
    """
    return box_in(without_code(text))


def box_in(prose: str) -> str | None:
    """As `boxed`, of a text without code."""
    text = prose[-_SEARCHED:]
    found = _complete(text)
    if not found:
        return None
    last = found.pop()
    content, inner = _content(text, last), list[_Box]()
    while found and found[-1].begin >= last.start:
        inner.append(found.pop())
    if inner and value_in(content) is None:
        return _agreed(text, inner) or content
    return _beside(text, found[-1], last) if found else content


def _complete(text: str) -> list[_Box]:
    """All boxes that are closed and not empty, in the order in which they end."""
    found: list[_Box] = []
    open_braces: list[tuple[int, int] | None] = []  # where the command and its content begin, if the brace is a box's
    for match in _BRACES.finditer(text):
        if match["bare"]:
            found.append(_Box(match.start(), *match.span("bare")))
        elif match["open"]:
            open_braces.append(match.span())
        elif match[0] == "{":
            open_braces.append(None)
        elif match[0] == "}" and open_braces:
            box = open_braces.pop()
            if box is not None and not _EMPTY.fullmatch(text, box[1], match.start()):
                found.append(_Box(*box, match.start()))
    return found


def _content(text: str, box: _Box) -> str:
    content = text[box.start : box.end].strip()
    cut = text[box.end - 1].isspace() and content.endswith("\\") and not content.endswith("\\\\")  # of a last "\ "
    return content[:-1].rstrip() if cut else content


def _agreed(text: str, inner: list[_Box]) -> str | None:
    """The value, as written, of the innermost of the boxes in a box if it is the same in all; `inner` ends with the first."""
    holds_none = [place + 1 == len(inner) or inner[place + 1].begin < box.start for place, box in enumerate(inner)]
    innermost = [box for box, is_innermost in zip(inner, holds_none, strict=True) if is_innermost]
    if len(innermost) > _MOST_NESTED:
        return None
    values = [value_in(_content(text, box)) for box in innermost]
    same = len({value.number if value else None for value in values}) == 1
    return values[0].text if same and values[0] else None


def _beside(text: str, before: _Box, last: _Box) -> str:
    """The last box's content, or both boxes' if only a comma, `and` or `or` is between them and their values differ."""
    content, other = _content(text, last), _content(text, before)
    between = text[before.end : last.begin]
    if len(between) > 60 or not _BESIDE.fullmatch(between):
        return content
    one, two = value_in(other), value_in(content)
    return f"{other}, {content}" if one and two and one.number != two.number else content
