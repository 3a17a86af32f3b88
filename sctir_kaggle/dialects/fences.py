"""Markdown code fences as models write them: one parser for answers, for code to run and for training rows.

Covered: any usual name of Python and of outputs, or none; blocks in a list or a quotation; a closing fence at the end of a
line of code; backticks inside a string or a comment; a fence that opens before the last one was closed. Bounded: the end of
a block is searched among its next few fences only, and a text that repeats fences without end is read up to a limit.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_OPENING = re.compile(r"(?P<ticks>(?<!`)`{3,}(?!`)|(?<!~)~{3,}(?!~))[ \t]*(?P<info>[^`~\n]*)(?:\n|\Z)")
_FENCE = re.compile(r"(?P<own>(?<=\n)[ \t>]*)?(?P<ticks>`{3,}|~{3,})(?P<info>[^`\n]*)")
_PYTHON = re.compile(r"\{?\.?(?:i?python|py|sage|tool_code)[\d.]*(?![\w-])", re.IGNORECASE)
_QUOTED = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_OUTPUT = re.compile(r"(?:output|out|stdout|console|result)s?\b", re.IGNORECASE)
_OWN_LINE = re.compile(r"(?:\s|[-*+>]|\d+[.)])*\Z")

_MOST_ENDS = 8
"""Fences tried as a block's end, until its code is valid Python."""

_MOST_FENCES = 500
"""Opening fences up to which a text is read; a model that loops may write 200,000. What follows is one block, never closed."""

_LONGEST = 200_000
"""Characters up to which code is parsed to find its end; longer code ends at its first fence."""


class Block(NamedTuple):
    """One fenced block. `text[start:end]` is all of it with its fences; `closed` is False if the text ends inside it."""

    language: str
    code: str
    start: int
    end: int
    closed: bool

    @property
    def is_python(self) -> bool:
        """Whether its language is Python, by any usual name."""
        return _PYTHON.match(self.language) is not None

    @property
    def is_output(self) -> bool:
        """Whether its language says that it is the output of code."""
        return _OUTPUT.match(self.language) is not None


def blocks(text: str) -> Iterator[Block]:
    """Yield all blocks of `text` in order. A fence without a language opens a block only on a line of its own.

    >>> [block.code for block in blocks("We sum.\\n```python\\nprint(1)\\n```")]
    ['print(1)']
    """
    place = 0
    for number in itertools.count():
        if (opening := _OPENING.search(text, place)) is None:
            return
        if number >= _MOST_FENCES:
            yield Block("python", text[opening.end() :], opening.start(), len(text), False)
            return
        block = _block(text, opening)
        if block is None:
            place = opening.end("ticks")
        else:
            yield block
            place = max(block.end, opening.end("ticks"))


def python_code(text: str, *, handed_over: bool = False, last: bool = False) -> str | None:
    """Return the Python of all blocks in `text`, joined in order, or that of the `last` alone.

    A block without a language is Python if it stands directly before the output that the model asks for, at the end of a
    text that was `handed_over` to the interpreter. None if there is no Python, or if the text ends inside it: incomplete
    code must not be run.
    """
    found = list(blocks(text))
    code = [
        block for number, block in enumerate(found) if block.is_python or (handed_over and _is_asked(found, number))
    ]
    if not code or not code[-1].closed:
        return None
    return code[-1].code if last else "\n".join(block.code for block in _runnable(code))


def without_code(text: str) -> str:
    """Return `text` with a line break in place of each block of Python or output; an open one reaches to the end."""
    if "```" not in text and "~~~" not in text:
        return text
    parts, place = [], 0
    for block in blocks(text):
        if block.is_python or block.is_output:
            parts.append(text[place : block.start])
            place = block.end
    return "\n".join([*parts, text[place:]]) if parts else text


def _block(text: str, opening: re.Match[str]) -> Block | None:
    language = opening["info"].strip()
    line = text.rfind("\n", 0, opening.start()) + 1
    if not language and not _OWN_LINE.match(text[line : opening.start()]):
        return None
    ends = _ends(text, opening)
    if not ends:
        return Block(language, _dedented(text[opening.end() :]), opening.start(), len(text), False)
    end, stop = ends[0] if not _PYTHON.match(language) else _first_valid(text, opening.end(), ends)
    return Block(language, _dedented(text[opening.end() : end]), opening.start(), stop, True)


def _ends(text: str, opening: re.Match[str]) -> list[tuple[int, int]]:
    """Possible ends of the block, as (end of the code, end of the fence): first fences on their own lines, then others."""
    own, behind = [], []
    for number, fence in enumerate(_FENCE.finditer(text, max(opening.end() - 1, 0))):
        if number >= _MOST_ENDS:
            break
        if not fence["ticks"].startswith(opening["ticks"]):
            continue
        bare = not fence["info"].strip()
        # A fence with a name closes the block before it and opens the next: only the former is taken here.
        stop = fence.end("ticks") if bare else fence.start("ticks")
        if fence["own"] is not None or fence.start("ticks") == opening.end():
            own.append((fence.start(), stop))
        elif bare:
            behind.append((fence.start("ticks"), stop))
    return own + behind


def _first_valid(text: str, start: int, ends: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first end that leaves valid Python, which skips fences inside strings; else the first end."""
    if len(ends) == 1:
        return ends[0]
    return next((end for end in ends if is_valid(_dedented(text[start : end[0]]))), ends[0])


def is_valid(code: str) -> bool:
    """Whether `code` is syntactically valid Python, of at most 200,000 characters."""
    if len(code) > _LONGEST:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d" in a string, for example
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _dedented(code: str) -> str:
    """`code` without its last line break, and without a list's indentation or a quotation's marks."""
    code = code.removesuffix("\n")
    if code.lstrip(" \t").startswith(">"):
        code = _QUOTED.sub("", code)
    return textwrap.dedent(code) if code.lstrip("\n")[:1] in (" ", "\t") else code


def _is_asked(found: Sequence[Block], number: int) -> bool:
    """Whether the block has no language, and only the opening fence of an output follows it."""
    block, after = found[number], found[number + 1 :]
    begins = len(after) == 1 and after[0].is_output and not after[0].closed
    return begins and not block.language and bool(block.code.strip())


def _runnable(code: Sequence[Block]) -> list[Block]:
    """The blocks that are valid Python, and the last in any case: its error is what the model has to see."""
    return [block for block in code[:-1] if is_valid(block.code)] + [code[-1]]
