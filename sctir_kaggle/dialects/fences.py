"""Markdown's code fences as models write them: the one parser behind the answers, the code that is run and training rows.

Covered: any usual name of Python and of an output, or none; blocks in a list or a quotation; a closing fence at the
end of a line of code; backticks inside a string or a comment of the code; a fence that opens where the last was not closed.
Linear time: a block's end is looked for among its next few fences only.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_OPENING = re.compile(r"(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`~\n]*)(?:\n|\Z)")
_FENCE = re.compile(r"(?P<own>(?<=\n)[ \t>]*)?(?P<ticks>`{3,}|~{3,})(?P<info>[^`\n]*)")
_PYTHON = re.compile(r"\{?\.?(?:i?python|py|sage|tool_code)[\d.]*(?![\w-])", re.IGNORECASE)
_QUOTED = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_OUTPUT = re.compile(r"(?:output|out|stdout|console|result)s?\b", re.IGNORECASE)
_OWN_LINE = re.compile(r"(?:\s|[-*+>]|\d+[.)])*\Z")

_MOST_ENDS = 8
"""Fences that are tried as a block's end, until its code is valid Python."""

_LONGEST = 200_000
"""Characters of code that is parsed to find its end; in longer code the first fence closes it."""


class Block(NamedTuple):
    """One fenced block. `text[start:end]` is all of it, fences included; `closed` is False where the text ends inside it."""

    language: str
    code: str
    start: int
    end: int
    closed: bool

    @property
    def is_python(self) -> bool:
        """Whether it calls itself Python, by any usual name."""
        return _PYTHON.match(self.language) is not None

    @property
    def is_output(self) -> bool:
        """Whether it calls itself the output of code."""
        return _OUTPUT.match(self.language) is not None


def blocks(text: str) -> Iterator[Block]:
    """All blocks of `text` in order. One that does not call itself anything begins on a line of its own."""
    place = 0
    while opening := _OPENING.search(text, place):
        block = _block(text, opening)
        if block is None:
            place = opening.end("ticks")
        else:
            yield block
            place = max(block.end, opening.end("ticks"))


def python_code(text: str, *, handed_over: bool = False, last: bool = False) -> str | None:
    """The Python of all blocks in `text`, in order and as one, or that of the `last` alone.

    A block without a name is Python where it stands directly before the output that the model asks for: at the end of a
    text that was `handed_over`. None where there is no Python, or where the text ends inside it: nothing may be run then.
    """
    found = list(blocks(text))
    code = [
        block for number, block in enumerate(found) if block.is_python or (handed_over and _is_asked(found, number))
    ]
    if not code or not code[-1].closed:
        return None
    return code[-1].code if last else "\n".join(block.code for block in _runnable(code))


def without_code(text: str) -> str:
    """`text` with a line break in the place of its Python and of outputs; one that is still open runs to the end."""
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
    """Where the block may end: (end of its code, end of its fence), fences on lines of their own before those behind code."""
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
    """The first end that leaves valid Python, so that a fence inside a string is none; else the first."""
    if len(ends) == 1:
        return ends[0]
    return next((end for end in ends if is_valid(_dedented(text[start : end[0]]))), ends[0])


def is_valid(code: str) -> bool:
    """Whether `code` is Python."""
    if len(code) > _LONGEST:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is the model's business
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _dedented(code: str) -> str:
    """Without the last line break, and without the indentation of a block in a list or the marks of a quotation."""
    code = code.removesuffix("\n")
    if code.lstrip(" \t").startswith(">"):
        code = _QUOTED.sub("", code)
    return textwrap.dedent(code) if code.lstrip("\n")[:1] in (" ", "\t") else code


def _is_asked(found: Sequence[Block], number: int) -> bool:
    """A block without a name, with nothing but the fence of an output behind it."""
    block, after = found[number], found[number + 1 :]
    begins = len(after) == 1 and after[0].is_output and not after[0].closed
    return begins and not block.language and bool(block.code.strip())


def _runnable(code: Sequence[Block]) -> list[Block]:
    """Without drafts that are no Python, unless it is the last: its error is what the model has to see."""
    return [block for block in code[:-1] if is_valid(block.code)] + [code[-1]]
