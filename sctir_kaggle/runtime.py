"""A run, opened: engine, sandbox, journal, event loop and clock are built from one `Setup` and closed together."""

from __future__ import annotations

import logging
import math
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle import problems as problem_sets
from sctir_kaggle._version import __version__
from sctir_kaggle.background import in_thread
from sctir_kaggle.budget import Budget
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect, dialect_from
from sctir_kaggle.dialects.recognition import AUTO, announcement, choose, described
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.engines.registry import EngineConfig, check, checkpoint_of, entry_of, is_hub_name
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.settings import ClockConfig, RunConfig, with_dialect_defaults
from sctir_kaggle.types import Engine, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from sctir_kaggle.engines.recorded import Recorded
    from sctir_kaggle.journal import Journal
    from sctir_kaggle.session import Observer, ResultStore, Session

EMBEDDED_MODEL = problem_sets.ASSETS / "model"

RESERVE = 0.02
"""The share of the budget that is kept for cancelling the last candidates and writing the submission."""

MAY_DIFFER = {
    *("candidates", "extra_candidates", "vote", "stop", "stop_delta", "stop_ballots", "contested_risk"),
    *("tie_break", "seed", "default_answer", "grace_seconds"),
}
"""What a replay may choose anew; every other field led to the texts that were recorded."""

log = logging.getLogger("sctir_kaggle")

start = logging.getLogger("sctir_kaggle.start")
"""Told in a terminal, too: what a run decided by itself before its first problem."""


class ManagedEngine(Engine, Protocol):
    """What the command needs of an engine besides its text: a description for the journal, and an end."""

    def describe(self) -> dict[str, str | int]: ...

    def close(self) -> None: ...


Load = Callable[["Setup", int], ManagedEngine]
"""Loads the engine of a setup for so many requests at a time."""

Keep = Callable[[Path, "dict[str, Any]"], "ResultStore"]
"""Opens what keeps the results, at a path and with a header."""


@dataclass(frozen=True, kw_only=True)
class Setup(EngineConfig, ClockConfig):
    """What a run is made of, besides its problems: how to solve, the engine, the clock, and where it is kept."""

    config: SolverConfig

    folder: Path
    """Where the run is kept."""

    resume: bool = False
    """Go on with the run that is kept in `folder`."""

    competition: str | None = None
    preset: str | None = None

    dialect: str = "auto"
    """See `RunConfig.dialect`."""

    given: Mapping[str, str] | None = None
    """Which settings were chosen, and where (`RunConfig.given`): a dialect's or a competition's values stay out. None
    where `config` was made by hand: all of it was chosen, but for the range of answers."""

    spoken: Dialect | None = None
    """The dialect that was chosen, once the engine is there (`bound_to`)."""

    def __post_init__(self) -> None:
        EngineConfig.__post_init__(self)
        check(self)

    @classmethod
    def of(cls, run: RunConfig, folder: Path, *, resume: bool = False, **changes: Any) -> Setup:
        """As `run` says, kept in `folder`. Raises `UserError` where its settings do not go together."""
        chosen = {each.name: getattr(run.engine, each.name) for each in fields(EngineConfig)}
        clock = {each.name: getattr(run.clock, each.name) for each in fields(ClockConfig)}
        about = {"competition": run.competition, "preset": run.preset, "dialect": run.dialect, "given": run.given}
        named = chosen["model"]
        if (
            named is not None
            and "model" not in changes
            and entry_of(run.engine.engine).model in ("weights", "tokenizer")
        ):
            chosen["model"] = checkpoint_of(named)
        return cls(config=run.solver, folder=folder, resume=resume, **{**chosen, **clock, **about, **changes})


@contextmanager
def open_session(
    setup: Setup,
    *,
    planned: int,
    started: float,
    problems: Sequence[Problem] = (),
    observer: Observer | None = None,
    load: Load | None = None,
    keep: Keep | None = None,
    budget: Budget | None = None,
) -> Iterator[Session]:
    """A session for `planned` problems, whose budget counts from `started` (monotonic); `budget` is one that runs already.

    `problems` are those that are known beforehand; a competition shows them one at a time. `load` stands in for the
    engine that the setup names. What `keep` opens is its owner's to close; without it the results go to a journal.
    """
    from sctir_kaggle.background import BackgroundLoop
    from sctir_kaggle.session import Session
    from sctir_kaggle.solver import Solver

    with ExitStack() as stack:
        engine, executor = stack.enter_context(open_engine(setup, problems=problems, load=load))
        setup = bound_to(engine, setup)
        header = journal_header(setup, problems, engine=engine.describe(), executor=executor.describe())
        path = setup.folder / JOURNAL
        journal = keep(path, header) if keep else stack.enter_context(closing(start_of(setup)(path, header)))
        loop = stack.enter_context(BackgroundLoop())
        budget = budget or budget_of(setup, planned=planned, started=started)
        if budget.left == 0:
            log.warning("loading took the whole budget of %g s: every problem gets the default answer", setup.budget)
        solver = Solver(engine, executor, setup.config, dialect=setup.spoken or NUMINA)
        yield Session(solver, budget, journal, loop, observer)


def bound_to(engine: object, setup: Setup) -> Setup:
    """`setup` with the dialect that the engine's checkpoint speaks, or that was asked for, and with its sampling defaults.

    Raises `UserError` where none is recognised. An engine with a `dialect` of its own takes no other; one that knows no
    `tokenizer` at all reads plain text, as in tests, and is spoken to in NuminaMath's.
    """
    own, tokenizer = getattr(engine, "dialect", None), getattr(engine, "tokenizer", None)
    if isinstance(own, Dialect):
        dialect = own
    elif setup.dialect == AUTO and not hasattr(engine, "tokenizer"):
        dialect = NUMINA
    else:
        model = str(setup.model or (EMBEDDED_MODEL if tokenizer is not None else "the server's model"))
        dialect = choose(setup.dialect, tokenizer, model=model, turns=setup.config.turns)
        dialect = _of_that_day(setup, dialect)
        start.info(announcement(dialect, tokenizer, choice=setup.dialect, model=model))
    config = with_dialect_defaults(setup.config, setup.given, dialect.sampling)
    return replace(setup, config=config, spoken=dialect)


def _of_that_day(setup: Setup, dialect: Dialect) -> Dialect:
    """The dialect of the run that is resumed, where it differs in the date that stands in its prompt alone."""
    journal = setup.folder / JOURNAL
    if not setup.resume or not journal.exists():
        return dialect
    from sctir_kaggle.journal import stream_journal

    old = dialect_of(stream_journal(journal)[0], journal)
    timeless = [replace(each, prompt=_DAY.sub("", each.prompt)) for each in (old, dialect)]
    return old if timeless[0] == timeless[1] else dialect


_DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b")


def budget_of(setup: Setup, *, planned: int, started: float, grace: float | None = None) -> Budget:
    """The setup's seconds for `planned` problems, counted from `started` (monotonic).

    `grace` is how long a problem may go on after its deadline, in seconds; by default as long as the solver's cancelled
    candidates may.
    """
    grace = setup.config.grace_seconds if grace is None else grace
    limits = {name: value for name in ("floor", "high") if (value := getattr(setup, name))}
    return Budget(
        setup.budget,
        planned,
        reserve=RESERVE * setup.budget,
        grace=grace,
        cap=setup.cap,
        draw=setup.draw,
        started=started,
        **limits,
    )


def start_of(setup: Setup) -> Callable[[Path, dict[str, Any]], Journal]:
    """How the setup's journal begins: as a new one, or where an earlier run ended."""
    from sctir_kaggle.journal import Journal

    return Journal.resume if setup.resume else Journal.create


@contextmanager
def open_engine(
    setup: Setup, *, problems: Sequence[Problem] = (), slots: int | None = None, load: Load | None = None
) -> Iterator[tuple[ManagedEngine, Any]]:
    """The engine, for `slots` requests at once (one problem's candidates, 48 at most), and the executor that goes with it."""
    if entry_of(setup.engine).load is None:
        recorded = _recorded(setup, problems)
        yield recorded, recorded
        return
    from sctir_kaggle.sandbox import Sandbox

    room = slots or min(setup.config.candidates, 48)
    if load is None:
        _check_dialect(setup)
    with ExitStack() as stack:
        loading = in_thread(lambda: (load or _load)(setup, room), "sctir-load")  # the sandbox starts meanwhile
        stack.callback(loading.add_done_callback, _close_loaded)
        sandbox = stack.enter_context(Sandbox(code_seconds=setup.config.code_seconds, stateful=setup.config.stateful))
        yield loading.result(), sandbox


def _load(setup: Setup, slots: int) -> ManagedEngine:
    """The engine that writes the text: on servers, which have their model, or here."""
    entry = entry_of(setup.engine)
    assert entry.load is not None
    model = setup.model or (EMBEDDED_MODEL if entry.model == "weights" else None)
    engine: ManagedEngine = entry.load(setup, model, slots)
    return engine


def _check_dialect(setup: Setup) -> None:
    """Raises `UserError` for a dialect that cannot be, before minutes are spent on loading the weights."""
    needs = entry_of(setup.engine).model
    if needs == "none" and setup.dialect != AUTO:
        raise UserError(f"dialect is {setup.dialect}; --engine {setup.engine} speaks its server's: leave it out")
    model = setup.model or EMBEDDED_MODEL
    if needs == "weights" and (is_hub_name(model) or (Path(model).expanduser() / "config.json").is_file()):
        from sctir_kaggle.dialects.tokenizer import Tokenizer

        choose(setup.dialect, Tokenizer.load(model, compare=False), model=str(model))


def _close_loaded(loading: Future[ManagedEngine]) -> None:
    if loading.exception() is None:
        loading.result().close()


def _recorded(setup: Setup, problems: Sequence[Problem]) -> Recorded:
    """A run to play again. What it cannot answer is refused before the replay starts."""
    from sctir_kaggle.engines.recorded import Recorded
    from sctir_kaggle.journal import journal_of, read_journal

    if setup.model is None:
        raise UserError("--engine recorded plays a run again: say which with --model JOURNAL")
    journal = Path(setup.model)
    header, results = read_journal(journal_of(journal))
    dialect = dialect_of(header, journal)
    config = with_dialect_defaults(setup.config, setup.given, dialect.sampling)
    results = _of_seed(journal, results, config.seed)
    known = {(result.problem.id, result.problem.text) for result in results}
    missing = [problem.id for problem in problems if (problem.id, problem.text) not in known]
    if missing:
        raise UserError(
            f"{journal} holds no record of {len(missing)} of {len(problems)} problems, the first is {missing[0]}"
        )
    recorded = header.get("config", {})
    for name, value in asdict(config).items():
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


def _of_seed(journal: Path, results: list[SolveResult], seed: int) -> list[SolveResult]:
    """Of a run under several seeds, one; of a run under one seed, all, whatever `seed` is now."""
    seeds = sorted({result.seed for result in results})
    if len(seeds) > 1 and seed not in seeds:
        raise UserError(f"{journal} has the seeds {', '.join(map(str, seeds))}, not {seed}: choose one with --seed")
    return [result for result in results if result.seed == seed] if len(seeds) > 1 else results


def dialect_of(header: Mapping[str, Any], journal: Path | str) -> Dialect:
    """The dialect in which a run was recorded; until 0.1.0 there was NuminaMath's alone."""
    return dialect_from(header["dialect"], source=str(journal)) if header.get("dialect") else NUMINA


def clamps_of(header: Mapping[str, Any]) -> dict[str, float]:
    """The clock's `cap`, `draw`, `floor` and `high` of a recorded run, as far as its journal says them: for a `Budget`."""
    settings = header.get("settings") or {}
    names = ("cap", "draw", "floor", "high")
    return {name: float(settings[name]) for name in names if settings.get(name) is not None}


def journal_header(
    setup: Setup, problems: Sequence[Problem], *, engine: dict[str, Any] | None, executor: dict[str, Any] | None
) -> dict[str, Any]:
    """What a journal says of its run; `engine` and `executor` describe themselves, None where they never came up."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "config": asdict(setup.config),
        "budget": setup.budget if math.isfinite(setup.budget) else None,
        "settings": settings_of(setup),
        "given": None if setup.given is None else dict(setup.given),
        "prompt": None if setup.spoken is None else setup.spoken.fingerprint,
        "dialect": None if setup.spoken is None else described(setup.spoken),
        "problems": problem_sets.fingerprint(problems),
        "problem_count": len(problems),
        "engine": engine,
        "executor": executor,
    }


def settings_of(setup: Setup) -> dict[str, Any]:
    """All but the config's, for a journal; passwords and tokens are left out."""
    names = [each.name for cls in (EngineConfig, ClockConfig) for each in fields(cls) if each.name != "budget"]
    values = {name: getattr(setup, name) for name in ("competition", "preset", "dialect", *names)}
    return {name: without_secrets(value) for name, value in values.items()}


def without_secrets(value: Any) -> Any:
    """A setting's value as it may be shown: no user in an address, no token among the engine's options."""
    if isinstance(value, Mapping):
        return {name: "..." if _SECRET.search(name) else without_secrets(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(each) for each in value]
    return _USER.sub("//...@", str(value)) if isinstance(value, (str, Path)) else value


_SECRET = re.compile(r"(^|_)(token|password|secret|(api_)?key)$", re.IGNORECASE)
_USER = re.compile(r"//[^/@]+@")
