"""Make tool-integrated reasoning traces: sample a strong model, run its code, keep a trace if its answer is the reference.

    python -m sctir_kaggle.recipes.data.tir_data --config tir_data.yaml --set problems=FILE output=FOLDER

The same command resumes a run that was killed. The folder gets `journal.jsonl`, every attempt as it ended, and at the end of
each run `tir.jsonl.gz`, the kept traces as rows of chat messages, and `statistics.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import CHAT_SERVER, NUMINA
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.lab.replay.scheduler import TaskSolver
from sctir_kaggle.recipes.data.tir.attempts import Attempts, kept_rows
from sctir_kaggle.recipes.data.tir.exercise import Exercise, read_exercises
from sctir_kaggle.recipes.data.tir.process import RateLimitFilter, raise_nofile_limit, run_periodically
from sctir_kaggle.recipes.data.tir.sampling import Sampling, prints_the_same
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir.statistics import statistics_of, table_of
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.runtime import Load, ManagedEngine, open_engine
from sctir_kaggle.settings import ClockConfig, RunConfig
from sctir_kaggle.types import Executor

ROWS, STATISTICS = "tir.jsonl.gz", "statistics.json"

log = logging.getLogger("sctir_kaggle")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from sctir_kaggle.display import console, setup_logging

    setup_logging(stream=sys.stderr)
    log.addFilter(RateLimitFilter(10.0))
    statistics = make(settings_of_command(TirSettings, __doc__, arguments))
    console().print(table_of(statistics))
    said = ", ".join(f"{statistics[name]:,} {name}" for name in ("problems", "kept", "dropped", "open"))
    console().print(f"{said}; cost {statistics['cost']:,}")


def make(settings: TirSettings) -> dict[str, Any]:
    """Sample what is left; return the statistics. Rows and statistics are written however the sampling ends."""
    exercises, left_out = read_exercises(
        settings.problems, split=settings.split, integers=settings.integers, limit=settings.limit
    )
    log.info("%d problems, left out: %s", len(exercises), dict(left_out) or "none")
    raise_nofile_limit(settings.in_flight)
    with open_engine(_run_config(settings), slots=settings.in_flight, load=_load(settings)) as (engine, executor):
        header = _header(settings, exercises, engine, executor)
        with closing(Attempts.opened(settings.output / JOURNAL, header)) as attempts:
            try:
                asyncio.run(_sample(settings, exercises, attempts, engine, executor))
            finally:
                statistics = {**_statistics(settings, exercises, attempts), "left_out": dict(left_out)}
                _write(settings, exercises, statistics)
    return statistics


async def _sample(
    settings: TirSettings, exercises: Sequence[Exercise], attempts: Attempts, engine: ManagedEngine, executor: Executor
) -> None:
    sampling = Sampling(
        attempts,
        TaskSolver(
            engine,
            executor,
            settings.config(),
            seconds=settings.attempt_seconds or math.inf,
            dialect=_dialect(settings),
        ).solve,
        seeds=settings.seeds(),
        failures=settings.failures,
        same=partial(prints_the_same, executor, settings.output_chars) if settings.reexecute else None,
        spent=lambda: settings.budget is not None and settings.cost(attempts.tokens) >= settings.budget,
    )
    async with run_periodically(10.0, lambda: log.info("%s", _line(settings, exercises, attempts))):
        await sampling.run(exercises, in_flight=settings.in_flight)


def _dialect(settings: TirSettings) -> Dialect:
    """Rows are in NuminaMath's format: the model writes it, or a chat server's messages are converted to it."""
    return CHAT_SERVER if settings.engine == "chat" else NUMINA


def _run_config(settings: TirSettings) -> RunConfig:
    """A chat server is opened by `_load`; for the rest of the run it is one server more."""
    engine = EngineConfig(
        engine="openai" if settings.engine == "chat" else settings.engine,
        model=settings.model,
        base_url=settings.base_url if settings.on_servers else (),
        served_model=settings.served_model,
    )
    return RunConfig(solver=settings.config(), engine=engine, clock=ClockConfig(budget=math.inf))


def _load(settings: TirSettings) -> Load | None:
    """The loader of a server's engine with this recipe's options; None for an engine in this process."""
    if not settings.on_servers:
        return None
    kind = ChatEngine if settings.engine == "chat" else OpenAIEngine
    return lambda run, slots: kind.open(
        settings.base_url,
        settings.served_model,
        tokenizer=settings.model,
        slots=slots,
        tries=settings.tries,
        pause=settings.pause,
        patience=settings.patience,
        stall=settings.stall,
        options=settings.request_options(),
    )


def _header(
    settings: TirSettings, exercises: Sequence[Exercise], engine: ManagedEngine, executor: Any
) -> dict[str, Any]:
    """The journal's header. References are part of it: a run with others cannot be resumed."""
    referred = [replace(one.problem, text=f"{one.problem.text}\0{one.reference}") for one in exercises]
    header = journal_header(
        _run_config(settings),
        referred,
        dialect=_dialect(settings),
        engine=engine.describe(),
        executor=executor.describe(),
    )
    return {**header, "seeds": list(settings.seeds())}


def _statistics(settings: TirSettings, exercises: Sequence[Exercise], attempts: Attempts) -> dict[str, Any]:
    made = attempts.made.values()
    return statistics_of(exercises, made, attempts.failed, seeds=settings.seeds(), cost=settings.cost)


def _line(settings: TirSettings, exercises: Sequence[Exercise], attempts: Attempts) -> str:
    """Progress, on one line."""
    now = _statistics(settings, exercises, attempts)
    asked = sum(one["asked"] for one in now["rounds"])
    return f"{now['kept']} of {now['problems']} kept, {now['dropped']} dropped, {asked} attempts, cost {now['cost']:,}"


def _write(settings: TirSettings, exercises: Sequence[Exercise], statistics: dict[str, Any]) -> None:
    """Write rows and statistics, each atomically."""
    known = {exercise.problem.id: exercise for exercise in exercises}
    write_rows(settings.output / ROWS, kept_rows(settings.output / JOURNAL, known, seed=settings.seed))
    part = settings.output / f".{STATISTICS}"
    part.write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    part.replace(settings.output / STATISTICS)


if __name__ == "__main__":
    run_recipe(main)
