"""Rewritten pairs -> the rows that every recipe reads: one form, the answer read from the box."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sctir_kaggle.answers import boxed, parse
from sctir_kaggle.recipes.cot.records import Output, Record, Rejected

Answers = Literal["any", "number", "integer"]


def uniform(records: Iterable[Record], output: Output, *, answers: Answers = "any") -> None:
    """A row a record; one without a box, or with an answer that is not of `answers`, is rejected."""
    for record in records:
        if record["id"] not in output.done:
            try:
                output.add(row_of(record, answers))
            except Rejected as error:
                output.reject(record, str(error))


def row_of(record: Record, answers: Answers) -> Record:
    """`answer` is an integer where the box is one, else its text. Raises `Rejected`."""
    written = boxed(record["solution"])
    if written is None:
        raise Rejected("no boxed answer in the solution; the step realign puts one there")
    value = parse(written)
    whole = value is not None and value.denominator == 1
    if answers != "any" and (value is None or (answers == "integer" and not whole)):
        raise Rejected(f"the boxed answer {written!r} is no {answers}")
    problem, solution = record["problem"].strip(), record["solution"].strip()
    return {
        "id": record["id"],
        "problem": problem,
        "answer": value.numerator if value is not None and whole else written,
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": solution}],
        **{name: record[name] for name in ("document", "number") if record.get(name)},
    }
