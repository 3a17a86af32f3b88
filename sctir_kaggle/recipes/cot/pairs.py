"""The text of a document -> its problems with their solutions, by headings.

Covered: a solution right behind its problem, or in a part of its own under the same number; an answer that is stated.
Of several solutions the first is taken. Not covered: a problem without any heading; a chapter's title and whatever else
stands between a solution and the next heading is taken for its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sctir_kaggle.recipes.cot.headings import headings_of
from sctir_kaggle.recipes.cot.records import Output, Record

_LONE_NUMBER = re.compile(r"^[ \t]*[-–—]?[ \t]*(?:page[ \t]*)?\d{1,4}[ \t]*[-–—]?[ \t]*$", re.IGNORECASE)


@dataclass(slots=True)
class Pair:
    """A problem, and what there is to it; empty where there is nothing."""

    number: str | None
    problem: str
    solution: str = ""
    answer: str = ""


def segment(pages: Iterable[Record], output: Output) -> None:
    """A record a pair: `id` "document:n" (n counts up), `document`, `number`, `problem`, `solution`, `answer`.

    A document's pages stand together in the input. A problem without a solution is rejected, and so is a document without
    problems.
    """
    for document, text in texts_of(pages):
        pairs = pairs_in(text)
        if not pairs:
            output.reject({"id": document}, "no heading of a problem; --set segmenter=endpoint asks a model")
        output.add(*(record for record in records_of(document, pairs, output) if record["id"] not in output.done))


def records_of(document: str, pairs: Iterable[Pair], output: Output) -> list[Record]:
    """A record a pair that is whole; the others are rejected."""
    records = []
    for place, pair in enumerate(pairs, 1):
        facts = {"number": pair.number, "problem": pair.problem, "solution": pair.solution, "answer": pair.answer}
        if pair.problem and (pair.solution or pair.answer):
            records.append({"id": f"{document}:{place}", "document": document, **facts})
        else:
            missing = "solution" if pair.problem else "text"
            output.reject({"id": f"{document}:{place}"}, f"problem {pair.number or place} has no {missing}")
    return records


def texts_of(pages: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Each document with its whole text, without lines that are a page's number."""
    for document, group in groupby(pages, key=lambda page: str(page.get("document", page["id"]))):
        ordered = sorted(group, key=lambda page: page.get("page", 0))
        yield document, "\n".join(without_number(page["text"]) for page in ordered)


def without_number(page: str) -> str:
    """A page's text without a first or last line that is its number."""
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
    """Whose a solution is: that with its number if it has none yet, else the one it stands behind ("Solution 1", "2")."""
    if number is None:
        return open_pair or (pairs[-1] if pairs else None)
    numbered = [pair for pair in pairs if pair.number == number and not pair.solution]
    return numbered[-1] if numbered else open_pair


def _give(pair: Pair, kind: str, part: str) -> None:
    if kind == "answer":
        pair.answer = pair.answer or part.split("\n")[0].strip().rstrip(".")
        part = "\n".join(part.split("\n")[1:]).strip()  # a solution may go on behind its answer
    if part and not (kind == "solution" and pair.solution):
        pair.solution = f"{pair.solution}\n{part}".strip()
