"""Build a run from its settings: engine, sandbox, clock, journal and event loop are opened here and closed together."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle import problems as problem_sets
from sctir_kaggle.background import in_thread
from sctir_kaggle.budget import Budget
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.recognition import AUTO, announcement, choose
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.engines.registry import check, entry_of, is_hub_name
from sctir_kaggle.header import dialect_of, journal_header
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.settings import RunConfig, with_dialect_defaults
from sctir_kaggle.types import Engine, EngineError, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from sctir_kaggle.engines.recorded import Recorded
    from sctir_kaggle.session import Observer, ResultStore, Session

EMBEDDED_MODEL = problem_sets.ASSETS / "model"

RESERVE = 0.02
"""The share of the budget that is kept for cancelling the last candidates and writing the submission."""

AT_ONCE = 0.1
"""Seconds within which an engine that lacks a library or a file says so."""

MOST_SLOTS = 48
"""Requests at once that an engine is loaded for at most, where the caller does not say: memory is kept for each of them."""

MAY_DIFFER = {
    *("candidates", "extra_candidates", "vote", "stop", "stop_delta", "stop_ballots", "contested_risk"),
    *("tie_break", "seed", "default_answer", "grace_seconds"),
}
"""Settings of the solver that a replay of a recorded run may change; every other one led to the recorded texts."""

log = logging.getLogger("sctir_kaggle")

start = logging.getLogger("sctir_kaggle.start")
"""Logger of the choices that a run makes before its first problem (the dialect). Shown in a terminal, too."""


class ManagedEngine(Engine, Protocol):
    """An engine that describes itself for the journal and can be closed."""

    def describe(self) -> dict[str, str | int]: ...

    def close(self) -> None: ...


Load = Callable[[RunConfig, int], ManagedEngine]
"""Load the engine of a run for that many requests at once."""

OpenStore = Callable[[Path, "dict[str, Any]"], "ResultStore"]
"""Open a store of results from its path and its header."""


@contextmanager
def open_session(
    run: RunConfig,
    folder: Path,
    *,
    planned: int,
    started: float,
    resume: bool = False,
    problems: Sequence[Problem] = (),
    observer: Observer | None = None,
    load: Load | None = None,
    open_store: OpenStore | None = None,
    budget: Budget | None = None,
    fail_fast: bool = False,
) -> Iterator[Session]:
    """Open a session for `planned` problems, whose results go to `folder`/journal.jsonl.

    The budget counts from `started` (a reading of `time.monotonic`), so that loading is paid from it; `budget` is one that
    is running already. `problems` are those known beforehand: a competition shows them one at a time. With `resume` the
    journal of an earlier run goes on. `load` replaces the engine that `run` names. `open_store` replaces the journal; what
    it opens is closed by its owner. With `fail_fast` the session raises `EngineDown` once its first problems show that
    nothing is served. Raises `UserError` where settings do not go together.
    """
    from sctir_kaggle.background import BackgroundLoop
    from sctir_kaggle.first_requests import FirstRequests
    from sctir_kaggle.journal import Journal
    from sctir_kaggle.session import Session
    from sctir_kaggle.solver import Solver

    path = folder / JOURNAL
    with ExitStack() as stack:
        engine, executor = stack.enter_context(open_engine(run, problems=problems, load=load))
        run, dialect = bind_dialect(engine, run, resumed=path if resume else None)
        header = journal_header(run, problems, dialect=dialect, engine=engine.describe(), executor=executor.describe())
        if open_store:
            store = open_store(path, header)
        else:
            store = stack.enter_context(closing((Journal.resume if resume else Journal.create)(path, header)))
        loop = stack.enter_context(BackgroundLoop())
        budget = budget or budget_of(run, planned=planned, started=started)
        if budget.left == 0:
            log.warning(
                "loading took the whole budget of %g s: every problem gets the default answer", run.clock.budget
            )
        solver = Solver(engine, executor, run.solver, dialect=dialect)
        first = FirstRequests(planned) if fail_fast and entry_of(run.engine.engine).load is not None else None
        yield Session(solver, budget, store, loop, observer, first)


def budget_of(run: RunConfig, *, planned: int, started: float, grace: float | None = None) -> Budget:
    """The run's seconds for `planned` problems, counted from `started` (a reading of `time.monotonic`).

    `grace` is how long a problem may go on after its deadline, in seconds; by default as long as the solver waits for its
    cancelled candidates.
    """
    clock = run.clock
    return Budget(
        clock.budget,
        planned,
        reserve=RESERVE * clock.budget,
        grace=run.solver.grace_seconds if grace is None else grace,
        cap=clock.cap,
        draw=clock.draw,
        floor=clock.floor,
        high=clock.high,
        started=started,
    )


def bind_dialect(engine: object, run: RunConfig, *, resumed: Path | None = None) -> tuple[RunConfig, Dialect]:
    """Choose the dialect of the engine's checkpoint, and fill `run` with the sampling that the dialect recommends.

    An engine with a `dialect` of its own takes no other; one without a `tokenizer` attribute reads plain text, as in
    tests, and is prompted in NuminaMath's. `resumed` is the journal that goes on. Raises `UserError` where no dialect is
    recognised.
    """
    own, tokenizer = getattr(engine, "dialect", None), getattr(engine, "tokenizer", None)
    if isinstance(own, Dialect):
        dialect = own
    elif run.dialect == AUTO and not hasattr(engine, "tokenizer"):
        dialect = NUMINA
    else:
        model = str(run.engine.model or (EMBEDDED_MODEL if tokenizer is not None else "the server's model"))
        dialect = choose(run.dialect, tokenizer, model=model, turns=run.solver.turns)
        if resumed is not None and resumed.exists():
            dialect = _with_old_date(dialect, resumed)
        start.info(announcement(dialect, tokenizer, choice=run.dialect, model=model))
    return replace(run, solver=with_dialect_defaults(run.solver, run.given, dialect.sampling)), dialect


def _with_old_date(dialect: Dialect, journal: Path) -> Dialect:
    """The journal's dialect, if it differs from `dialect` only in the date in its prompt (gpt-oss states today's date).

    Otherwise a run could not be resumed after midnight: its prompts would be others.
    """
    from sctir_kaggle.journal import read_header

    old = dialect_of(read_header(journal), journal)
    undated = [replace(each, prompt=_DATE.sub("", each.prompt)) for each in (old, dialect)]
    return old if undated[0] == undated[1] else dialect


_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")


@contextmanager
def open_engine(
    run: RunConfig, *, problems: Sequence[Problem] = (), slots: int | None = None, load: Load | None = None
) -> Iterator[tuple[ManagedEngine, Any]]:
    """Open the engine and the executor that goes with it.

    The engine is loaded for `slots` requests at once, by default the candidates of one problem, 48 at most. A recorded run
    is both engine and executor, and is refused if it lacks one of `problems`. Raises `UserError` where settings are for
    another engine.
    """
    check(run.engine)
    if entry_of(run.engine.engine).load is None:
        recorded = _open_recorded(run, problems)
        yield recorded, recorded
        return
    from sctir_kaggle.sandbox import Sandbox

    slots = slots or min(run.solver.candidates, MOST_SLOTS)
    if load is None:
        check_installed(run)
        _check_dialect(run)
    with ExitStack() as stack:
        # Two slow starts at once. If the sandbox does not start, the callback closes the engine as soon as it is loaded.
        loading = in_thread(lambda: (load or _load)(run, slots), "sctir-load")
        stack.callback(loading.add_done_callback, _close_loaded)
        wait([loading], AT_ONCE)
        if loading.done() and loading.exception() is not None:
            loading.result()  # raises: the sandbox need not start first
        sandbox = stack.enter_context(
            Sandbox(
                code_seconds=run.solver.code_seconds,
                stateful=run.solver.stateful,
                last_expression=run.solver.last_expression,
                output_bytes=run.sandbox.output_bytes,
                total_memory_mb=run.sandbox.total_memory_mb,
            )
        )
        yield loading.result(), sandbox


def check_installed(run: RunConfig) -> None:
    """Raise `EngineError` where a library of the engine is missing: before anything is started."""
    entry = entry_of(run.engine.engine)
    text_only = entry.model == "tokenizer" and run.engine.model is None  # a server is then sent text, not token ids
    needs = [name for name in entry.needs if not (text_only and name == "transformers")]
    missing = [name for name in needs if not _is_there(name)]
    if missing and missing != ["vllm"]:  # whose loader has more advice
        what = f"--engine {entry.name} needs {', '.join(missing)}"
        raise EngineError(f"{what}: pip install 'sctir-kaggle{f'[{entry.extra}]' if entry.extra else ''}'")


def _is_there(module: str) -> bool:
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _load(run: RunConfig, slots: int) -> ManagedEngine:
    """Load the engine that the settings name, with the embedded model if it needs weights and none are given."""
    entry = entry_of(run.engine.engine)
    assert entry.load is not None
    engine: ManagedEngine = entry.load(run.engine, _checkpoint(run), slots)
    return engine


def _checkpoint(run: RunConfig) -> str | Path | None:
    return run.engine.model or (EMBEDDED_MODEL if entry_of(run.engine.engine).model == "weights" else None)


def _check_dialect(run: RunConfig) -> None:
    """Raises `UserError` for a dialect that the checkpoint cannot have, before minutes are spent on loading its weights."""
    entry, model = entry_of(run.engine.engine), _checkpoint(run)
    needs = entry.model
    if needs == "none" and run.dialect != AUTO:
        why = "speaks its server's" if entry.servers else "takes none"
        raise UserError(f"dialect is {run.dialect}; --engine {entry.name} {why}: leave it out")
    if needs == "weights" and model and (is_hub_name(model) or (Path(model).expanduser() / "config.json").is_file()):
        from sctir_kaggle.dialects.tokenizer import Tokenizer

        choose(run.dialect, Tokenizer.load(model, compare=False), model=str(model))


def _close_loaded(loading: Future[ManagedEngine]) -> None:
    if loading.exception() is None:
        loading.result().close()


def _open_recorded(run: RunConfig, problems: Sequence[Problem]) -> Recorded:
    """Open a recorded run as an engine. Raises `UserError` where it lacks a problem or was recorded under other settings."""
    from sctir_kaggle.engines.recorded import Recorded
    from sctir_kaggle.journal import journal_of, read_journal

    if run.engine.model is None:
        raise UserError("--engine recorded plays a run again: say which with --model JOURNAL")
    journal = Path(run.engine.model)
    header, results = read_journal(journal_of(journal))
    dialect = dialect_of(header, journal)
    config = with_dialect_defaults(run.solver, run.given, dialect.sampling)
    results = _results_under(config.seed, results, journal)
    known = {(result.problem.id, result.problem.text) for result in results}
    missing = [problem.id for problem in problems if (problem.id, problem.text) not in known]
    if missing:
        raise UserError(
            f"{journal} holds no record of {len(missing)} of {len(problems)} problems, the first is {missing[0]}"
        )
    recorded = header.get("config", {})
    for name, value in asdict(config).items():
        # A field that the journal lacks is newer than the journal: the run had its default.
        if name not in MAY_DIFFER and recorded.get(name, value) != value:
            raise UserError(
                f"{journal} was recorded with {name} {recorded[name]}, not {value}: replay it with the same"
            )
    stopped = {result.stopped for result in results} - {"all", "deadline", "error"}
    if stopped and config.stop != recorded.get("stop", config.stop):
        raise UserError(
            f"{journal} ends where its stop, {recorded['stop']}, ended its problems: replay it with --stop {recorded['stop']}, "
            "or record with --stop none"
        )
    if config.candidates > recorded.get("candidates", config.candidates):
        raise UserError(
            f"{journal} holds {recorded['candidates']} candidates a problem; replay at most as many with -n"
        )
    return Recorded(results, dialect=dialect)


def _results_under(seed: int, results: list[SolveResult], journal: Path) -> list[SolveResult]:
    """The results under `seed` of a run with several seeds; all results of a run with one, whichever that is."""
    seeds = sorted({result.seed for result in results})
    if len(seeds) > 1 and seed not in seeds:
        raise UserError(f"{journal} has the seeds {', '.join(map(str, seeds))}, not {seed}: choose one with --seed")
    return [result for result in results if result.seed == seed] if len(seeds) > 1 else results
