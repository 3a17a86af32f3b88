"""A replay on a Ray cluster: each worker is an actor with its own engine and sandbox, the driver writes the one journal.

Covered: a worker or its node that dies (its tasks go to the others, and a line says so), workers that cannot start while
others can, a kill of the driver (the journal resumes, here or on another cluster). Not covered: the head node's death,
which ends the run as a kill does; a dead worker is not started again; Ray Client (ray://) was not tried. Every node needs
this package in this version, and `--model` at the same path.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sctir_kaggle._version import __version__
from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.lab.replay.results import Outcome
from sctir_kaggle.lab.replay.run import Observer, Plan, header_of, open_journal, outcomes_of, schedule
from sctir_kaggle.lab.replay.scheduler import Lane, Task, TaskSolver
from sctir_kaggle.runtime import Load, bind_dialect, open_engine
from sctir_kaggle.scheduling import WorkerLost
from sctir_kaggle.types import EngineError, ExecutorError, SolveResult, UserError, one_line

log = logging.getLogger("sctir_kaggle")

LOCAL = "local"
"""The address of a cluster of this machine alone, started for this run."""

CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to be reached."""


class Worker:
    """The actor: an engine and a sandbox, opened once, with which tasks are solved on the actor's event loop."""

    def __init__(self, plan: Plan, load: Load | None) -> None:
        self._plan, self._load = plan, load
        self._stack = ExitStack()

    async def open(self) -> dict[str, Any]:
        """Load engine and sandbox; return what the driver needs to know about them and about this process."""
        plan = self._plan
        # In a thread: loading takes minutes, and the actor's event loop has to answer Ray meanwhile.
        opening = open_engine(plan.run, slots=plan.slots, load=self._load)
        engine, executor = await asyncio.to_thread(self._stack.enter_context, opening)
        run, dialect = bind_dialect(engine, plan.run, resumed=plan.journal if plan.resume else None)
        self._solver = TaskSolver(engine, executor, run.solver, seconds=plan.seconds, dialect=dialect)
        return {
            "run": run,
            "dialect": dialect,
            "version": __version__,
            "pid": os.getpid(),
            "engine": engine.describe(),
            "executor": executor.describe(),
        }

    async def solve(self, task: Task) -> SolveResult:
        """See `TaskSolver`."""
        return await self._solver.solve(task)

    async def close(self) -> None:
        """End engine and sandbox."""
        await asyncio.to_thread(self._stack.close)


@dataclass(eq=False)
class WorkerHandle:
    """A worker, on the driver's side. `facts` are what its `open` returned."""

    number: int
    actor: Any
    facts: dict[str, Any]
    lost: bool = False

    async def solve(self, task: Task) -> SolveResult:
        """A lane. Raises `WorkerLost` where the worker is gone, and otherwise what the worker raised."""
        result: SolveResult = await self._reply(self.actor.solve.remote(task))
        return result

    async def open(self) -> None:
        """Wait until the worker is ready. Raises `WorkerLost` or what kept it from starting."""
        self.facts = await self._reply(self.actor.open.remote())

    async def _reply(self, reference: Any) -> Any:
        from ray import exceptions  # type: ignore[import-not-found,import-untyped,unused-ignore]

        try:
            return await reference
        except exceptions.RayTaskError as error:
            raise _cause(error) from None
        except exceptions.RayError as error:
            if not self.lost:
                self.lost = True
                log.warning(
                    "worker %d is lost, its tasks go to the others: %s", self.number, one_line(error, first=True)
                )
            raise WorkerLost(f"worker {self.number}: {one_line(error, first=True)}") from None


def replay_on_ray(
    plan: Plan, observer: Observer, *, address: str = LOCAL, workers: int | None = None, load: Load | None = None
) -> list[Outcome]:
    """As `run.replay`, on `workers` actors: by default as many as the GPUs allow, without GPUs one for each node.

    `address` is that of a running cluster ("auto": the one that this machine is part of), or "local". Raises `UserError`
    where Ray is not installed or there is no such cluster.
    """
    from sctir_kaggle.background import BackgroundLoop

    plan = _absolute(plan)
    with _cluster(address), BackgroundLoop() as loop, ExitStack() as stack:
        started = _start_workers(plan, workers, load)
        stack.callback(_end_workers, started, loop)
        ready = loop.run(_open_workers(started))
        first = ready[0].facts  # all are alike, or `_open_workers` raised
        plan = replace(plan, run=first["run"])
        header = header_of(plan, first["dialect"], engine=first["engine"], executor=first["executor"])
        journal = stack.enter_context(closing(open_journal(plan, {**header, "workers": len(ready)})))
        scheduler, tasks = schedule(plan, journal, observer)
        # Round robin: where there are fewer tasks than lanes, they are spread over all workers.
        lanes: list[Lane] = [worker.solve for _ in range(plan.at_once) for worker in ready]
        loop.run(scheduler.run(tasks, lanes))
        return outcomes_of(plan, journal, scheduler)


def _absolute(plan: Plan) -> Plan:
    """The plan with an absolute checkpoint path: each worker has another working folder than the driver."""
    model = plan.run.engine.model
    run = plan.run.with_model(model.absolute() if isinstance(model, Path) else model)
    return replace(plan, run=run, problems=tuple(plan.problems))


def _ray() -> Any:
    try:
        import ray  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'sctir-kaggle[ray]'") from None
    return ray


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Connect to the cluster, unless this process is connected already; disconnect at the end in the first case only."""
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _check_listening(address)
        alone = {"include_dashboard": False} if address == LOCAL else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **alone)
    except (OSError, ValueError, RuntimeError) as error:
        reason = one_line(error, first=True)
        raise UserError(
            f"no Ray cluster at {address!r}: {reason}; start one with `ray start --head`, or give --ray alone"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raises `OSError` where nothing listens at HOST:PORT; Ray itself would retry for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _shape(plan: Plan, workers: int | None) -> tuple[int, int]:
    """How many workers, and how many GPUs each. Raises `UserError` where the cluster could never start them all."""
    ray, engine = _ray(), plan.run.engine
    has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU")}
    gpus = (engine.gpus or 1) if has["GPU"] and not entry_of(engine.engine).servers else 0
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    count = workers or (has["GPU"] // gpus if gpus else nodes)
    for kind, needed in (("CPU", count), ("GPU", count * gpus)):
        if count < 1 or needed > has[kind]:
            raise UserError(
                f"{max(1, count)} workers of Ray need {max(1, needed)} {kind}s and the cluster has {has[kind]}; give fewer "
                "with --workers, or add nodes"
            )
    return count, gpus


def _start_workers(plan: Plan, workers: int | None, load: Load | None) -> list[WorkerHandle]:
    """Create the actors, spread over the nodes; none of them is ready yet."""
    count, gpus = _shape(plan, workers)
    choices = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": plan.at_once + 2}  # and room for open, close
    actor = _ray().remote(Worker).options(**choices, max_restarts=0, scheduling_strategy="SPREAD")
    return [WorkerHandle(number, actor.remote(plan, load), {}) for number in range(count)]


async def _open_workers(workers: Sequence[WorkerHandle]) -> list[WorkerHandle]:
    """Open all; return those that are ready. Raises the first one's error where none is, `UserError` where they differ."""
    ended = await asyncio.gather(*(worker.open() for worker in workers), return_exceptions=True)
    ready = [worker for worker, error in zip(workers, ended, strict=True) if error is None]
    errors = [(worker, error) for worker, error in zip(workers, ended, strict=True) if error is not None]
    if not ready:
        error = errors[0][1]
        raise EngineError(f"no worker could start: {error}") if isinstance(error, WorkerLost) else error
    for worker, error in errors:
        if not isinstance(error, WorkerLost):  # a lost one has been reported
            log.warning("worker %d could not start, the others go on: %s", worker.number, error)
    _check_alike(ready)
    return ready


def _check_alike(workers: Sequence[WorkerHandle]) -> None:
    """Raises `UserError` where versions or engines differ: the journal's header describes one engine for all results."""
    first = workers[0]
    for worker in workers:
        if worker.facts["version"] != __version__:
            raise UserError(
                f"worker {worker.number} has sctir_kaggle {worker.facts['version']}, this is {__version__}: install the same"
            )
        if worker.facts["engine"] != first.facts["engine"]:
            raise UserError(
                f"worker {worker.number} has another engine than worker {first.number}: {worker.facts['engine']} and "
                f"{first.facts['engine']}; give the nodes the same model and hardware"
            )


def _end_workers(workers: Sequence[WorkerHandle], loop: Any) -> None:
    """Close engine and sandbox of each worker, for at most 10 seconds; then kill the actors."""

    async def close(worker: WorkerHandle) -> None:
        closed: Future[Any] = worker.actor.close.remote().future()
        await asyncio.wait_for(asyncio.wrap_future(closed), 10)

    async def close_all() -> None:
        await asyncio.gather(*(close(worker) for worker in workers if not worker.lost), return_exceptions=True)

    loop.run(close_all())
    for worker in workers:
        _ray().kill(worker.actor)


def _cause(error: Any) -> BaseException:
    """The exception that the worker raised, as itself: a `UserError` stays one line."""
    cause = error.cause
    expected = (UserError, EngineError, ExecutorError)
    return cause if isinstance(cause, expected) else RuntimeError(f"a bug in a worker: {error}")
