"""A validation set, solved under several seeds on this machine: one engine, one sandbox, one journal, several tasks at once.

A run is a sequence of tasks, the whole set under the first seed, then under the next. What has ended is in the journal and
is not done again; what a kill cut short is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.lab.replay.results import Outcome, ReplayJournal
from sctir_kaggle.lab.replay.scheduler import Scheduler, Task, TaskSolver, Watcher
from sctir_kaggle.runtime import Load, Setup, bound_to, journal_header, open_engine
from sctir_kaggle.types import EngineError, Problem, UserError


class Observer(Watcher, Protocol):
    """A `Watcher` that is told once how much there is to do, and what of it was done before."""

    def begin(self, total: int, earlier: Sequence[Outcome]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be solved, and how."""

    setup: Setup

    problems: Sequence[Problem]

    seeds: Sequence[int]
    """The first is `setup.config.seed`."""

    parallel: int | None = None
    """Tasks at once on an engine; None is as many as have room there with all their candidates."""

    seconds: float = math.inf
    """The longest time for a task."""

    def __post_init__(self) -> None:
        if entry_of(self.setup.engine).load is None:
            raise UserError("a recorded run is played again by `sctir what-if RUN` or `sctir solve --engine recorded`")
        if not self.problems:
            raise UserError("there is no problem to solve; give a set or a CSV with rows")

    @property
    def at_once(self) -> int:
        """Tasks at once on an engine, at least one."""
        return self.parallel or max(1, entry_of(self.setup.engine).room // self.setup.config.candidates)

    @property
    def slots(self) -> int:
        """Requests at once that the engine is loaded for; more of them wait."""
        asked = self.at_once * self.setup.config.candidates
        return min(asked, entry_of(self.setup.engine).slots or asked)

    @property
    def tasks(self) -> list[Task]:
        """All, in order."""
        return [Task(problem, seed) for seed in self.seeds for problem in self.problems]


def replay(plan: Plan, observer: Observer, *, load: Load | None = None) -> list[Outcome]:
    """Solve what is not solved yet; the outcomes of all tasks. `load` stands in for the engine that the setup names.

    Raises `EngineError` where some could not be solved: all others are in the journal.
    """
    from sctir_kaggle.background import BackgroundLoop

    with open_engine(plan.setup, problems=plan.problems, slots=plan.slots, load=load) as (engine, executor):
        plan = replace(plan, setup=bound_to(engine, plan.setup))
        header = header_of(plan, engine=engine.describe(), executor=executor.describe())
        with closing(open_journal(plan, header)) as journal, BackgroundLoop() as loop:
            solver = TaskSolver(engine, executor, plan.setup.config, seconds=plan.seconds, dialect=plan.setup.spoken)
            dispatch, tasks = prepared(plan, journal, observer)
            loop.run(dispatch.run(tasks, [solver.solve] * plan.at_once))
            return outcomes_of(plan, journal, dispatch)


def header_of(plan: Plan, *, engine: Mapping[str, Any], executor: Mapping[str, Any]) -> dict[str, Any]:
    """The journal's header. Its engine is without the number of slots, so that a run may go on with more or fewer."""
    facts = {name: value for name, value in engine.items() if name != "slots"}
    header = journal_header(plan.setup, plan.problems, engine=facts, executor=dict(executor))
    return {**header, "seeds": list(plan.seeds), "parallel": plan.at_once}


def open_journal(plan: Plan, header: dict[str, Any]) -> ReplayJournal:
    """As a new one, or where an earlier run ended."""
    path = plan.setup.folder / JOURNAL
    return ReplayJournal.resume(path, header) if plan.setup.resume else ReplayJournal.create(path, header)


def prepared(plan: Plan, journal: ReplayJournal, observer: Observer) -> tuple[Scheduler, list[Task]]:
    """What hands the tasks out, and those that the journal does not have; the observer is told of both kinds."""
    tasks = plan.tasks
    left = [task for task in tasks if _key(task) not in journal.outcomes]
    earlier = [journal.outcomes[_key(task)] for task in tasks if _key(task) in journal.outcomes]
    observer.begin(len(tasks), earlier)
    return Scheduler(journal, observer), left


def outcomes_of(plan: Plan, journal: ReplayJournal, dispatch: Scheduler) -> list[Outcome]:
    """All, in the order of the tasks. Raises `EngineError` where one is missing."""
    if dispatch.failures:
        task, why = next(iter(dispatch.failures.items()))
        raise EngineError(
            f"{len(dispatch.failures)} of {len(plan.tasks)} tasks could not be solved, the first, {task.problem.id} with "
            f"seed {task.seed}: {why}; --resume --output {plan.setup.folder} tries them again"
        )
    return [journal.outcomes[_key(task)] for task in plan.tasks]


def _key(task: Task) -> tuple[str, int]:
    return task.problem.id, task.seed
