"""Turn recorded runs into KTO's data: what a candidate wrote, what it only read, whether its answer is the reference.

On policy if the run is the model's own: `sctir replay CSV -n 4 --stop none --model DIR`. Candidates that were cancelled or
failed say nothing about the model and are left out, as are problems without a reference. A candidate that ended without an
answer is undesirable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sctir_kaggle.dialects.rows import HEADER
from sctir_kaggle.journal import journal_of, stream_results
from sctir_kaggle.recipes.synthetic.corpus import Segment
from sctir_kaggle.text import visible
from sctir_kaggle.types import Completion, Control, Problem, SolveResult, Trace, TraceStatus, UserError

UNFINISHED = {TraceStatus.CANCELLED, TraceStatus.FAILED}

MOST = 4 / 3
"""The largest quotient of the classes' weights that the paper found useful."""


@dataclass(frozen=True, slots=True)
class Preference:
    """One candidate. `ended`: the model itself wrote the end-of-sequence token after its text."""

    problem: Problem
    segments: tuple[Segment, ...]
    ended: bool
    desirable: bool


@dataclass(frozen=True, slots=True)
class Weights:
    """KTO's factors on the losses of desirable and undesirable completions."""

    desirable: float
    undesirable: float


def read_preferences(runs: Iterable[Path]) -> Iterator[Preference]:
    """The labelled candidates of the runs, each a folder or its journal; one problem in memory at a time."""
    for run in runs:
        _, results = stream_results(journal_of(run))
        for result in results:
            yield from preferences(result)


def preferences(result: SolveResult) -> Iterator[Preference]:
    """The candidates of one problem that can be labelled, by number: their order of completion depends on the machine."""
    if result.problem.answer is None:
        return
    for trace in sorted(result.traces, key=lambda trace: trace.candidate):
        if trace.turns and trace.status not in UNFINISHED:
            ended = _wrote_end(trace.turns[-1].completion)
            right = trace.answer == result.problem.answer
            yield Preference(result.problem, segments(result.problem, trace), ended, right)


def segments(problem: Problem, trace: Trace) -> tuple[Segment, ...]:
    """The texts that `dialects.rendering.render` sends, in order; only the completions are learned."""
    parts = [Segment(HEADER.format(problem=visible(problem.text).strip()), False)]
    for turn in trace.turns:
        parts += [Segment(Control(turn.prefix), False), Segment(turn.completion.text, True)]
        parts += [Segment(text, False) for text in turn.bridge]
    return tuple(part for part in parts if part.text)


def balanced(desirable: int, undesirable: int, *, quotient: float = 1.0) -> Weights:
    """Weights with (weight x count) desirable / (weight x count) undesirable = `quotient`, the smaller of them 1.

    KTO, https://arxiv.org/abs/2402.01306, equation 8: the quotient should lie between 1 and 4/3. Raises `UserError` where
    it does not, and where one of the kinds is missing.
    """
    if not 1 <= quotient <= MOST:
        raise UserError(f"quotient is {quotient}; it must be from 1 to 4/3 (KTO, equation 8)")
    if not desirable or not undesirable:
        raise UserError(
            f"{desirable} completions are right and {undesirable} wrong: KTO learns from both; take problems that the "
            "model solves sometimes, or sample more"
        )
    ratio = quotient * undesirable / desirable
    return Weights(ratio, 1.0) if ratio >= 1 else Weights(1.0, 1 / ratio)


def _wrote_end(completion: Completion) -> bool:
    """Whether the completion ended with EOS. Where a stop string or a limit ended it, the next token is unknown."""
    return completion.finish_reason == "stop" and completion.stop_reason is None
