"""EXPERIMENTAL. RLOO with code execution as reward: `python -m sctir_kaggle.recipes.train.rloo --config rloo.yaml`.

The winners tried reinforcement learning with code execution and did not submit it; none of their values is published. TRL's
RLOOTrainer samples one program for each problem and candidate, the sandbox runs it, and the reward is 1 where it prints the
reference (`execution_reward`). A completion ends where the model hands over to the sandbox; anything after that would
not follow a real output, so it is cut off and never learned. Not covered: several turns, resuming.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.answers import parse, read_answer, to_vote
from sctir_kaggle.background import BackgroundLoop
from sctir_kaggle.dialects.fences import python_code
from sctir_kaggle.dialects.rows import HEADER, OUTPUT_FENCE
from sctir_kaggle.recipes.rows import read_rows
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, encoder_of, load_transformers_tokenizer
from sctir_kaggle.recipes.train.trainer import TrainSettings, leave, save_model, training_arguments
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.text import visible
from sctir_kaggle.types import Answer, ExecutionStatus, Executor, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True, slots=True)
class RLOO(TrainSettings):
    """What to train on, and how. The defaults are TRL's but for `generations`.

    Raises `UserError` on a value outside its limits.
    """

    problems: Path
    """Rows with integer answers: `.jsonl`, `.jsonl.gz` or `.csv`; others are left out."""

    generations: int = 4
    """Completions a problem, at least 2; each one's baseline is the mean reward of the others. TRL: 2."""
    completion_tokens: int = 512
    """New tokens of a completion at most."""
    temperature: float = 1.0
    """Of the samples; the log-probabilities are taken at the same."""
    beta: float = 0.05
    """The weight of the KL term."""

    def __post_init__(self) -> None:
        if self.generations < 2 or self.batch % self.generations:
            raise UserError(
                f"batch is {self.batch} and generations {self.generations}; batch must be a multiple of generations, "
                "and they at least 2"
            )


def main() -> None:
    """Run the command."""
    rloo(settings_of_command(RLOO, __doc__))
    leave()


def rloo(settings: RLOO) -> list[dict[str, float]]:
    """Train and write the model to `output/model`; return the trainer's log."""
    with ExitStack() as stack:
        reward = ExecutionReward(stack.enter_context(Sandbox()), stack.enter_context(BackgroundLoop()))
        trainer = trainer_of(settings, reward)
        trainer.train()
        save_model(trainer, trainer.processing_class, settings.output / "model")
        log: list[dict[str, float]] = trainer.state.log_history
    return log


def trainer_of(settings: RLOO, reward: ExecutionReward) -> Any:
    """TRL's RLOOTrainer over the problems, with the prompts that the solver would send."""
    from datasets import Dataset

    tokenizer = load_transformers_tokenizer(settings.model, chat_template=CHAT_TEMPLATE)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return _trainer_class()(
        model=settings.model,
        reward_funcs=reward,
        args=_arguments(settings),
        train_dataset=Dataset.from_list(prompts(read_rows(settings.problems))),
        processing_class=tokenizer,
    )


def prompts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Columns `prompt` and `answer` of the rows whose answer is an integer."""
    kept = [
        {"prompt": HEADER.format(problem=visible(row["problem"]).strip()), "answer": row["answer"]}
        for row in rows
        if isinstance(row.get("answer"), int)
    ]
    if not kept:
        raise UserError("no problem has an integer answer; RLOO's reward needs them")
    return kept


def handed_over(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """`ids` up to the token that completes the output fence, where the model hands over; all where there is none.

    A binary search, since whether the decoded prefix holds the fence is monotonic in its length.
    """

    def has_fence(count: int) -> bool:
        return OUTPUT_FENCE in tokenizer.decode(ids[:count])

    return ids[: bisect_left(range(len(ids)), True, key=has_fence)]


def _trainer_class() -> Any:
    from trl import RLOOTrainer

    class HandingOver(RLOOTrainer):  # type: ignore[misc,unused-ignore]
        """TRL's generation knows no stop strings, and encodes prompts differently from the solver."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            """Encode as the solver does: TRL would turn an added token's name in a problem into the token."""
            encoder = encoder_of(self.processing_class)
            return [list(encoder.encode((prompt,))) for prompt in prompts], None, {}

        def _generate_single_turn(self, *arguments: Any) -> list[list[int]]:
            sampled = super()._generate_single_turn(*arguments)
            return [handed_over(ids, self.processing_class) for ids in sampled]

    return HandingOver


def _arguments(settings: RLOO) -> Any:
    from trl import RLOOConfig

    return RLOOConfig(
        **training_arguments(settings),
        num_generations=settings.generations,
        max_completion_length=settings.completion_tokens,
        temperature=settings.temperature,
        beta=settings.beta,
    )


class ExecutionReward:
    """A reward function as TRL calls it. `seconds` limits a program's run, waiting for the sandbox included."""

    __name__ = "execution"

    def __init__(self, executor: Executor, loop: BackgroundLoop, *, seconds: float = 60.0) -> None:
        self._executor, self._loop, self._seconds = executor, loop, seconds
        self._numbers = itertools.count()

    def __call__(self, *, completions: Sequence[str], answer: Sequence[int], **_: Any) -> list[float]:
        """Return 1.0 for each completion whose program prints its reference `answer` last, else 0.0."""
        return self._loop.run(self._all(completions, answer))

    async def _all(self, completions: Sequence[str], answers: Sequence[int]) -> list[float]:
        found = await asyncio.gather(*map(self._answer, completions))
        return [float(one == answer) for one, answer in zip(found, answers, strict=True)]

    async def _answer(self, completion: str) -> Answer | None:
        text = completion.partition(OUTPUT_FENCE)[0]
        code = python_code(text, last=True)
        if code is None:
            return read_answer(text, modulus=None, lowest=None, highest=None).answer
        candidate_id = f"reward/{next(self._numbers)}"
        try:
            deadline = time.monotonic() + self._seconds
            result = await self._executor.execute(code, request_id=f"{candidate_id}/0", deadline=deadline)
        finally:
            self._executor.release(candidate_id)
        if result.status is not ExecutionStatus.OK:
            return None
        last_line = result.output.rstrip().rpartition("\n")[2]
        return to_vote(parse(last_line), modulus=None, lowest=None, highest=None)


if __name__ == "__main__":
    run_recipe(main)
