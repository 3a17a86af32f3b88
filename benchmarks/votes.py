"""Majority votes over recorded answers, as strings and as our reader reads them: `python -m benchmarks.votes`.

Reads ../shared/data/traces/zeroeval_math_l5_votes.jsonl.gz (41 models' raw answers to 721 problems), which is not part of
the project. Ties: the answer that stands first, as everywhere here.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import machine
from sctir_kaggle.answers import parse, to_vote
from sctir_kaggle.types import UserError

VOTES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "zeroeval_math_l5_votes.jsonl.gz"


class Question(NamedTuple):
    """A problem's id, its right answer, and what each model answered; None is a model without an answer."""

    id: str
    right: str
    answers: list[str | None]


Reader = Callable[[str], Hashable]
"""What an answer votes for; None is no vote."""


def integer(answer: str) -> int | None:
    """As the package reads it: any integer, however it is written; nothing else."""
    return to_vote(parse(answer), modulus=None, lowest=None, highest=None)


def spelling(answer: str) -> Hashable:
    """Integers as the package reads them; what is none votes as it is written."""
    return answer if (value := integer(answer)) is None else value


READERS: dict[str, Reader] = {
    "raw strings": str,
    "integers however written, the rest as strings": spelling,
    "our reader: integers only": integer,
}


def questions(path: Path = VOTES) -> list[Question]:
    """Every problem of the file. Raises `UserError` where it is not there."""
    if not path.exists():
        raise UserError(f"{path} does not exist: it is not part of the project, and there is nothing else to count")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [Question(line["id"], line["gt"], [one["answer"] for one in line["candidates"]]) for line in lines]


def leaders(question: Question, read: Reader) -> list[Hashable]:
    """The answers with most votes, in the order in which they were first given."""
    scores: dict[Hashable, int] = {}
    for answer in question.answers:
        if answer is not None and (vote := read(answer)) is not None:
            scores[vote] = scores.get(vote, 0) + 1
    return [vote for vote, score in scores.items() if score == max(scores.values())]


def right(question: Question, read: Reader) -> bool:
    """Whether the majority elects the right answer."""
    return leaders(question, read)[:1] == [read(question.right)]


def shared(question: Question, read: Reader) -> float:
    """The same with ties shared out evenly."""
    first = leaders(question, read)
    return (read(question.right) in first) / max(1, len(first))


def main() -> None:
    """Print a line a reader, then the problems whose verdict our reader changes."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    asked = questions()
    for name, read in READERS.items():
        elected, even = sum(right(one, read) for one in asked), sum(shared(one, read) for one in asked)
        print(f"{name:46} {elected} of {len(asked)} right ({even:.1f} with ties shared out)")
    for verdict, reader in (("won", integer), ("lost", str)):
        other = str if reader is integer else integer
        ids = [one.id for one in asked if right(one, reader) and not right(one, other)]
        print(f"{verdict} by reading: {len(ids)} ({', '.join(ids)})")
    print(machine("votes"))


if __name__ == "__main__":
    main()
