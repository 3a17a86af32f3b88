"""What stage 1 starts from in place of DeepSeekMath: a small Llama with random weights, and a tokenizer of its texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.tokenizer import save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The model. Every width is a multiple of 128, so that it quantizes in groups of 128."""

    vocabulary: int = 1024
    layers: int = 4
    width: int = 128
    heads: int = 4
    inner: int = 512
    context: int = 2048


def make_base(texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write weights and tokenizer to `folder`."""
    import torch

    shape = Shape()
    tokenizer = train_tokenizer(texts, size=shape.vocabulary, context=shape.context)
    torch.manual_seed(seed)
    new_model(shape, tokenizer).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, embeddings untied."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    llama: Any = LlamaForCausalLM
    model: LlamaForCausalLM = llama(config)
    return model


def halve(model: Path, output: Path) -> None:
    """The checkpoint in `model` with weights in float16, in `output`."""
    import torch
    from transformers import AutoModelForCausalLM

    from sctir_kaggle.recipes.gptq.likeness import load_tokenizer

    auto: Any = AutoModelForCausalLM
    auto.from_pretrained(model, dtype=torch.float16).save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)
    save_tokenizer(load_tokenizer(model), output)
