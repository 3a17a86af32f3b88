"""vLLM in the training's process, with a copy of the weights in training, and a record of what was sampled.

The record is that of `live_engine`. vLLM starts with random weights and serves nothing before the training's are copied into
it, by its own `reload_weights`, which also packs them anew where its kernels want that; its prefix cache is emptied with them.
On a GPU it sleeps while the training computes, at level 2, which keeps neither weights nor cache: both are new at the next
step. Covered: one process on one device, vLLM 0.32. The sleep has not been run, for want of a GPU.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, distributed

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.engines.vllm import Facts, VLLMEngine
from sctir_kaggle.engines.vllm_loop import EngineLoop
from sctir_kaggle.engines.vllm_options import check_installed
from sctir_kaggle.recipes.train.live_engine import Sampled
from sctir_kaggle.types import Completion, EngineError, SamplingParams, TokenIds, one_line


class LiveVLLM(VLLMEngine):
    """See `VLLMEngine`. Open it with `start`, give it weights by `take`; `sampled` is the record since then, by a request's id.

    Not built again after its death: the new engine would not have the weights.
    """

    _RESTARTS = 0
    _LOGPROBS = 0

    def __init__(self, loop: EngineLoop, tokenizer: Tokenizer, facts: Facts, end: Callable[[], None]) -> None:
        super().__init__(loop, tokenizer, facts, end)
        self.sampled: dict[str, Sampled] = {}
        self._sleeps = bool(loop.engine.model_config.enable_sleep_mode)

    @classmethod
    def start(
        cls, model: str, *, slots: int, context_length: int | None, dtype: str, memory: float, sleeps: bool
    ) -> LiveVLLM:
        """Start vLLM for checkpoints like `model`; see `load`. With `sleeps` it frees a GPU's memory in `rest`.

        Raises `EngineError` where it cannot start; see `check_here`, too.
        """
        check_here()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the weights are copied within this process
        engine = cls.load(
            model,
            slots=slots,
            dtype=dtype,
            context_length=context_length,
            memory=memory,
            options={
                "load_format": "dummy",
                "logprobs_mode": "processed_logprobs",  # behind the temperature, as the loss has them
                "enable_sleep_mode": sleeps and torch.cuda.is_available(),
            },
        )
        logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").addFilter(_is_news)
        engine.rest()
        return engine

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Serve these weights, by their names in a checkpoint, from now on; forget the record and the prefix cache.

        Raises `EngineError` where vLLM does not know a name, or a request is still running.
        """
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the copies are made in another thread, on its own stream
            torch.cuda.empty_cache()  # vLLM's memory is not PyTorch's to give

        def copy(engine: Any) -> None:
            if self._sleeps:
                engine.wake_up(tags=["weights"])
            given = ((name, weight.detach()) for name, weight in weights)
            engine.collective_rpc("reload_weights", kwargs={"weights_iterator": given})
            engine.apply_model(_pack_tied_head)
            if self._sleeps:
                engine.wake_up(tags=["kv_cache"])
            if not engine.reset_prefix_cache():
                raise RuntimeError("its prefix cache is in use")

        try:
            self._loop.call(copy)
        except Exception as error:
            raise EngineError(f"vLLM did not take the weights in training: {one_line(error, named=True)}") from error
        self.sampled.clear()

    def rest(self) -> None:
        """Free the GPU's memory until the next `take`, where the engine sleeps at all."""
        if self._sleeps:
            self._loop.call(lambda engine: engine.sleep(level=2))

    def _completion(self, prompt: TokenIds, params: SamplingParams, output: Any, request_id: str) -> Completion:
        completion = super()._completion(prompt, params, output, request_id)
        sample = output.outputs[0]
        pairs = zip(sample.token_ids, sample.logprobs, strict=True)
        logs = tuple(float(at_token[token].logprob) for token, at_token in pairs)
        self.sampled[request_id] = Sampled(prompt, tuple(sample.token_ids), logs)
        return completion


def check_here() -> None:
    """Raise `EngineError` where vLLM is not installed, or this process belongs to a group: vLLM opens and ends one itself."""
    check_installed()
    if distributed.is_available() and distributed.is_initialized():
        raise EngineError(
            "vLLM samples in a training of one process without DeepSpeed, and this one has a process group: start it by "
            "python -m, not by accelerate launch, or set engine=transformers"
        )


def _pack_tied_head(model: Any) -> None:
    """Pack an output layer that shares the embedding's weights.

    On a CPU vLLM computes with a packed copy, and `reload_weights` makes that anew only for layers that the checkpoint names.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and getattr(model.config, "tie_word_embeddings", False):
        head.quant_method.process_weights_after_loading(head)


def _is_news(record: logging.LogRecord) -> bool:
    """False where vLLM says of each step that it did not load the table of the rotary embedding, which no checkpoint has."""
    return "RotaryEmbedding" not in record.getMessage()
