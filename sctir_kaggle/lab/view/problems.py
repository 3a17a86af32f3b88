"""A run's problems and candidates as plain JSON values for the page.

The list of problems is small and holds no text of a candidate; the candidates of a problem are packed apart and read when
it is opened. Integers are written as text: an answer may have more digits than a browser's numbers hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sctir_kaggle.dialects.rendering import clipped, defuse
from sctir_kaggle.lab.clock import Share
from sctir_kaggle.types import ExecutionResult, PartialTurn, Problem, SolveResult, Trace, Turn

Json = dict[str, Any]

NO_VOTE = -1
"""The place in the ranking of a candidate that did not vote."""

LONGEST = 20_000
"""Characters of one output or text on the page, head and tail; the journal has them all."""


def problems(results: Sequence[SolveResult], given: Sequence[Share] | None) -> list[Json]:
    """One entry per problem, in the order in which they were first solved, with an attempt for each run and seed.

    `given` is each result's share of the clock. Two sets may use one id for two problems; the second is then called
    `id (2)`.
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


def runs(results: Sequence[SolveResult]) -> list[int]:
    """The run that each result belongs to, from 1: a problem's second result with one seed is from another run."""
    seen: Counter[tuple[Problem, int]] = Counter()
    numbers = []
    for result in results:
        key = (result.problem, result.seed)
        seen[key] += 1
        numbers.append(seen[key])
    return numbers


def is_contested(result: SolveResult) -> bool:
    """Whether the winner has at most half of the votes; False for a default answer, which has none."""
    scores = [score for _, score in result.vote.ranking]
    return bool(scores) and 2 * scores[0] <= sum(scores)


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
        "tokens": sum(trace.tokens for trace in result.traces),
        "executions": sum(trace.executions for trace in result.traces),
        "votes": [[str(answer), score] for answer, score in result.vote.ranking],
        "ended": [_ended(result, trace) for trace in result.traces],
    }


def _ended(result: SolveResult, trace: Trace) -> list[Any]:
    """[candidate, why it ended, place in the ranking of the answer that it voted for]."""
    places = {answer: place for place, (answer, _) in enumerate(result.vote.ranking)}
    place = NO_VOTE if trace.answer is None else places.get(trace.answer, NO_VOTE)
    return [trace.candidate, trace.status.value, place]


def candidates(result: SolveResult, *, texts: bool = True) -> list[Json]:
    """The candidates in the order in which they ended; without `texts` their turns are left out."""
    return [_candidate(trace, texts) for trace in result.traces]


def _candidate(trace: Trace, texts: bool) -> Json:
    return {
        "candidate": trace.candidate,
        "status": trace.status.value,
        "answer": None if trace.answer is None else str(trace.answer),
        "boxed": trace.boxed,
        "detail": trace.detail,
        "seconds": round(trace.seconds, 2),
        "tokens": trace.tokens,
        "turns": [_turn(turn) for turn in trace.turns] if texts else None,
        "cut": _cut(trace.cut) if texts and trace.cut else None,
    }


def _cut(cut: PartialTurn) -> Json:
    return {"doing": cut.doing, "seconds": round(cut.seconds, 2), "turn": cut.turn and _turn(cut.turn)}


def _turn(turn: Turn) -> Json:
    completion = turn.completion
    return {
        "prefix": turn.prefix,
        "text": clipped(completion.text, LONGEST),
        "tokens": completion.tokens,
        "seconds": round(turn.generate_seconds, 2),
        "length": completion.finish_reason == "length",
        "output": _output(turn, turn.execution) if turn.execution else None,
    }


def _output(turn: Turn, execution: ExecutionResult) -> Json:
    """The code's output, and under `shown` what the model saw of it where that was less."""
    output = execution.output.rstrip("\n")
    whole = any(text in turn.output_block for text in (output, defuse(output)))
    return {
        "text": clipped(execution.output, LONGEST),
        "status": execution.status.value,
        "seconds": round(execution.seconds, 3),
        "shown": None if whole else turn.output_block,
    }
