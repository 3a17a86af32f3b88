"""Make tool-integrated reasoning traces: sample a strong model, run its code, keep traces whose answer is the reference.

    python -m sctir_kaggle.recipes.data.tir_data --config tir_data.yaml --set problems=FILE output=FOLDER

The same command resumes a run that was killed. The folder gets `journal.jsonl`, every attempt as it ended, with a judge
`verdicts.jsonl`, and at the end of each run `tir.jsonl.gz`, the kept traces as rows of chat messages, and `statistics.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
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
from sctir_kaggle.recipes.data.tir.attempts import Attempts
from sctir_kaggle.recipes.data.tir.exercise import Exercise, read_exercises
from sctir_kaggle.recipes.data.tir.judge import INSTRUCTION, VERDICTS, Judge, JudgeEngine
from sctir_kaggle.recipes.data.tir.outcomes import Choice, Chosen, same_text
from sctir_kaggle.recipes.data.tir.process import RateLimitFilter, raise_nofile_limit, run_periodically
from sctir_kaggle.recipes.data.tir.review import Review, prints_the_same
from sctir_kaggle.recipes.data.tir.rows import kept_rows
from sctir_kaggle.recipes.data.tir.sampling import Sampling
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir.statistics import chosen_of, statistics_of, table_of
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.runtime import Load, ManagedEngine, open_engine
from sctir_kaggle.settings import ClockConfig, RunConfig
from sctir_kaggle.types import EngineError, Executor

ROWS, STATISTICS = "tir.jsonl.gz", "statistics.json"

log = logging.getLogger("sctir_kaggle")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from sctir_kaggle.display import console, setup_logging

    setup_logging(stream=sys.stderr)
    log.addFilter(RateLimitFilter(10.0))
    try:
        statistics = make(settings_of_command(TirSettings, __doc__, arguments))
    except EngineError as error:  # the engine names the option of `sctir`
        raise EngineError(str(error).replace("--server-wait 10m", "--set server_wait=600")) from None
    console().print(table_of(statistics))
    said = ", ".join(f"{statistics[name]:,} {name}" for name in ("problems", "kept", "dropped", "open", "rows"))
    console().print(f"{said}; cost {statistics['cost']:,}")


class ExpressionEngine(ChatEngine):
    """A chat engine whose instruction asks for any exact answer, not for a number."""

    instruction = ChatEngine.instruction.replace("a single number", "a number or an expression, exact, without words")


@dataclass(frozen=True, slots=True)
class _Run:
    """A run in progress: its exercises, the attempts at them, and what decides on these."""

    settings: TirSettings
    exercises: Sequence[Exercise]
    left_out: Mapping[str, int]
    attempts: Attempts
    judge: Judge | None

    @property
    def choice(self) -> Choice:
        equal = same_text if self.judge is None else self.judge.equal
        return Choice(self.settings.rules(), self.settings.rounds, equal)

    def cost(self) -> float:
        """The price of all tokens so far, the judge's too."""
        judged = 0.0 if self.judge is None else self.settings.judge_cost(self.judge.tokens)
        return self.settings.cost(self.attempts.tokens) + judged

    def statistics(self, chosen: Mapping[str, Chosen] | None = None) -> dict[str, Any]:
        settings = self.settings
        chosen = chosen_of(self.exercises, self.attempts, self.choice) if chosen is None else chosen
        found = statistics_of(self.exercises, self.attempts, chosen, seeds=settings.seeds(), cost=settings.cost)
        if self.judge is not None:
            found["judge"] = self.judge.statistics(settings.judge_cost)
            found["cost"] = round(found["cost"] + found["judge"]["cost"], 6)
        return {**found, "left_out": dict(self.left_out)}


def make(settings: TirSettings) -> dict[str, Any]:
    """Sample what is left; return the statistics. Rows and statistics are written however the sampling ends."""
    exercises, left_out = read_exercises(
        settings.problems,
        split=settings.split,
        integers=settings.integers,
        expressions=settings.judge,
        unanswered=settings.reference == "majority",
        repeated=settings.duplicates == "kept",
        limit=settings.limit,
    )
    log.info("%d problems, left out: %s", len(exercises), dict(left_out) or "none")
    raise_nofile_limit(settings.in_flight)
    with ExitStack() as stack:
        opened = open_engine(_run_config(settings), slots=settings.in_flight, load=_load(settings))
        engine, executor = stack.enter_context(opened)
        judging = _open_judge(settings, stack)
        header = _header(settings, exercises, engine, executor, judging)
        attempts = stack.enter_context(closing(Attempts.opened(settings.output / JOURNAL, header)))
        run = _Run(settings, exercises, left_out, attempts, _judge(settings, judging, stack))
        try:
            asyncio.run(_sample(run, engine, executor))
        finally:
            statistics = _write(run)
    return statistics


def _waiting(settings: TirSettings) -> dict[str, Any]:
    """How long and how often a server is tried, the model's and the judge's alike."""
    return {
        "tries": settings.tries,
        "pause": settings.pause,
        "patience": settings.patience,
        "stall": settings.stall,
        "wait": settings.server_wait,
        "reach": settings.server_wait,
    }


def _open_judge(settings: TirSettings, stack: ExitStack) -> JudgeEngine | None:
    """The judge's servers, closed with `stack`; None without a judge."""
    if not settings.judge:
        return None
    engine = JudgeEngine.open(
        settings.judge_url,
        settings.judge_model,
        slots=settings.in_flight,
        **_waiting(settings),
        options=settings.request_options_of_judge(),
    )
    stack.callback(engine.close)
    return engine


def _judge(settings: TirSettings, engine: JudgeEngine | None, stack: ExitStack) -> Judge | None:
    if engine is None:
        return None
    path, tokens = settings.output / VERDICTS, settings.judge_max_tokens
    return stack.enter_context(closing(Judge(path, engine, _name_of(engine), max_tokens=tokens)))


def _name_of(engine: JudgeEngine) -> str:
    """What tells one judge from another: the model that the servers name."""
    facts = engine.describe()
    return str(facts.get("model") or facts.get("served_model") or "")


async def _sample(run: _Run, engine: ManagedEngine, executor: Executor) -> None:
    settings = run.settings
    same = partial(prints_the_same, executor, settings.output_chars) if settings.reexecute else None
    sampling = Sampling(
        run.attempts,
        TaskSolver(
            engine,
            executor,
            settings.config(),
            seconds=settings.attempt_seconds or math.inf,
            dialect=_dialect(settings),
        ).solve,
        Review(settings.rules(), run.judge, same),
        run.choice,
        seeds=settings.seeds(),
        failures=settings.failures,
        spent=lambda: settings.budget is not None and run.cost() >= settings.budget,
    )
    async with run_periodically(10.0, lambda: log.info("%s", _line(run))):
        await sampling.run(run.exercises, in_flight=settings.in_flight)


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
    chat = ExpressionEngine if settings.judge else ChatEngine
    kind = chat if settings.engine == "chat" else OpenAIEngine
    return lambda run, slots: kind.open(
        settings.base_url,
        settings.served_model,
        tokenizer=settings.model,
        slots=slots,
        **_waiting(settings),
        options=settings.request_options(),
    )


def _header(
    settings: TirSettings,
    exercises: Sequence[Exercise],
    engine: ManagedEngine,
    executor: Any,
    judge: JudgeEngine | None,
) -> dict[str, Any]:
    """The journal's header. References are part of it, and how traces are kept: a run with others cannot be resumed."""
    referred = [replace(one.problem, text=f"{one.problem.text}\0{one.reference}") for one in exercises]
    header = journal_header(
        _run_config(settings),
        referred,
        dialect=_dialect(settings),
        engine=engine.describe(),
        executor=executor.describe(),
    )
    judged_by = None if judge is None else {"model": _name_of(judge), "instruction": INSTRUCTION}
    kept_by = {**asdict(settings.rules()), "reexecute": settings.reexecute, "judge": judged_by}
    return {**header, "seeds": list(settings.seeds()), "kept_by": kept_by}


def _line(run: _Run) -> str:
    """Progress, on one line."""
    now = run.statistics()
    asked = sum(one["asked"] for one in now["rounds"])
    return f"{now['kept']} of {now['problems']} kept, {now['dropped']} dropped, {asked} attempts, cost {now['cost']:,}"


def _write(run: _Run) -> dict[str, Any]:
    """Write rows and statistics, each atomically; return the latter."""
    settings, known = run.settings, {exercise.problem.id: exercise for exercise in run.exercises}
    chosen = chosen_of(run.exercises, run.attempts, run.choice)
    statistics = run.statistics(chosen)
    write_rows(settings.output / ROWS, kept_rows(settings.output / JOURNAL, known, chosen, seed=settings.seed))
    part = settings.output / f".{STATISTICS}"
    part.write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    part.replace(settings.output / STATISTICS)
    return statistics


if __name__ == "__main__":
    run_recipe(main)
