"""Solve a validation set under several seeds on this machine: one engine, one sandbox, one journal, several tasks at once.

A task is one problem under one seed. They run in order, the whole set under the first seed, then under the next. Tasks
that have ended are in the journal and are not done again; what a kill interrupted is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.engines.registry import check, entry_of
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.lab.replay.results import Outcome, ReplayJournal
from sctir_kaggle.lab.replay.scheduler import Scheduler, Task, TaskSolver, Watcher
from sctir_kaggle.runtime import Load, bind_dialect, open_engine
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import EngineError, Problem, UserError


class Observer(Watcher, Protocol):
    """A `Watcher` that first learns how many tasks there are, and the outcomes of those that an earlier run ended."""

    def begin(self, total: int, earlier: Sequence[Outcome]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A replay: the tasks, the settings, the folder of its journal. Raises `UserError` where there is nothing to solve."""

    run: RunConfig
    """Its clock is not used: a replay has no budget for all tasks."""

    folder: Path

    resume: bool = False
    """Go on with the journal in `folder`."""

    problems: Sequence[Problem]

    seeds: Sequence[int]
    """The first is `run.solver.seed`."""

    parallel: int | None = None
    """Tasks at once on an engine; None is as many as have room there with all their candidates."""

    seconds: float = math.inf
    """The longest time for a task."""

    def __post_init__(self) -> None:
        check(self.run.engine)
        if entry_of(self.run.engine.engine).load is None:
            raise UserError("a recorded run is played again by `sctir what-if RUN` or `sctir solve --engine recorded`")
        if not self.problems:
            raise UserError("there is no problem to solve; give a set or a CSV with rows")

    @property
    def journal(self) -> Path:
        """The file that takes the results."""
        return self.folder / JOURNAL

    @property
    def at_once(self) -> int:
        """Tasks at once on an engine, at least one."""
        return self.parallel or max(1, entry_of(self.run.engine.engine).room // self.run.solver.candidates)

    @property
    def slots(self) -> int:
        """Requests at once that the engine is loaded for; further ones wait in it."""
        wanted = self.at_once * self.run.solver.candidates
        return min(wanted, entry_of(self.run.engine.engine).slots or wanted)

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in order."""
        return [Task(problem, seed) for seed in self.seeds for problem in self.problems]


def replay(plan: Plan, observer: Observer, *, load: Load | None = None) -> list[Outcome]:
    """Solve the tasks that no earlier run solved; return the outcomes of all.

    `load` replaces the engine that the settings name. Raises `EngineError` where tasks could not be solved: all others are
    in the journal.
    """
    from sctir_kaggle.background import BackgroundLoop

    with open_engine(plan.run, problems=plan.problems, slots=plan.slots, load=load) as (engine, executor):
        run, dialect = bind_dialect(engine, plan.run, resumed=plan.journal if plan.resume else None)
        plan = replace(plan, run=run)
        header = header_of(plan, dialect, engine=engine.describe(), executor=executor.describe())
        with closing(open_journal(plan, header)) as journal, BackgroundLoop() as loop:
            solver = TaskSolver(engine, executor, run.solver, seconds=plan.seconds, dialect=dialect)
            scheduler, tasks = schedule(plan, journal, observer)
            loop.run(scheduler.run(tasks, [solver.solve] * plan.at_once))
            return outcomes_of(plan, journal, scheduler)


def header_of(
    plan: Plan, dialect: Dialect, *, engine: Mapping[str, Any], executor: Mapping[str, Any]
) -> dict[str, Any]:
    """The journal's header. Its engine is without the number of slots, so that a run may go on with more or fewer."""
    facts = {name: value for name, value in engine.items() if name != "slots"}
    header = journal_header(plan.run, plan.problems, dialect=dialect, engine=facts, executor=dict(executor))
    seconds = plan.seconds if math.isfinite(plan.seconds) else None
    return {**header, "seeds": list(plan.seeds), "parallel": plan.at_once, "problem_seconds": seconds}


def open_journal(plan: Plan, header: dict[str, Any]) -> ReplayJournal:
    """Create the journal, or open it to go on."""
    return (ReplayJournal.resume if plan.resume else ReplayJournal.create)(plan.journal, header)


def schedule(plan: Plan, journal: ReplayJournal, observer: Observer) -> tuple[Scheduler, list[Task]]:
    """The scheduler, and the tasks whose outcome is not in the journal."""
    tasks = plan.tasks
    left = [task for task in tasks if _key(task) not in journal.outcomes]
    earlier = [journal.outcomes[_key(task)] for task in tasks if _key(task) in journal.outcomes]
    observer.begin(len(tasks), earlier)
    return Scheduler(journal, observer), left


def outcomes_of(plan: Plan, journal: ReplayJournal, scheduler: Scheduler) -> list[Outcome]:
    """The outcomes of all tasks, in their order. Raises `EngineError` where one is missing."""
    if scheduler.failures:
        task, why = next(iter(scheduler.failures.items()))
        raise EngineError(
            f"{len(scheduler.failures)} of {len(plan.tasks)} tasks could not be solved, the first, {task.problem.id} with "
            f"seed {task.seed}: {why}; --resume --output {plan.folder} tries them again"
        )
    return [journal.outcomes[_key(task)] for task in plan.tasks]


def _key(task: Task) -> tuple[str, int]:
    return task.problem.id, task.seed
