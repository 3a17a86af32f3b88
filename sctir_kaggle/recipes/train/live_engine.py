"""The transformers engine over the weights of a model in training: no copy of them, and a record of what was sampled.

The record holds what the loss needs and a `Completion` does not keep: the prompt as token ids, the sampled ids before a stop
string cut them, and their log-probabilities. An engine is for one step of the training: the keys and values that it stores
are those of the weights as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.slots import Slots
from sctir_kaggle.engines.transformers import TransformersEngine, context_limit, end_tokens
from sctir_kaggle.types import Completion, FinishReason, Prompt, SamplingParams, TokenIds

Autocast = Callable[[], AbstractContextManager[Any]]
"""Opens the mixed precision of the training for one forward."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One generation: the `prompt` [P] that the model saw, the `ids` [T] that were sampled behind it, and of each the
    log-probability [T] at the temperature of the sampling; under `top_p`, `top_k` and `min_p` it is of all tokens."""

    prompt: TokenIds
    ids: TokenIds
    log_probabilities: tuple[float, ...]


class LiveEngine(TransformersEngine):
    """See `TransformersEngine`. `sampled` holds the record of every finished request by its id."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        slots: int,
        context_length: int | None = None,
        autocast: Autocast = nullcontext,
    ) -> None:
        """Serve `model`, which must be in evaluation mode, with `slots` concurrent requests of `context_length` tokens.

        Raises `EngineError` where the model has no such context.
        """
        self.sampled: dict[str, Sampled] = {}
        self._logs: dict[object, list[float]] = {}  # by the future of the request that runs
        self._finished: dict[int | None, Sampled] = {}  # by its seed, which `seed_for` derives from its id
        context = context_limit(model.config.get_text_config(), context_length)
        super().__init__(
            LiveSlots(model, slots=slots, context_length=context, autocast=autocast),
            tokenizer,
            end=end_tokens(model, tokenizer),
            vocabulary=model.get_input_embeddings().num_embeddings,
            facts={"engine": "transformers", "context_length": context},
        )

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`."""
        completion = await super().generate(prompt, params, request_id=request_id)
        self.sampled[request_id] = self._finished.pop(params.seed)
        return completion

    def _advance(self, request: Any, token: int) -> bool:
        log_probability = next(self._slots.log_probabilities)  # type: ignore[attr-defined]  # called once a row, in order
        if request.stored + 1 >= len(request.prompt):
            self._logs.setdefault(request.future, []).append(log_probability)
        return super()._advance(request, token)

    def _finish(self, request: Any, reason: FinishReason, stop: str | int | None = None) -> bool:
        logs = tuple(self._logs.pop(request.future))
        self._finished[request.params.seed] = Sampled(request.prompt, tuple(request.ids), logs)
        return super()._finish(request, reason, stop)


class LiveSlots(Slots):
    """Slots that keep the log-probabilities of what the last step sampled, and run in the training's precision."""

    def __init__(self, model: Any, *, slots: int, context_length: int, autocast: Autocast) -> None:
        super().__init__(model, slots=slots, context_length=context_length)
        self._autocast = autocast
        self._logits = torch.empty(0)
        self.log_probabilities: Iterator[float] = iter(())

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], params: Sequence[SamplingParams], uniform: Sequence[float]) -> list[int]:
        """See `Slots`."""
        chosen = super().step(tokens, params, uniform)
        temperature = torch.tensor([one.temperature or 1.0 for one in params], device=self._logits.device)
        logs = (self._logits.float() / temperature[:, None]).log_softmax(dim=-1)
        places = torch.tensor(chosen, device=logs.device)[:, None]
        self.log_probabilities = iter(logs.gather(1, places)[:, 0].tolist())
        return chosen

    def _decode(self, tokens: Sequence[int]) -> Tensor:
        self._logits = super()._decode(tokens)
        return self._logits

    def _forward(self, *arguments: Any) -> Tensor:
        with self._autocast():
            return super()._forward(*arguments)
