"""RL with the real loop: `python -m sctir_kaggle.recipes.train.rl --config rl.yaml`.

GRPO (DeepSeekMath, https://arxiv.org/abs/2402.03300) or RLOO (https://arxiv.org/abs/2402.14740) by TRL. The candidates of a
step are sampled by the solver itself, with turns, stop strings, dialect and sandbox as at inference (`rollouts`), from the
weights in training: by transformers (`live_engine`), or by vLLM over a copy of them (`live_vllm`). The loss is on the tokens
that the model sampled; what code printed, and the box that the solver opens, is read and not learned. The rewards are for a
right answer, for a wrong one, and for code that ran, each with its weight. Cancelled and failed candidates are left out: no
reward, no share in a baseline, no loss.

Resumes from the last whole checkpoint in `output`; the model ends in `output/model`, the log's lines in
`output/steps.jsonl`. Not covered: vLLM in a training of several processes. Needs the extra `recipes`; written against TRL
1.16.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.config import MATH, SolverConfig
from sctir_kaggle.dialects.recognition import AUTO, choose
from sctir_kaggle.problems import read_problems
from sctir_kaggle.recipes.settings import keep_settings, run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import checkpoint_errors, load_transformers_tokenizer
from sctir_kaggle.recipes.train.disk import check_disk, full_disk_in_one_line
from sctir_kaggle.recipes.train.trainer import (
    ResumableSettings,
    checkpoint_to_resume,
    leave,
    save_model,
    say,
    training_arguments,
)
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Problem, UserError

if TYPE_CHECKING:
    from sctir_kaggle.dialects.tokenizer import Tokenizer
    from sctir_kaggle.recipes.train.live_engine import LiveEngine
    from sctir_kaggle.recipes.train.live_vllm import LiveVLLM
    from sctir_kaggle.recipes.train.policies import OpenLive
    from sctir_kaggle.recipes.train.rollouts import Candidate, Rollouts


@dataclass(frozen=True, kw_only=True, slots=True)
class RL(ResumableSettings):
    """What to train on, and how. The defaults are TRL's where no value of the winning run is known, and the solver's.

    Raises `UserError` on a value outside its limits.
    """

    problems: Path
    """Problems with integer answers, a file of any usual shape; others are left out."""

    method: Literal["grpo", "rloo"] = "grpo"
    """`grpo`: a candidate's advantage is its reward against its group's, in standard deviations; the loss is a mean over
    tokens. `rloo`: against the mean of the others in its group; the loss is of whole candidates, the KL term in the reward."""
    generations: int = 8
    """Candidates of a problem in a step, its group; at least 2."""
    beta: float = 0.0
    """The weight of the KL term against the model at the start; 0 keeps no second model. TRL: 0 for GRPO, 0.05 for RLOO."""
    schedule: str = "linear"
    """The learning rate's schedule, by transformers' names."""
    warmup: float = 0.0
    """The share of the steps in which the learning rate rises."""
    log_every: int = 1

    right: float = 1.0
    """The reward of an answer that equals the reference."""
    wrong: float = 0.0
    """The reward of any other answer; no answer has neither. Below 0 it is a penalty."""
    code: float = 0.1
    """The reward of a candidate with a block of code that ran without an error."""

    dialect: str = AUTO
    """As the solver's `--dialect`."""
    turns: int = 4
    """Executions of code a candidate may have."""
    temperature: float = 0.8
    """Of the samples, and of the log-probabilities in the loss."""
    max_tokens: int = 2048
    """New tokens a turn, at most."""
    longest: int | None = None
    """Tokens of a candidate with its problem, at most; a longer one ends there, without an answer. None: the model's
    context."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What samples: transformers over the weights in training, or vLLM over a copy of them, which is copied anew each step.
    vLLM must be installed, and the training be of one process on one device."""
    vllm_memory: float = 0.3
    """The share of the GPU's memory that vLLM may take for its weights and its keys and values, as in TRL."""
    vllm_sleep: bool = True
    """Whether vLLM frees the GPU's memory while the training computes."""
    ratio_max: float = 3.0
    """With vLLM, a candidate's loss is multiplied by its probability in the training's forward over that in vLLM; a
    candidate with a larger ratio than this teaches nothing. TRL's value."""
    slots: int = 48
    """Candidates that the engine samples at the same time; the others wait. Transformers keeps memory for each."""
    seconds: float = 600.0
    """Seconds of a step's sampling, at most; candidates that have not ended then are cancelled."""

    def __post_init__(self) -> None:
        self.require_at_least_one("batch", "accumulate", "log_every", "save_every", "keep", "turns", "slots")
        rows = self.batch * self.accumulate
        if self.generations < 2 or rows % self.generations:
            raise UserError(
                f"batch x accumulate is {rows} and generations {self.generations}; the first must be a multiple of the "
                "second, and that at least 2"
            )
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; it must be above 0: equal candidates teach nothing")
        if not 0 < self.vllm_memory < 1:
            raise UserError(f"vllm_memory is {self.vllm_memory}; it is a share of the GPU's memory, between 0 and 1")
        if self.ratio_max < 1:
            raise UserError(
                f"ratio_max is {self.ratio_max}; equal probabilities have the ratio 1, so it must be at least that"
            )
        if not 0 <= self.warmup <= 1:
            raise UserError(f"warmup is {self.warmup}; it is the share of the steps, from 0 to 1")
        if self.seconds <= 0:
            raise UserError(f"seconds is {self.seconds}; it must be above 0")
        if not any((self.right, self.wrong, self.code)):
            raise UserError("right, wrong and code are all 0; give one of the rewards a weight")

    @property
    def solver(self) -> SolverConfig:
        """The solver's settings for one candidate."""
        return SolverConfig(
            candidates=1,
            turns=self.turns,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            modulus=MATH.modulus,
            lowest=MATH.lowest,
            highest=MATH.highest,
            stop="none",
            seed=self.seed,
        )


def main() -> None:
    """Run the command."""
    rl(settings_of_command(RL, __doc__))
    leave()


MAY_CHANGE = {
    *("epochs", "steps", "save_every", "keep", "resume", "log_every", "log", "slots", "seconds"),
    *("vllm_memory", "vllm_sleep"),
}
"""Settings that may change where a run goes on: its length, with which the schedule ends, and what changes no step."""


def rl(settings: RL, callbacks: Sequence[Any] = ()) -> Path:
    """Train, write the model and the log; return the folder of the model. `callbacks` are transformers' `TrainerCallback`s.

    Raises `UserError` where `output` holds the checkpoints of another run, or the disk is too small, or full.
    """
    with full_disk_in_one_line(settings):
        return _rl(settings, callbacks)


def _rl(settings: RL, callbacks: Sequence[Any]) -> Path:
    last = checkpoint_to_resume(settings)
    if last and not (settings.output / KEPT).exists():
        raise UserError(f"{last} is of another recipe: there is no {KEPT} beside it; take another output")
    with open_trainer(settings) as trainer:
        if trainer.is_world_process_zero():
            if not last:
                (settings.output / KEPT).unlink(missing_ok=True)  # of a run that never came to a checkpoint
            keep(settings, trainer.rollouts.problems.values())
        check_disk(trainer, settings)
        for callback in callbacks:
            trainer.add_callback(callback)
        say(trainer, f"goes on from {last}" if last else "starts")
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        folder = settings.output / "model"
        if save_model(trainer, trainer.processing_class, folder):
            steps = [line for line in trainer.state.log_history if "reward" in line]
            text = "".join(json.dumps(line) + "\n" for line in steps)
            (settings.output / "steps.jsonl").write_text(text, encoding="utf-8")
            say(
                trainer,
                f"{folder}: {trainer.state.global_step} steps, their metrics in {settings.output / 'steps.jsonl'}",
            )
    return folder


KEPT = "rl.json"
"""In `output`, what the run was begun with."""


def keep(settings: RL, problems: Iterable[Problem]) -> None:
    """Write the settings to `output`, with hashes of what is in the folder of the model and in the problems.

    Raises `UserError` where it holds a run with others.
    """
    values = {name: value for name, value in asdict(settings).items() if name not in MAY_CHANGE}
    weights = b"".join(_ends(file) for file in sorted(Path(settings.model).glob("*.safetensors")))
    content = {"weights": weights, "rows": repr(list(problems)).encode()}
    hashes = {name: blake2b(found, digest_size=6).hexdigest() for name, found in content.items()}
    keep_settings(settings.output, KEPT, values | hashes)


def _ends(file: Path) -> bytes:
    """The first and the last MiB, which name every tensor and change in any training."""
    with file.open("rb") as opened:
        first = opened.read(2**20)
        opened.seek(-len(first), os.SEEK_END)
        return first + opened.read()


@contextmanager
def open_trainer(settings: RL) -> Iterator[Any]:
    """TRL's trainer over the problems, with the sandbox that its candidates run their code in; `trainer.rollouts` samples."""
    from datasets import Dataset

    from sctir_kaggle.dialects.tokenizer import Tokenizer
    from sctir_kaggle.recipes.train import live_vllm
    from sctir_kaggle.recipes.train.policies import trainer_class
    from sctir_kaggle.recipes.train.rollouts import Rollouts

    config = trainer_config(settings)  # first: under ZeRO-3 it decides how a model is loaded
    tokenizer = load_transformers_tokenizer(settings.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {settings.model} has no eos_token: set it in its tokenizer_config.json")
    problems, summary = problems_of(settings.problems)
    groups = config.generation_batch_size // settings.generations
    if len(problems) < groups:
        raise UserError(f"{settings.problems}: {summary}, and a step takes {groups}: give more, or a smaller batch")
    if settings.engine == "vllm":
        live_vllm.check_here()
    model = _model(settings, config)
    with ExitStack() as stack:
        solver, encoder = settings.solver, Tokenizer.load(settings.model)
        dialect = choose(settings.dialect, encoder, model=settings.model, turns=settings.turns)
        sandbox = stack.enter_context(
            Sandbox(code_seconds=solver.code_seconds, stateful=solver.stateful, last_expression=solver.last_expression)
        )
        loop = stack.enter_context(BackgroundLoop())
        rollouts = Rollouts(
            problems, solver, dialect, sandbox, loop, end=tokenizer.eos_token_id, seconds=settings.seconds
        )
        trainer = trainer_class(settings.method)(
            rollouts,
            _on_vllm(settings, config, stack) if settings.engine == "vllm" else _on_transformers(settings, encoder),
            ratio_max=settings.ratio_max if settings.engine == "vllm" else None,
            model=model,
            reward_funcs=rewards(rollouts),
            args=config,
            train_dataset=Dataset.from_list([{"prompt": problem.id} for problem in problems]),
            processing_class=tokenizer,
        )
        say(trainer, summary)
        yield trainer


def problems_of(path: Path) -> tuple[list[Problem], str]:
    """The problems with an integer answer, and a line that counts them and the others."""
    read = read_problems(path)
    kept = [problem for problem in read if isinstance(problem.answer, int)]
    if not kept:
        raise UserError(f"no problem in {path} has an integer answer; the reward needs them")
    return kept, f"{len(kept)} problems; {len(read) - len(kept)} left out: no integer answer"


Reward = Callable[..., "list[float | None]"]
"""As TRL calls it, with the rows of a step; None for a candidate that is left out."""


def rewards(rollouts: Rollouts) -> list[Reward]:
    """The reward functions, in the order of `trainer_config`'s weights: 1 or 0 of each candidate of the last step."""

    def right(*, log_metric: Callable[[str, float], None], **_: Any) -> list[float | None]:
        for name, value in metrics(rollouts.last).items():
            log_metric(name, value)
        return _shares(rollouts.last, lambda one: one.is_right)

    def wrong(**_: Any) -> list[float | None]:
        return _shares(rollouts.last, lambda one: one.is_wrong)

    def code(**_: Any) -> list[float | None]:
        return _shares(rollouts.last, lambda one: one.ran_code)

    return [right, wrong, code]


def _shares(candidates: Sequence[Candidate], has: Callable[[Candidate], bool]) -> list[float | None]:
    return [float(has(one)) if one.counts else None for one in candidates]


def metrics(candidates: Sequence[Candidate]) -> dict[str, float]:
    """What a step's candidates were like: means of those that count, and how many do not."""
    kept = [one for one in candidates if one.counts]
    return {
        "candidates/left_out": float(len(candidates) - len(kept)),
        "candidates/turns": sum(len(one.trace.turns) for one in kept) / len(kept),
        "candidates/tokens_written": sum(sum(one.sequence.written) for one in kept) / len(kept),
        "candidates/tokens_read": sum(one.sequence.written.count(0) for one in kept) / len(kept),
        "candidates/with_code": sum(one.trace.executions > 0 for one in kept) / len(kept),
        "candidates/answered": sum(one.trace.answer is not None for one in kept) / len(kept),
    }


def trainer_config(settings: RL) -> Any:
    """The settings as TRL's `GRPOConfig` or `RLOOConfig`: one sampling an optimizer step, so that it is on policy."""
    from trl import GRPOConfig, RLOOConfig

    return {"grpo": GRPOConfig, "rloo": RLOOConfig}[settings.method](
        **training_arguments(settings),
        num_generations=settings.generations,
        temperature=settings.temperature,
        beta=settings.beta,
        reward_weights=[settings.right, settings.wrong, settings.code],
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,  # below 1 it is a share of the steps
    )


def _model(settings: RL, config: Any) -> Any:
    """The model in float32, since AdamW's small updates vanish in bfloat16; DeepSpeed keeps a float32 copy itself."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    dtype = torch.bfloat16 if config.bf16 and config.deepspeed_plugin else torch.float32
    with checkpoint_errors(settings.model):
        return auto.from_pretrained(settings.model, dtype=dtype)


def _on_transformers(settings: RL, tokenizer: Tokenizer) -> OpenLive:
    """Opens the engine over a trainer's weights as they are now, and leaves the model in training mode again."""
    import torch

    from sctir_kaggle.engines.transformers import SMALL
    from sctir_kaggle.recipes.train.live_engine import LiveEngine

    @contextmanager
    def opened(trainer: Any) -> Iterator[LiveEngine]:
        threads = torch.get_num_threads()
        with _unwrapped(trainer) as model:
            model.eval()
            if model.num_parameters() < SMALL:
                torch.set_num_threads(1)
            engine = LiveEngine(
                model,
                tokenizer,
                slots=settings.slots,
                context_length=settings.longest,
                autocast=trainer.accelerator.autocast,
            )
            try:
                yield engine
            finally:
                engine.close()
                torch.set_num_threads(threads)
                model.train()

    return opened


def _on_vllm(settings: RL, config: Any, stack: ExitStack) -> OpenLive:
    """Starts vLLM in the precision of the training, until `stack` ends; opens it with a copy of a trainer's weights."""
    from sctir_kaggle.recipes.train.live_vllm import LiveVLLM

    engine = LiveVLLM.start(
        settings.model,
        slots=settings.slots,
        context_length=settings.longest,
        dtype="bfloat16" if config.bf16 else "float32",
        memory=settings.vllm_memory,
        sleeps=settings.vllm_sleep,
    )
    stack.callback(engine.close)

    @contextmanager
    def opened(trainer: Any) -> Iterator[LiveVLLM]:
        with _unwrapped(trainer) as model:
            engine.take(model.named_parameters())
        try:
            yield engine
        finally:
            engine.rest()

    return opened


def _unwrapped(trainer: Any) -> AbstractContextManager[Any]:
    """The model in training without what accelerate put around it, whole under ZeRO-3."""
    from trl.models import unwrap_model_for_generation

    kwargs = {"gradient_checkpointing_kwargs": trainer.args.gradient_checkpointing_kwargs}
    found: AbstractContextManager[Any] = unwrap_model_for_generation(
        trainer.model_wrapped, trainer.accelerator, **kwargs
    )
    return found


if __name__ == "__main__":
    run_recipe(main)
