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
from sctir_kaggle.lab.replay.run import Observer, Plan, header_of, open_journal, outcomes_of, prepared
from sctir_kaggle.lab.replay.scheduler import Lane, Task, TaskSolver
from sctir_kaggle.runtime import Load, bound_to, open_engine
from sctir_kaggle.scheduling import WorkerLost
from sctir_kaggle.types import EngineError, ExecutorError, SolveResult, UserError, one_line

log = logging.getLogger("sctir_kaggle")

LOCAL = "local"
"""The address of a cluster of this machine alone, started for this run."""


CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to be reached."""


class Worker:
    """What runs in an actor: an engine and a sandbox, opened once, and tasks solved with them on the actor's event loop."""

    def __init__(self, plan: Plan, load: Load | None) -> None:
        self._plan, self._load = plan, load
        self._stack = ExitStack()

    async def open(self) -> dict[str, Any]:
        """Load engine and sandbox; what they and this process say of themselves."""
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
        """See `TaskSolver`."""
        return await self._solver.solve(task)

    async def close(self) -> None:
        """End engine and sandbox."""
        await asyncio.to_thread(self._stack.close)


@dataclass(eq=False)
class WorkerHandle:
    """A worker as the driver knows it. `facts` are what it said when it was opened."""

    number: int
    actor: Any
    facts: dict[str, Any]
    lost: bool = False

    async def solve(self, task: Task) -> SolveResult:
        """A lane. Raises `WorkerLost` where the worker is gone, and what the worker raised where it is there."""
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
    """As `run.replay`, on `workers` actors; by default one for each GPU that an engine here needs, else one a node.

    `address` is that of a running cluster ("auto": the one that this machine is part of), or "local". Raises `UserError`
    where Ray is not installed or there is no such cluster.
    """
    from sctir_kaggle.background import BackgroundLoop

    plan = _absolute(plan)
    with _cluster(address), BackgroundLoop() as loop, ExitStack() as stack:
        seats = _seats(plan, workers, load)
        stack.callback(_dismiss, seats, loop)
        ready = loop.run(_opened(seats))
        plan = replace(plan, setup=ready[0].facts["setup"])
        header = header_of(plan, engine=ready[0].facts["engine"], executor=ready[0].facts["executor"])
        journal = stack.enter_context(closing(open_journal(plan, {**header, "workers": len(ready)})))
        dispatch, tasks = prepared(plan, journal, observer)
        # In turns, so that few tasks are spread over all workers.
        lanes: list[Lane] = [seat.solve for _ in range(plan.at_once) for seat in ready]
        loop.run(dispatch.run(tasks, lanes))
        return outcomes_of(plan, journal, dispatch)


def _absolute(plan: Plan) -> Plan:
    """Workers have a working folder of their own."""
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
    """Connected; one that was connected before is left as it is."""
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
    """Raises `OSError` where nothing listens at HOST:PORT; Ray itself would ask for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _shape(plan: Plan, workers: int | None) -> tuple[int, int]:
    """How many workers, and how many GPUs each. Raises `UserError` where they would wait for ever."""
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


def _seats(plan: Plan, workers: int | None, load: Load | None) -> list[WorkerHandle]:
    """The workers, spread over the nodes; none of them is ready yet."""
    count, gpus = _shape(plan, workers)
    choices = {"num_cpus": 1, "num_gpus": gpus, "max_concurrency": plan.at_once + 2}
    actor = _ray().remote(Worker).options(**choices, max_restarts=0, scheduling_strategy="SPREAD")
    return [WorkerHandle(number, actor.remote(plan, load), {}) for number in range(count)]


async def _opened(seats: Sequence[WorkerHandle]) -> list[WorkerHandle]:
    """Those that are ready. Raises what kept the first from starting where none is, or where they are not alike."""
    ended = await asyncio.gather(*(seat.open() for seat in seats), return_exceptions=True)
    ready = [seat for seat, error in zip(seats, ended, strict=True) if error is None]
    errors = [(seat, error) for seat, error in zip(seats, ended, strict=True) if error is not None]
    if not ready:
        error = errors[0][1]
        raise EngineError(f"no worker could start: {error}") if isinstance(error, WorkerLost) else error
    for seat, error in errors:
        if not isinstance(error, WorkerLost):
            log.warning("worker %d could not start, the others go on: %s", seat.number, error)
    _check_alike(ready)
    return ready


def _check_alike(seats: Sequence[WorkerHandle]) -> None:
    first = seats[0].facts
    for seat in seats:
        if seat.facts["version"] != __version__:
            raise UserError(
                f"worker {seat.number} has sctir_kaggle {seat.facts['version']}, this is {__version__}: install the same"
            )
        if seat.facts["engine"] != first["engine"]:
            raise UserError(
                f"worker {seat.number} has another engine than worker {seats[0].number}: {seat.facts['engine']} and "
                f"{first['engine']}; give the nodes the same model and hardware"
            )


def _dismiss(seats: Sequence[WorkerHandle], loop: Any) -> None:
    """End them in order, as far as they answer; what does not is killed with its actor."""

    async def close(seat: WorkerHandle) -> None:
        await asyncio.wait_for(asyncio.wrap_future(_future(seat.actor.close.remote())), 10)

    async def close_all() -> None:
        await asyncio.gather(*(close(seat) for seat in seats if not seat.lost), return_exceptions=True)

    loop.run(close_all())
    for seat in seats:
        _ray().kill(seat.actor)


def _future(reference: Any) -> Future[Any]:
    future: Future[Any] = reference.future()
    return future


def _cause(error: Any) -> BaseException:
    """What the worker raised, as itself: a `UserError` stays one line."""
    cause = error.cause
    known = (UserError, EngineError, ExecutorError)
    return cause if isinstance(cause, known) else RuntimeError(f"a bug in a worker: {error}")
