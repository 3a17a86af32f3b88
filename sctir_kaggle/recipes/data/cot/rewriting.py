"""Steps done by a model: find pairs in a text without headings, translate, rewrite as a chain of thought with a box."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.recipes.data.cot.asking import Model, Work
from sctir_kaggle.recipes.data.cot.pairs import Pair, records_of, runs, without_number
from sctir_kaggle.recipes.data.cot.records import Output, Record, Rejected
from sctir_kaggle.recipes.data.overlap import words_of

SEGMENT = r"""Below is text from a document with mathematical problems and their solutions. Copy out every problem that is there
with its whole solution, in order and word for word, formulas as LaTeX. Leave out a problem whose statement or solution is cut
off, and everything that is neither. Write each as
<problem>the statement</problem>
<solution>the solution</solution>
and nothing else; where there is none, write NONE."""

TRANSLATE = r"""Translate this mathematical problem and its solution into English. Keep all formulas as they are, in LaTeX, and
add or leave out nothing. Keep the tags. Write nothing else."""

REALIGN = r"""Here are a mathematical problem and its solution. Write the solution anew as a chain of thought that somebody who
sees the problem only can follow: one step after the other, each with its reason and its calculation, formulas in LaTeX, no
step of the given solution missing and no other result. Mend what reading the page has garbled. End with the final answer,
and nothing but it, in \boxed{}. Write the solution between <solution> and </solution>, and nothing else."""


def tagged(record: Record, *names: str) -> str:
    """The named parts of a record that are not empty, each between its tags."""
    return "\n".join(f"<{name}>\n{record[name]}\n</{name}>" for name in names if record.get(name))


def part(reply: str, name: str) -> str:
    """The text between the last pair of these tags. Raises `Rejected` where there is none."""
    found = parts(reply, name)
    if not found or not found[-1]:
        raise Rejected(f"a reply without <{name}>: {' '.join(reply.split())[:120]!r}")
    return found[-1]


def parts(reply: str, name: str) -> list[str]:
    """The texts between each pair of these tags."""
    return [text.strip() for text in re.findall(rf"<{name}>(.*?)</{name}>", reply, re.DOTALL | re.IGNORECASE)]


AGAIN = 0.7
"""The least temperature of a second request: at 0 the reply would be the same."""

_ENGLISH = {"the", "is", "of", "find", "what", "how", "that", "let", "and", "are", "prove", "determine", "compute"}


def translate(model: Model) -> Work:
    """Translate problem and solution into English; the source texts stay under `original`. English ones are not sent."""

    async def work(record: Record) -> list[Record]:
        if is_english(record["problem"] + " " + record["solution"]):
            return [record]
        reply = await model.ask(f"{TRANSLATE}\n\n{tagged(record, 'problem', 'solution')}", f"{record['id']}/0/0")
        english = {name: part(reply, name) for name in ("problem", "solution") if record[name]}
        return [{**record, **english, "original": {name: record[name] for name in english}}]

    return work


def is_english(text: str) -> bool:
    """Whether at least 97 % of the words are ASCII, and at least one in twelve is a common English word."""
    words = words_of(text)
    plain = sum(word.isascii() for word in words)
    return plain >= 0.97 * len(words) and 12 * sum(word in _ENGLISH for word in words) >= len(words)


def realign(model: Model, *, tries: int) -> Work:
    """Rewrite the solution as a chain of thought that ends in a box; the source's stays under `source`.

    Where the source states or boxes an answer, the new box must equal it; else the record is tried again, `tries` times in
    all, and then rejected.
    """

    async def work(record: Record) -> list[Record]:
        prompt = f"{REALIGN}\n\n{tagged(record, 'problem', 'solution', 'answer')}"
        wrong = Rejected("never asked")
        for number in range(tries):
            warmth = max(AGAIN, model.temperature) if number else None
            reply = await model.ask(prompt, f"{record['id']}/{number}/0", temperature=warmth)
            try:
                return [{**record, "solution": checked(part(reply, "solution"), record), "source": record["solution"]}]
            except Rejected as error:
                wrong = error
        raise wrong

    return work


def checked(solution: str, record: Record) -> str:
    """Return `solution`. Raises `Rejected` where it has no box, or one that contradicts the record's answer."""
    found = boxed(solution)
    if found is None:
        raise Rejected("the chain of thought has no boxed answer")
    known = record.get("answer") or boxed(record["solution"])
    if known and differ(known, found):
        raise Rejected(f"the box says {found!r}, the source {known!r}")
    return solution


def differ(one: str, other: str) -> bool:
    """Whether two answers are different numbers; an answer that is not a number differs from none."""
    first, second = parse(one.strip("$ ")), parse(other.strip("$ "))
    return first is not None and second is not None and first != second


def segment(model: Model, output: Output, *, window: int) -> Work:
    """Split a document (`id`, `pages`) into pairs as the model finds them, in windows of `window` pages that overlap by one.

    A problem that an earlier window had already is skipped.
    """

    async def work(document: Record) -> list[Record]:
        pairs: dict[tuple[str, ...], Pair] = {}
        for number, text in enumerate(windows(document["pages"], window)):
            reply = await model.ask(f"{SEGMENT}\n\n{text}", f"{document['id']}/{number}/0")
            for problem, solution in zip(parts(reply, "problem"), parts(reply, "solution"), strict=False):
                pairs.setdefault(tuple(words_of(problem)), Pair(None, problem, solution))
        if not pairs:
            raise Rejected("the model found no problem with a solution")
        return records_of(document["id"], pairs.values(), output)

    return work


def windows(pages: list[Record], size: int) -> Iterator[str]:
    """The joined texts of `size` pages at a time, overlapping by one page; none goes over a page that is missing."""
    step = max(1, size - 1)
    for run in runs(pages):
        for start in range(0, max(1, len(run) - (size > 1)), step):
            yield "\n".join(without_number(page["text"]) for page in run[start : start + size])
