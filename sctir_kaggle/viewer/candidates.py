"""The candidates of a solved problem as the page shows them: every turn's text, its code's output, why each ended."""

from __future__ import annotations

from typing import Any

from sctir_kaggle.dialects.rendering import clipped, defuse
from sctir_kaggle.types import Cut, ExecutionResult, SolveResult, Trace, Turn
from sctir_kaggle.viewer.attempts import tokens_of

Json = dict[str, Any]

LONGEST = 20_000
"""Characters of one output or text on the page, head and tail; the journal has them all."""


def candidates(result: SolveResult, *, texts: bool = True) -> list[Json]:
    """In the order in which they ended; without `texts` only what became of them."""
    return [_candidate(trace, texts) for trace in result.traces]


def _candidate(trace: Trace, texts: bool) -> Json:
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


def _cut(cut: Cut) -> Json:
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
    """What the code printed, and what of it the model was shown where that was less."""
    output = execution.output.rstrip("\n")
    whole = any(text in turn.output_block for text in (output, defuse(output)))
    return {
        "text": clipped(execution.output, LONGEST),
        "status": execution.status.value,
        "seconds": round(execution.seconds, 3),
        "shown": None if whole else turn.output_block,
    }
