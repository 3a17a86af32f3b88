"""Settings that change nothing beside the others: one table. What was typed for nothing is refused, or warned of.

Only what was typed counts, not what a file or a preset holds: there a setting may wait for the run that uses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.options import SHORT
from sctir_kaggle.settings import RunConfig, all_settings
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle.start")

TYPED = ("command line", "--set")
"""Sources of settings that somebody typed for this run."""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Settings, and when they have no effect. `why` goes on after the option's name, with the run's values in braces."""

    names: tuple[str, ...]
    when: Callable[[RunConfig], bool]
    why: str
    refused: bool = True


def _model(run: RunConfig) -> str:
    return entry_of(run.engine.engine).model


TABLE = (
    Idle(
        names=("stop_delta", "stop_ballots"),
        when=lambda run: run.solver.stop != "beta",
        why="is for --stop beta, and stop is {stop}: add --stop beta, or leave it out",
    ),
    Idle(
        names=("force_tokens",),
        when=lambda run: not run.solver.force_answer,
        why="is the length of a forced answer, and --no-force-answer forces none: leave one of them out",
    ),
    Idle(
        names=("code_seconds", "output_chars", "output_clip", "output_bytes", "blocks"),
        when=lambda run: run.solver.turns == 0,
        why="is for code, and with turns 0 none runs: give -m 1 or more, or leave it out",
    ),
    Idle(
        names=("cap",),
        when=lambda run: run.clock.draw == 0,
        why="limits what a problem draws, and draw is 0: give --draw, or leave it out",
    ),
    Idle(
        names=("model",),
        when=lambda run: _model(run) == "none",
        why="is not for --engine {engine}, which loads none: name the server's model with --served-model, or leave it out",
    ),
    Idle(
        names=("dialect",),
        when=lambda run: _model(run) == "journal" and run.dialect != "auto",
        why="is not for --engine {engine}, whose record has its own: leave it out",
    ),
    Idle(
        names=("top_p", "top_k", "min_p"),
        when=lambda run: run.solver.temperature == 0,
        why="changes nothing at temperature 0, which always takes the likeliest token",
        refused=False,
    ),
    Idle(
        names=("candidates",),
        when=lambda run: run.solver.temperature == 0 and run.solver.candidates > 1,
        why="{candidates} at temperature 0: every candidate writes the same text, and -n 1 costs less; sample with "
        "--temperature 0.8",
        refused=False,
    ),
)


def check_effects(run: RunConfig) -> None:
    """Raise `UserError` for a setting that was typed and has no effect; warn of those that are only useless."""
    for idle in TABLE:
        if not idle.when(run):
            continue
        for name in idle.names:
            if run.source(name) in TYPED or (name == "candidates" and run.source("temperature") in TYPED):
                _report(idle, name, run.settings())


def _report(idle: Idle, name: str, values: Mapping[str, object]) -> None:
    flag = next((short for short in SHORT.get(name, ()) if short.startswith("--")), all_settings()[name].flag)
    line = f"{flag} {idle.why.format_map(values)}"
    if idle.refused:
        raise UserError(line)
    log.warning("%s", line)
