"""A competition run from the notebook: load in the background, serve the API, end with a complete submission file.

In a rerun the competition's own API asks; in the editor its local gateway does, or a stand-in that behaves alike.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle import problems as problem_sets
from sctir_kaggle.budget import process_started
from sctir_kaggle.competition import aimo1
from sctir_kaggle.competition.guard import FailsafePredictor, Limits
from sctir_kaggle.competition.inputs import NotFound, find_competition
from sctir_kaggle.competition.profile import Profile, profile_of
from sctir_kaggle.competition.push_server import predict_of, server_of
from sctir_kaggle.competition.record import RunRecord, free
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.engines.registry import EngineConfig, check, entry_of, is_hub_name
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import JOURNAL, Journal
from sctir_kaggle.runtime import Load, budget_of, open_session
from sctir_kaggle.settings import ClockConfig, RunConfig
from sctir_kaggle.types import Answer, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from sctir_kaggle.competition.push_server import Predict
    from sctir_kaggle.session import Observer, Session

RERUN = "KAGGLE_IS_COMPETITION_RERUN"
"""The environment variable that Kaggle sets where the hidden problems are asked."""

CLOSE_SECONDS = 8.0
"""Seconds that engine and sandbox may take to close once every problem has its answer."""


def in_rerun() -> bool:
    """Whether this is the run that counts, according to the environment."""
    return bool(os.environ.get(RERUN))


class Submission:
    """A run of one competition: `start()` loads, `run()` serves. For one use.

    `run` says everything about the run; without it `engine`, `model` and `config` do, and the budget is the competition's.
    `folder` takes the journal and the competition's file, by default the working folder; with `resume` the run that is
    kept there goes on. `problems` is a CSV for the editor. `rerun`
    and `started` (monotonic seconds) are found out: from the environment, and from the age of this process, since the
    clock runs from the start of the kernel. `load` puts another engine in the place of the one named. `faults` are what
    went wrong before, for the journal.
    """

    def __init__(
        self,
        profile: str | Profile,
        run: RunConfig | None = None,
        *,
        model: Path | str | None = None,
        engine: str = "vllm",
        config: SolverConfig | None = None,
        folder: Path | None = None,
        resume: bool = False,
        problems: Path | None = None,
        rerun: bool | None = None,
        started: float | None = None,
        load: Load | None = None,
        observer: Observer | None = None,
        seed: int | None = 0,
        faults: Sequence[str] = (),
    ) -> None:
        self.profile = profile_of(profile) if isinstance(profile, str) else profile
        self.rerun = in_rerun() if rerun is None else rerun
        if run is None:
            checkpoint = model if model is None or is_hub_name(model) else Path(model)
            run = RunConfig(
                solver=config or self.profile.config,
                engine=EngineConfig(engine=engine, model=checkpoint),
                clock=ClockConfig(budget=self.profile.hours * 3600),
            )
        check(run.engine)
        solver = fitted(run.solver, self.profile, run.given or ())
        self.run_config = replace(run, solver=solver, competition=self.profile.name)
        self.folder = folder or Path.cwd()
        self._resume = resume
        self.submission_file = self.folder / self.profile.submission_file
        self._competition = _competition_folder(self.profile)
        self._csv = None if self.rerun else problems or self._own_csv() or problem_sets.HELD_OUT
        self._seed = seed
        # Named columns are those of a file that was given, not of the competition's or the embedded one.
        how = run.reading if problems else problem_sets.ProblemsConfig()
        self._problems = [] if self._csv is None else problem_sets.read_problems(self._csv, how=how)
        self._record = self._new_record()
        for fault in faults:
            self._record.fault(fault)
        self._predictor = self._new_predictor(process_started() if started is None else started, load, observer)

    @property
    def results(self) -> list[SolveResult]:
        """One result for each problem that was asked, in that order."""
        return list(self._record.results.values())

    @property
    def faults(self) -> list[str]:
        """Faults that the run survived, a line each."""
        return list(self._record.faults)

    @property
    def journal(self) -> Path:
        """The file with results and faults."""
        return self._record.path

    @property
    def predict(self) -> Predict:
        """The function for a push API to call."""
        return predict_of(self._predictor.solve)

    def start(self) -> None:
        """Begin to load engine and sandbox in a thread, so that the server of a push API is up at once."""
        self._predictor.start()

    def run(self) -> None:
        """Serve the competition until all problems are answered; in a rerun, a push API ends the process then."""
        self.start()
        try:
            (self._pull if self.profile.api == "pull" else self._push)()
        finally:
            self._predictor.close(CLOSE_SECONDS)
            self._record.close()

    def _pull(self) -> None:
        from sctir_kaggle.competition.aimo1_mock import Aimo1

        mock = Aimo1(self._problems, submission=self.submission_file, seed=self._seed)
        try:
            with aimo1.real_environment(self._competition) if self.rerun else nullcontext(mock.make_env()) as env:
                aimo1.serve(env, lambda id_, text: int(self._predictor.solve(id_, text).answer))
        except UserError as error:  # nothing can be answered without the module; let the journal say why
            self._record.fault(str(error))
            raise

    def _push(self) -> None:
        server = server_of(self.profile, self.predict, folder=self._competition, submission=self.submission_file)
        if self.rerun:
            server.serve()
        else:
            server.run_local_gateway((str(self._csv),))

    def _own_csv(self) -> Path | None:
        """The competition's own test.csv, which is attached in the editor too."""
        own = self._competition and self._competition / "test.csv"
        return own if own and own.is_file() else None

    def _new_record(self) -> RunRecord:
        header = journal_header(self.run_config, self._problems, engine=None, executor=None)
        start = Journal.resume if self._resume else lambda path, header: Journal.create(free(path), header)
        return RunRecord(self.folder / JOURNAL, header, start=start)

    def _new_predictor(self, started: float, load: Load | None, observer: Observer | None) -> FailsafePredictor:
        run, config, planned = self.run_config, self.run_config.solver, len(self._problems) or self.profile.problems
        # The solver's own grace, and as much again before a solver that does not return is left behind.
        patience = 2 * config.grace_seconds
        budget = budget_of(run, planned=planned, started=started, grace=patience)

        def opener() -> AbstractContextManager[Session]:
            return open_session(
                run,
                self.folder,
                planned=planned,
                started=started,
                resume=self._resume,
                problems=self._problems,
                observer=observer,
                load=load,
                open_store=self._record.open,
                budget=budget,
            )

        canary = self.rerun and entry_of(run.engine.engine).load is not None  # a record has no such problem
        limits = Limits(default=config.default_answer, patience=patience, survive=self.rerun, canary=canary)
        return FailsafePredictor(
            self.profile, opener, budget, self._record, limits, references=_references(self._problems)
        )


def fitted(config: SolverConfig, profile: Profile, given: Collection[str] = ()) -> SolverConfig:
    """`config` with the competition's range and modulus, so that no vote counts for an answer that cannot be right.

    Settings named in `given` were chosen by the user and hold within that range. Raises `UserError` where they leave no
    answer.
    """
    bounds: dict[str, Any] = {"lowest": profile.lowest, "highest": profile.highest}
    for name, choose in (("lowest", max), ("highest", min)):
        if name in given and getattr(config, name) is not None:
            bounds[name] = choose(bounds[name], getattr(config, name))
    modulus = config.modulus if "modulus" in given else profile.modulus
    if bounds["lowest"] > bounds["highest"]:
        raise UserError(f"no answer of {profile.name} lies from {config.lowest} to {config.highest}: give other limits")
    inside = bounds["lowest"] <= config.default_answer <= bounds["highest"]
    default = config.default_answer if inside else bounds["lowest"]
    return replace(config, modulus=modulus, fractions=False, default_answer=default, **bounds)


def _references(problems: Sequence[Problem]) -> dict[str, Answer]:
    """Known answers by problem text: a gateway may ask with another id than the CSV's."""
    return {problem.text: problem.answer for problem in problems if problem.answer is not None}


def _competition_folder(profile: Profile) -> Path | None:
    try:
        return find_competition(profile.slug)
    except NotFound:
        return None
