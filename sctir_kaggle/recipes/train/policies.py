"""TRL's trainers for GRPO and RLOO with candidates that the solver samples, in place of TRL's own generation.

vLLM's probabilities are not quite those of the training's forward (other kernels, other rounding), so what it sampled is off
policy by as much. Both trainers correct that as TRL's GRPO does by default (`sequence_mask`): a candidate's loss is multiplied
by the ratio of its probabilities, training's to vLLM's, over what the model wrote; one whose ratio is above a limit teaches
nothing. The ratio of whole candidates is the unbiased one, and close to 1 while the probabilities are; it is in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sctir_kaggle.types import EngineError

if TYPE_CHECKING:
    from sctir_kaggle.recipes.train.rollouts import Candidate, RecordingEngine, Rollouts

OpenLive = Callable[[Any], "AbstractContextManager[RecordingEngine]"]
"""Opens an engine over the model of a trainer."""

LEAST_RATIO = 0.01
"""Of a step's greatest ratio. Its mean is 1 where the samples are the model's; far below, a weight was not copied."""


def trainer_class(method: str) -> Any:
    """`GRPOTrainer` or `RLOOTrainer` for `method`, `grpo` or `rloo`; see `Sampling` for its arguments."""
    from trl import GRPOTrainer, RLOOTrainer

    class GRPO(Sampling, GRPOTrainer):  # type: ignore[misc,unused-ignore]
        def __init__(self, rollouts: Rollouts, open_engine: OpenLive, **options: Any) -> None:
            super().__init__(rollouts, open_engine, rollout_func=_rollout, **options)
            if self.ratio_max is not None:  # only now: at its construction TRL would open a vLLM of its own
                self.use_vllm, self.vllm_importance_sampling_clip_max = True, self.ratio_max

        @property
        def _last_loaded_step(self) -> int:
            """TRL copies no weights at a step that has been loaded; the engine takes them when it is opened."""
            step: int = self.state.global_step
            return step

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            scored = super()._generate_and_score_completions(inputs)
            self.check_ratios()
            return scored

    class RLOO(Sampling, RLOOTrainer):  # type: ignore[misc,unused-ignore]
        """TRL's knows no rollout function and no mask but that of the padding, which would hide outputs from the model.

        So the log-probabilities of what the model only read are set to 0, in the loss and in the KL term alike. The mean
        `kl` of the log is over all tokens behind the prompt.
        """

        def _generate(self, prompts: list[str]) -> Any:
            self._sequences = [one.sequence for one in self.sample(prompts)]
            self._written = self._padded([one.written for one in self._sequences])
            return super()._generate(prompts)

        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            return [list(one.prompt) for one in self._sequences], None, {}

        def _generate_single_turn(self, *_: Any) -> list[list[int]]:
            return [list(one.completion) for one in self._sequences]

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            scored = super()._generate_and_score_completions(inputs)
            if self.ratio_max is not None:
                scored["advantages"] = scored["advantages"] * self._ratios(scored["old_logps"])
            self.check_ratios()
            return {**scored, "written": self._written}

        def _ratios(self, trained: Any) -> Any:
            """The ratios [rows] from the log-probabilities [rows] of the training's forward, logged under TRL's names."""
            logs = self._padded([one.log_probabilities for one in self._sequences])
            ratios = (trained - (logs * self._written).sum(1)).exp()
            ratios = ratios.masked_fill(ratios > self.ratio_max, 0.0)
            gathered, log = self.accelerator.gather(ratios), self._metrics["train"]
            for name in ("min", "mean", "max"):
                log[f"sampling/importance_sampling_ratio/{name}"].append(getattr(gathered, name)().item())
            return ratios

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            self._written = inputs["written"]
            return super()._compute_loss(model, inputs)

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *arguments: Any, **options: Any
        ) -> Any:
            logs, entropies, auxiliary = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *arguments, **options
            )
            written = self._written
            if entropies is not None:  # TRL divides their sum by the tokens behind the prompt, read ones included
                entropies = entropies * written * attention_mask[:, -logits_to_keep:].sum() / written.sum().clamp(min=1)
            return logs * written, entropies, auxiliary

        def _padded(self, rows: Sequence[Sequence[float]]) -> Any:
            import torch
            from torch.nn.utils.rnn import pad_sequence

            tensors = [torch.tensor(row, device=self.accelerator.device) for row in rows]
            return pad_sequence(tensors, batch_first=True)

    return {"grpo": GRPO, "rloo": RLOO}[method]


class Sampling:
    """What both trainers have of ours: candidates by `rollouts` from an engine over the weights as they are now.

    `ratio_max` is the limit of the correction, None for no correction. `options` are those of TRL's trainer.
    """

    def __init__(
        self, rollouts: Rollouts, open_engine: OpenLive, *, ratio_max: float | None = None, **options: Any
    ) -> None:
        self.rollouts, self._open_live, self.ratio_max = rollouts, open_engine, ratio_max
        super().__init__(**options)

    def sample(self, names: Sequence[str]) -> list[Candidate]:
        """One candidate for each row of this process, numbered through the whole training: a resumed one goes on there."""
        trainer: Any = self
        before = trainer.state.global_step * trainer.accelerator.num_processes + trainer.accelerator.process_index
        return self.rollouts.sample(names, lambda: self._open_live(self), first=before * len(names))

    def check_ratios(self) -> None:
        """Raise `EngineError` where every candidate of the last step is so unlikely in training that it teaches nothing."""
        trainer: Any = self
        if self.ratio_max is None:
            return
        greatest = trainer._metrics["train"]["sampling/importance_sampling_ratio/max"][-1]
        if not greatest >= LEAST_RATIO:
            raise EngineError(
                "vLLM does not sample from the model in training, where each candidate of a step is at most "
                f"{greatest:.1g} times as likely: set engine=transformers"
            )

    def _set_signature_columns_if_needed(self) -> None:
        trainer: Any = self
        trainer._signature_columns = ["prompt"]


def _rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """TRL's `rollout_func`; its `env_mask` is 1 on what the model wrote."""
    sequences = [one.sequence for one in trainer.sample(prompts)]
    return {
        "prompt_ids": [list(one.prompt) for one in sequences],
        "completion_ids": [list(one.completion) for one in sequences],
        "logprobs": [list(one.log_probabilities) for one in sequences],
        "env_mask": [list(one.written) for one in sequences],
    }
