"""A solved problem as the page's list knows it: plain JSON values, small, without any text of a candidate.

Integers are written as text: an answer may have more digits than a browser's numbers hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sctir_kaggle.budget import Budget
from sctir_kaggle.dialects.rendering import clipped, defuse
from sctir_kaggle.header import clamps_of
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.types import ExecutionResult, PartialTurn, Problem, SolveResult, Trace, Turn

Share = tuple[float, float]
"""Seconds that a problem might take, and how many if its vote was then contested."""


def shares(results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]]) -> list[Share] | None:
    """For each of `results`, in the order in which they were solved; None where the run had no clock of its own."""
    if len(headers) != 1 or "seeds" in headers[0] or not _seconds(headers[0]):
        return None
    now = 0.0
    budget = _budget(headers[0], len(results), lambda: now)
    given = []
    for result in results:
        limits = budget.next_deadlines()
        given.append((limits.soft - now, limits.hard - now))
        now += result.seconds
    return given


def _budget(header: Mapping[str, Any], problems: int, clock: Callable[[], float]) -> Budget:
    seconds = _seconds(header)
    grace = header.get("config", {}).get("grace_seconds", 0.0)
    return Budget(
        seconds, problems, reserve=RESERVE * seconds, grace=grace, started=0.0, clock=clock, **clamps_of(header)
    )


def _seconds(header: Mapping[str, Any]) -> float:
    """The run's wall clock; 0 where the journal does not say."""
    value = header.get("budget")
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


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


JsonObject = dict[str, Any]

LONGEST = 20_000
"""Characters of one output or text on the page, head and tail; the journal has them all."""


def candidates(result: SolveResult, *, texts: bool = True) -> list[JsonObject]:
    """In the order in which they ended; without `texts` only what became of them."""
    return [_candidate(trace, texts) for trace in result.traces]


def _candidate(trace: Trace, texts: bool) -> JsonObject:
    return {
        "candidate": trace.candidate,
        "status": trace.status.value,
        "answer": None if trace.answer is None else str(trace.answer),
        "boxed": trace.boxed,
        "detail": trace.detail,
        "seconds": round(trace.seconds, 2),
        "tokens": tokens_of(trace),
        "turns": [_turn(turn) for turn in trace.turns] if texts else None,
        "cut": _cut(trace.cut) if texts and trace.cut else None,
    }


def _cut(cut: PartialTurn) -> JsonObject:
    return {"doing": cut.doing, "seconds": round(cut.seconds, 2), "turn": cut.turn and _turn(cut.turn)}


def _turn(turn: Turn) -> JsonObject:
    completion = turn.completion
    return {
        "prefix": turn.prefix,
        "text": clipped(completion.text, LONGEST),
        "tokens": completion.tokens,
        "seconds": round(turn.generate_seconds, 2),
        "length": completion.finish_reason == "length",
        "output": _output(turn, turn.execution) if turn.execution else None,
    }


def _output(turn: Turn, execution: ExecutionResult) -> JsonObject:
    """What the code printed, and what of it the model was shown where that was less."""
    output = execution.output.rstrip("\n")
    whole = any(text in turn.output_block for text in (output, defuse(output)))
    return {
        "text": clipped(execution.output, LONGEST),
        "status": execution.status.value,
        "seconds": round(execution.seconds, 3),
        "shown": None if whole else turn.output_block,
    }
