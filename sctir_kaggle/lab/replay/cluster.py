"""A replay on a Ray cluster: each worker is an actor with its own engine and sandbox; the driver writes the only journal.

Covered: a worker or its node that dies (its tasks go to the others, and a log line says so), workers that cannot start while
others can, a kill of the driver (the journal resumes, here or on another cluster). Not covered: the death of the head node,
which ends the run as a kill does; restarting a dead worker; Ray Client (ray://), which is untested. Every node needs this
version of the package, and `--model` at the same path.
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
from sctir_kaggle.lab.replay.run import Observer, Plan, header_of, open_journal, outcomes_of, prepared
from sctir_kaggle.lab.replay.scheduler import Lane, Task, TaskSolver, WorkerLost
from sctir_kaggle.runtime import Load, bound_to, open_engine
from sctir_kaggle.types import EngineError, ExecutorError, SolveResult, UserError

log = logging.getLogger("sctir_kaggle")

LOCAL = "local"
"""The address of a cluster on this machine alone, started for this run."""

CONNECT_SECONDS = 10.0
"""Time limit for reaching the cluster's address."""


class Worker:
    """The actor: an engine and a sandbox, opened once, that solve tasks on the actor's event loop."""

    def __init__(self, plan: Plan, load: Load | None) -> None:
        self._plan, self._load = plan, load
        self._stack = ExitStack()

    async def open(self) -> dict[str, Any]:
        """Load engine and sandbox; -> facts about them and this process, for the driver to compare."""
        opening = open_engine(self._plan.setup, slots=self._plan.slots, load=self._load)
        engine, executor = await asyncio.to_thread(self._stack.enter_context, opening)
        setup = bound_to(engine, self._plan.setup)
        self._solver = TaskSolver(engine, executor, setup.config, seconds=self._plan.seconds, dialect=setup.spoken)
        return {
            "setup": setup,
            "version": __version__,
            "pid": os.getpid(),
            "engine": engine.describe(),
            "executor": executor.describe(),
        }

    async def solve(self, task: Task) -> SolveResult:
        """Solve one task, as `TaskSolver` does."""
        return await self._solver.solve(task)

    async def close(self) -> None:
        """Close engine and sandbox."""
        await asyncio.to_thread(self._stack.close)


@dataclass(eq=False)
class WorkerHandle:
    """The driver's side of a worker. `facts` is the reply of `Worker.open`."""

    number: int
    actor: Any
    facts: dict[str, Any]
    lost: bool = False

    async def solve(self, task: Task) -> SolveResult:
        """A lane of the scheduler. Raises `WorkerLost` where the worker is gone, else what the worker raised."""
        result: SolveResult = await self._reply(self.actor.solve.remote(task))
        return result

    async def open(self) -> None:
        """Wait until the worker is ready. Raises `WorkerLost`, or the error that kept it from starting."""
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
                log.warning("worker %d is lost, its tasks go to the others: %s", self.number, _first_line(error))
            raise WorkerLost(f"worker {self.number}: {_first_line(error)}") from None


def replay_on_ray(
    plan: Plan, observer: Observer, *, address: str = LOCAL, workers: int | None = None, load: Load | None = None
) -> list[Outcome]:
    """As `run.replay`, on `workers` actors; by default as many as the cluster's GPUs can serve, without GPUs one per node.

    `address` is that of a running cluster ("auto": the one that this machine belongs to), or "local". Raises `UserError`
    where Ray is not installed or there is no such cluster.
    """
    from sctir_kaggle.background import BackgroundLoop

    plan = _absolute(plan)
    with _cluster(address), BackgroundLoop() as loop, ExitStack() as stack:
        handles = _start_workers(plan, workers, load)
        stack.callback(_stop_workers, handles, loop)
        ready = loop.run(_ready(handles))
        plan = replace(plan, setup=ready[0].facts["setup"])
        header = header_of(plan, engine=ready[0].facts["engine"], executor=ready[0].facts["executor"])
        journal = stack.enter_context(closing(open_journal(plan, {**header, "workers": len(ready)})))
        scheduler, tasks = prepared(plan, journal, observer)
        # In turns, so that few tasks are spread over all workers.
        lanes: list[Lane] = [handle.solve for _ in range(plan.at_once) for handle in ready]
        loop.run(scheduler.run(tasks, lanes))
        return outcomes_of(plan, journal, scheduler)


def _absolute(plan: Plan) -> Plan:
    """The plan with an absolute path to the model: Ray's workers have another working directory."""
    model = plan.setup.model.absolute() if isinstance(plan.setup.model, Path) else plan.setup.model
    return replace(plan, setup=replace(plan.setup, model=model), problems=tuple(plan.problems))


def _ray() -> Any:
    try:
        import ray  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'sctir-kaggle[ray]'") from None
    return ray


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Connect to the cluster, and disconnect at the end; an existing connection is left alone."""
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
        raise UserError(
            f"no Ray cluster at {address!r}: {_first_line(error)}; start one with `ray start --head`, or give --ray alone"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT; Ray itself would retry for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _size(plan: Plan, workers: int | None) -> tuple[int, int]:
    """Number of workers, and of GPUs for each. Raises `UserError` where the cluster could never place them."""
    ray, setup = _ray(), plan.setup
    has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU")}
    gpus = (setup.gpus or 1) if has["GPU"] and not entry_of(setup.engine).servers else 0
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
    """Create the workers, spread over the nodes; none of them is ready yet."""
    count, gpus = _size(plan, workers)
    choices = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": plan.at_once + 2}
    actor = _ray().remote(Worker).options(**choices, max_restarts=0, scheduling_strategy="SPREAD")
    return [WorkerHandle(number, actor.remote(plan, load), {}) for number in range(count)]


async def _ready(handles: Sequence[WorkerHandle]) -> list[WorkerHandle]:
    """Wait for all workers; -> those that are ready. Raises the first one's error where none is, or they are not alike."""
    ended = await asyncio.gather(*(handle.open() for handle in handles), return_exceptions=True)
    ready = [handle for handle, error in zip(handles, ended, strict=True) if error is None]
    errors = [(handle, error) for handle, error in zip(handles, ended, strict=True) if error is not None]
    if not ready:
        error = errors[0][1]
        raise EngineError(f"no worker could start: {error}") if isinstance(error, WorkerLost) else error
    for handle, error in errors:
        if not isinstance(error, WorkerLost):
            log.warning("worker %d could not start, the others go on: %s", handle.number, error)
    _check_alike(ready)
    return ready


def _check_alike(handles: Sequence[WorkerHandle]) -> None:
    first = handles[0].facts
    for handle in handles:
        if handle.facts["version"] != __version__:
            raise UserError(
                f"worker {handle.number} has sctir_kaggle {handle.facts['version']}, this is {__version__}: install the same"
            )
        if handle.facts["engine"] != first["engine"]:
            raise UserError(
                f"worker {handle.number} has another engine than worker {handles[0].number}: {handle.facts['engine']} and "
                f"{first['engine']}; give the nodes the same model and hardware"
            )


def _stop_workers(handles: Sequence[WorkerHandle], loop: Any) -> None:
    """Close the workers in order and kill their actors, which also ends those that do not reply within 10 seconds."""

    async def close(handle: WorkerHandle) -> None:
        await asyncio.wait_for(asyncio.wrap_future(_future(handle.actor.close.remote())), 10)

    async def close_all() -> None:
        await asyncio.gather(*(close(handle) for handle in handles if not handle.lost), return_exceptions=True)

    loop.run(close_all())
    for handle in handles:
        _ray().kill(handle.actor)


def _future(reference: Any) -> Future[Any]:
    future: Future[Any] = reference.future()
    return future


def _cause(error: Any) -> BaseException:
    """The worker's own error where its kind is known, so that a `UserError` stays one line."""
    cause = error.cause
    known = (UserError, EngineError, ExecutorError)
    return cause if isinstance(cause, known) else RuntimeError(f"a bug in a worker: {error}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
