"""Validate during training by generation: the last checkpoint solves problems with the real loop.

The checkpoint on disk is validated, so a score belongs to a folder. The first process does it while the others wait: with the
transformers engine, whose weights and slots must fit beside the training, or with a server (`validation_server`). A validation
that fails is left out with a line that says why, and the training goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sctir_kaggle.config import MATH, SolverConfig
from sctir_kaggle.engines.openai import OpenAIEngine
from sctir_kaggle.engines.transformers import TransformersEngine
from sctir_kaggle.problems import ProblemsConfig, read_problems
from sctir_kaggle.recipes.train.trainer import say
from sctir_kaggle.recipes.train.validation_server import serving
from sctir_kaggle.recipes.train.validation_slots import MOST, slots_that_fit
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import Engine, EngineError, ExecutorError, Problem, SolveResult, UserError

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl import SFTTrainer


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of right answers: of all candidates (`single`), and of the problems' votes (`majority`)."""

    problems: int
    single: float
    majority: float


async def solve_all(
    model: Path, problems: Sequence[Problem], config: SolverConfig, *, workers: int = 2, slots: int = MOST
) -> list[SolveResult]:
    """Solve the problems with the checkpoint in `model`, as many at a time as fill the engine's `slots`."""
    engine = TransformersEngine.load(model, slots=slots)
    try:
        return await _solve(engine, problems, config, workers=workers, slots=slots)
    finally:
        engine.close()


async def _solve(
    engine: Engine,
    problems: Sequence[Problem],
    config: SolverConfig,
    *,
    workers: int = 2,
    slots: int = MOST,
) -> list[SolveResult]:
    gate = asyncio.Semaphore(max(1, slots // config.candidates))
    async with Sandbox(workers=workers) as sandbox:
        solver = Solver(engine, sandbox, config)

        async def solve(problem: Problem) -> SolveResult:
            async with gate:
                return await solver.solve(problem)

        return list(await asyncio.gather(*map(solve, problems)))


def score(results: Sequence[SolveResult]) -> Score:
    """Grade results: the shares of candidates and of votes that equal the reference."""
    votes = [trace.answer == result.problem.answer for result in results for trace in result.traces]
    return Score(len(results), sum(votes) / len(votes), sum(bool(result.correct) for result in results) / len(results))


def by_family(results: Iterable[SolveResult]) -> dict[str, Score]:
    """Scores of problems whose ids are "family-number", the hardest family first."""
    groups: dict[str, list[SolveResult]] = {}
    for result in results:
        groups.setdefault(result.problem.id.rpartition("-")[0], []).append(result)
    scores = {name: score(group) for name, group in groups.items()}
    return dict(sorted(scores.items(), key=lambda item: item[1].single))


class Validates(Protocol):
    """Settings that validation reads."""

    @property
    def validate(self) -> Path | None: ...
    @property
    def validate_url(self) -> str | None: ...
    @property
    def validate_command(self) -> str | None: ...
    @property
    def validate_wait(self) -> float: ...
    @property
    def validate_every(self) -> int: ...
    @property
    def validate_problems(self) -> int: ...
    @property
    def validate_candidates(self) -> int: ...
    @property
    def validate_turns(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def output(self) -> Path: ...
    @property
    def model(self) -> str: ...


def validations(settings: Validates, trainer: SFTTrainer) -> list[TrainerCallback]:
    """The callback that validates every `validate_every` steps; none without a validation set.

    Raises `UserError` where, without a server, already now not one slot fits into the free memory.
    """
    if settings.validate is None:
        return []
    if settings.validate_url is None and trainer.is_world_process_zero():
        with _one_process():
            slots_that_fit(settings.model, wanted=1)
    how = ProblemsConfig(integers_only=True)  # `score_of` elects integers
    problems = read_problems(settings.validate, limit=settings.validate_problems, how=how)
    return [_callback(settings, trainer, problems)]


def _callback(settings: Validates, trainer: SFTTrainer, problems: list[Problem]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Validation(TrainerCallback):
        """Request a checkpoint at the validation steps, and validate it once it is saved."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save |= state.global_step % settings.validate_every == 0

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % settings.validate_every == 0:
                if state.is_world_process_zero:
                    _validate(settings, trainer, problems, state.global_step)
                trainer.accelerator.wait_for_everyone()

    return Validation()


def _validate(settings: Validates, trainer: SFTTrainer, problems: list[Problem], step: int) -> None:
    started = time.monotonic()
    try:
        scores, how = score_of(settings.output / f"checkpoint-{step}", problems, settings)
    except (EngineError, ExecutorError, UserError) as error:
        say(trainer, f"the validation of step {step} is left out: {error}")
        return
    figures = {"single": scores.single, "majority": scores.majority, "seconds": time.monotonic() - started}
    say(trainer, f"validated step {step}: {scores.single:.1%} of candidates, {scores.majority:.1%} of votes; {how}")
    trainer.log_apart({f"validation/{name}": value for name, value in figures.items()})
    with (settings.output / "validation.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "problems": scores.problems, **figures}) + "\n")


@contextmanager
def _one_process() -> Iterator[None]:
    """Load a model in one process only: under ZeRO-3 transformers would shard it, and wait for all processes to load it."""
    from transformers.integrations import deepspeed

    modules: Any = deepspeed
    kept = modules._hf_deepspeed_config_weak_ref
    modules.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        modules._hf_deepspeed_config_weak_ref = kept


def score_of(checkpoint: Path, problems: list[Problem], settings: Validates) -> tuple[Score, str]:
    """Solve the problems with `checkpoint` and grade, and say how many were in flight; answers may be any integer.

    torch's thread count and random state are restored, so that validation does not change the training. Raises `UserError`
    where not one slot fits into the free memory, and `EngineError` where an engine or server fails.
    """
    import torch

    threads, draws = torch.get_num_threads(), torch.get_rng_state()
    config = SolverConfig(
        candidates=settings.validate_candidates,
        turns=settings.validate_turns,
        modulus=MATH.modulus,
        lowest=MATH.lowest,
        highest=MATH.highest,
        stop="none",
        seed=settings.seed,
    )
    if settings.validate_url is not None:
        return _score_by_server(checkpoint, problems, config, settings), f"by {settings.validate_url}"
    try:
        with _one_process():
            fit = slots_that_fit(checkpoint, wanted=len(problems) * config.candidates)
            return score(asyncio.run(solve_all(checkpoint, problems, config, slots=fit.number))), str(fit)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(draws)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _score_by_server(checkpoint: Path, problems: list[Problem], config: SolverConfig, settings: Validates) -> Score:
    url, command = settings.validate_url, settings.validate_command
    assert url is not None
    assert command is not None  # `check_server` asks for both
    log = settings.output / "validation-server.log"
    with serving(checkpoint, url, command, wait=settings.validate_wait, log=log) as name:
        engine = OpenAIEngine.open(url, name, tokenizer=checkpoint, slots=MOST)
        try:
            return score(asyncio.run(_solve(engine, problems, config)))
        finally:
            engine.close()
