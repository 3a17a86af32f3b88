"""Split the text of a document into problems with their solutions, by headings.

Covered: a solution right after its problem, or in a separate part under the same number; a stated answer. Of several
solutions the first is taken. A pair that goes over a missing page, which `extract` refused, is rejected. Not covered: a problem
without any heading; a chapter's title, and anything else between a solution and the next heading, becomes the end of that
solution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sctir_kaggle.recipes.data.cot.records import Output, Record
from sctir_kaggle.types import UserError

Kind = Literal["problem", "solution", "answer", "section"]
"""After a section ("Solutions", alone on its line) bare numbers head solutions."""

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
    """A heading; `start` is its offset in the text, `end` that of the text it heads."""

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
    """Bare numbers that count up from 1; after a section they restart, and head solutions."""
    expected, section = 1, -1
    for match in _BARE.finditer(text):
        last = max((start for start in sections if start < match.start()), default=-1)
        if last != section:
            expected, section = 1, last
        if int(match["number"]) == expected:
            expected += 1
            yield Heading("problem" if section < 0 else "solution", match["number"], *match.span())


MISSING = "[[a page is missing here]]"
"""Stands in a document's text for the pages that could not be read."""

_LONE_NUMBER = re.compile(r"^[ \t]*[-–—]?[ \t]*(?:page[ \t]*)?\d{1,4}[ \t]*[-–—]?[ \t]*$", re.IGNORECASE)


@dataclass(slots=True)
class Pair:
    """A problem with its solution and stated answer, each empty where there is none."""

    number: str | None
    problem: str
    solution: str = ""
    answer: str = ""


def segment(pages: Iterable[Record], output: Output) -> None:
    """Write a record for each pair: `id` "document:n" (n counts up), `document`, `number`, `problem`, `solution`, `answer`.

    A problem without a solution is rejected, and so is a document without problems. Raises `UserError` where the output has
    another problem under an id: pages that were refused before have shifted the numbers.
    """
    known = {record["id"]: record.get("problem") for record in output.records()}
    for document, text in texts_of(pages):
        pairs = pairs_in(text)
        if not pairs:
            output.reject({"id": document}, "no heading of a problem; --set segmenter=endpoint asks a model")
        records = records_of(document, pairs, output)
        for record in records:
            if known.get(record["id"], record["problem"]) != record["problem"]:
                raise UserError(
                    f"{output.path} was made from other pages of {document}; remove it and what was made from it"
                )
        output.add(*(record for record in records if record["id"] not in output.done))


def records_of(document: str, pairs: Iterable[Pair], output: Output) -> list[Record]:
    """A record for each complete pair; the others are rejected."""
    records = []
    for place, pair in enumerate(pairs, 1):
        facts = {"number": pair.number, "problem": pair.problem, "solution": pair.solution, "answer": pair.answer}
        if MISSING in pair.problem + pair.solution:
            output.reject(
                {"id": f"{document}:{place}"}, f"problem {pair.number or place} goes over a page that is missing"
            )
        elif pair.problem and (pair.solution or pair.answer):
            records.append({"id": f"{document}:{place}", "document": document, **facts})
        else:
            missing = "solution" if pair.problem else "text"
            output.reject({"id": f"{document}:{place}"}, f"problem {pair.number or place} has no {missing}")
    return records


def texts_of(pages: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Each document with its whole text, without page numbers, and with `MISSING` where pages are."""
    for document, ordered in by_document(pages).items():
        texts = ["\n".join(without_number(page["text"]) for page in run) for run in runs(ordered)]
        last = ordered[-1]
        cut = [MISSING] if last.get("page", 0) < last.get("pages", 0) else []
        yield document, f"\n{MISSING}\n".join(texts) + "".join(f"\n{line}" for line in cut)


def by_document(pages: Iterable[Record]) -> dict[str, list[Record]]:
    """Each document's pages in order; in the file, a page that was read later stands behind those of other documents."""
    documents: dict[str, list[Record]] = {}
    for page in pages:
        documents.setdefault(str(page.get("document", page["id"])), []).append(page)
    return {name: sorted(group, key=lambda page: page.get("page", 0)) for name, group in documents.items()}


def runs(pages: Iterable[Record]) -> list[list[Record]]:
    """Ordered pages in pieces without a missing page."""
    pieces: list[list[Record]] = []
    for page in pages:
        if pieces and page.get("page", 0) <= pieces[-1][-1].get("page", 0) + 1:
            pieces[-1].append(page)
        else:
            pieces.append([page])
    return pieces


def without_number(page: str) -> str:
    """A page's text without its number in the first or last line."""
    lines = page.strip().split("\n")
    if len(lines) > 1 and _LONE_NUMBER.match(lines[0]):
        lines = lines[1:]
    return "\n".join(lines[:-1] if len(lines) > 1 and _LONE_NUMBER.match(lines[-1]) else lines)


def pairs_in(text: str) -> list[Pair]:
    """The pairs in order of their problems."""
    headings, pairs = headings_of(text), list[Pair]()
    ends = [heading.start for heading in headings[1:]] + [len(text)]
    open_pair: Pair | None = None  # the last problem, up to the first solution behind it
    for heading, end in zip(headings, ends, strict=True):
        part = text[heading.end : end].strip()
        if heading.kind == "problem":
            open_pair = Pair(heading.number, part)
            pairs.append(open_pair)
        elif heading.kind != "section" and (pair := _owner(pairs, heading.number, open_pair)):
            _give(pair, heading.kind, part)
            open_pair = None if pair.solution else open_pair
    return pairs


def _owner(pairs: list[Pair], number: str | None, open_pair: Pair | None) -> Pair | None:
    """The pair that a solution belongs to: the one of its number without a solution, else the last one before it."""
    if number is None:
        return open_pair or (pairs[-1] if pairs else None)
    numbered = [pair for pair in pairs if pair.number == number and not pair.solution]
    return numbered[-1] if numbered else open_pair


def _give(pair: Pair, kind: str, part: str) -> None:
    if kind == "answer":
        pair.answer = pair.answer or part.split("\n")[0].strip().rstrip(".")
        part = "\n".join(part.split("\n")[1:]).strip()  # a solution may continue after its answer
    if part and not (kind == "solution" and pair.solution):
        pair.solution = f"{pair.solution}\n{part}".strip()
