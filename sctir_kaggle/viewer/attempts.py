"""A solved problem as the page's list knows it: plain JSON values, small, without any text of a candidate.

Integers are written as text: an answer may have more digits than a browser's numbers hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sctir_kaggle.types import Problem, SolveResult, Trace
from sctir_kaggle.viewer.shares import Share

Json = dict[str, Any]

NO_VOTE = -1
"""The place of a candidate that voted for nothing."""


def runs(results: Sequence[SolveResult]) -> list[int]:
    """The run that each belongs to, from 1: a problem's second result with one seed is another run's."""
    seen: Counter[tuple[Problem, int]] = Counter()
    numbers = []
    for result in results:
        key = (result.problem, result.seed)
        seen[key] += 1
        numbers.append(seen[key])
    return numbers


def problems(results: Sequence[SolveResult], given: Sequence[Share] | None) -> list[Json]:
    """A problem each, in the order in which they were first solved, with its attempts: one a run and seed.

    Two sets may use one id for two problems; the second is then called `id (2)`.
    """
    found: dict[Problem, Json] = {}
    ids: Counter[str] = Counter()
    numbers = runs(results)
    for number, (result, run) in enumerate(zip(results, numbers, strict=True)):
        problem = result.problem
        if problem not in found:
            ids[problem.id] += 1
            found[problem] = _problem(problem, ids[problem.id])
        label = f"seed {result.seed}" + (f", run {run}" if max(numbers) > 1 else "")
        share = given[number] if given else None
        found[problem]["attempts"].append({"block": f"d{number}", "label": label, **_attempt(result), "share": share})
    return list(found.values())


def is_contested(result: SolveResult) -> bool:
    """Whether the winner has at most half of the votes; a default answer has none and is not meant."""
    scores = [score for _, score in result.vote.ranking]
    return bool(scores) and 2 * scores[0] <= sum(scores)


def tokens_of(trace: Trace) -> int:
    """Tokens that the model wrote in whole turns."""
    return sum(turn.completion.tokens for turn in trace.turns)


def executions_of(trace: Trace) -> int:
    """Blocks of code that ran to an end."""
    return sum(turn.execution is not None for turn in trace.turns)


def _problem(problem: Problem, number: int) -> Json:
    reference = None if problem.answer is None else str(problem.answer)
    id_ = problem.id if number == 1 else f"{problem.id} ({number})"
    about = {"id": id_, "text": problem.text, "reference": reference}
    return {**about, "level": problem.level, "subject": problem.subject, "attempts": []}


def _attempt(result: SolveResult) -> Json:
    return {
        "answer": str(result.answer),
        "right": result.correct,
        "default": result.fallback,
        "contested": is_contested(result),
        "stopped": result.stopped,
        "risk": result.risk,
        "seconds": round(result.seconds, 2),
        "tokens": sum(map(tokens_of, result.traces)),
        "executions": sum(map(executions_of, result.traces)),
        "votes": [[str(answer), score] for answer, score in result.vote.ranking],
        "ended": [_ended(result, trace) for trace in result.traces],
    }


def _ended(result: SolveResult, trace: Trace) -> list[Any]:
    """Candidate, why it ended, and the place in the ranking of what it voted for."""
    places = {answer: place for place, (answer, _) in enumerate(result.vote.ranking)}
    place = NO_VOTE if trace.answer is None else places.get(trace.answer, NO_VOTE)
    return [trace.candidate, trace.status.value, place]
