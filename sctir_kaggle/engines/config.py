"""Which engine writes, and how it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.types import UserError


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What an engine is loaded from. Raises `UserError` on a value outside its limits.

    What a further engine needs besides goes into `engine_options`.
    """

    engine: str = "transformers"
    """Who writes the text: vllm, transformers, openai (servers of completions), chat (servers of chat), recorded."""

    model: str | Path | None = None
    """A checkpoint's folder or its name at the Hugging Face Hub; default: the embedded model. `openai`: of the
    tokenizer. `recorded`: the run's folder or journal."""

    base_url: Sequence[str] = ()
    """Servers of one model, http://HOST:PORT, for `openai` and `chat`."""

    served_model: str | None = None
    """The model's name at the servers; default: the only one there."""

    layout: Literal["auto", "replicas", "tensor"] = "auto"
    """vLLM on several GPUs: an engine on each, or one over all; `auto` estimates and says why."""

    gpus: int | None = None
    """vLLM takes the first so many GPUs; default: all."""

    context_length: int | None = None
    """Tokens of prompt and text together; default: the model's own."""

    dtype: str | None = None
    """The number format of weights and activations: float16, bfloat16, float32; default: what model and machine have."""

    memory: float | None = None
    """The share of a GPU's memory that vLLM may take; default: 0.9."""

    kv_cache_dtype: str | None = None
    """vLLM's number format of the KV cache, such as fp8; default: that of the activations."""

    speculative: Mapping[str, Any] | None = None
    """vLLM's `speculative_config`, such as {"method": "ngram", "num_speculative_tokens": 4}; default: none."""

    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Any engine argument of the installed vLLM, or any field of a server's requests: NAME=VALUE, or JSON."""

    def __post_init__(self) -> None:
        _require(self.gpus is None or self.gpus >= 1, "gpus", self.gpus, "at least 1")
        _require(
            self.context_length is None or self.context_length >= 1,
            "context_length",
            self.context_length,
            "at least 1 token",
        )
        _require(self.memory is None or 0 < self.memory <= 1, "memory", self.memory, "above 0 and at most 1")


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}; it must be {limit}")
