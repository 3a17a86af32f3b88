"""Where problems, solutions and answers begin in a text: headings such as "Problem 3.", "Lösung:" or "12)".

Covered: a heading at the start of a line; bare numbers ("1.", "2)") in a text that has no problem headings, as far as they
count up from 1. Not covered: headings that are set apart by type only, numbers in Roman or with a chapter ("3.14").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["problem", "solution", "answer", "section"]
"""A section ("Solutions", alone on its line) says that bare numbers behind it are of solutions."""

_WORDS: dict[Kind, str] = {
    "problem": "problem|exercise|question|example|задача|упражнение|problème|exercice|aufgabe|problema|ejercicio|题目?|問題",
    "solution": "solution|proof|решение|доказательство|lösung|beweis|solución|soluzione|解答?|证明|證明",
    "answer": "answer|ответ|réponse|antwort|respuesta|risposta|答案?",
}
_PATTERN = "|".join(rf"(?P<{kind}>{words})" for kind, words in _WORDS.items())
_HEADING = re.compile(
    rf"^[ \t*#]*(?:{_PATTERN})[ \t]*(?:to problem|of problem|№|no\.|nr\.|#)?[ \t]*(?P<number>\d+[a-z]?)?[ \t]*"
    r"(?:[.:)*—–-]+(?=\s|\Z)|(?=\n|\Z))",
    re.IGNORECASE | re.MULTILINE,
)
_SECTION = re.compile(r"^[ \t*#]*(?:solutions|hints and solutions|решения|lösungen|soluciones)[ \t:.*]*$", re.I | re.M)
_BARE = re.compile(r"^[ \t]*(?P<number>\d{1,3})[ \t]*[.)](?=[ \t]+\S)", re.MULTILINE)


class Heading(NamedTuple):
    """`start` is where it begins in the text, `end` where what it heads begins."""

    kind: Kind
    number: str | None
    start: int
    end: int


def headings_of(text: str) -> list[Heading]:
    """All headings, in order."""
    named = [Heading(_kind(match), match["number"], *match.span()) for match in _HEADING.finditer(text)]
    sections = [Heading("section", None, *match.span()) for match in _SECTION.finditer(text)]
    found = sorted([*named, *sections], key=lambda heading: heading.start)
    if any(heading.kind == "problem" for heading in found):
        return found
    return sorted([*found, *_counted(text, [heading.start for heading in sections])], key=lambda one: one.start)


def _kind(match: re.Match[str]) -> Kind:
    return next(kind for kind in _WORDS if match[kind])


def _counted(text: str, sections: list[int]) -> Iterator[Heading]:
    """Bare numbers that count up from 1; behind a section they start anew, and head solutions."""
    expected, section = 1, -1
    for match in _BARE.finditer(text):
        last = max((start for start in sections if start < match.start()), default=-1)
        if last != section:
            expected, section = 1, last
        if int(match["number"]) == expected:
            expected += 1
            yield Heading("problem" if section < 0 else "solution", match["number"], *match.span())
