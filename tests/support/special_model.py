"""A random Llama as a folder, whose tokenizer has the special tokens of ChatML with tools and some like harmony's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOOLS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
"""As in Qwen's tokenizer: added tokens that are not special to the library."""
HARMONY = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"]

WORDS = [
    "remainder",
    "integer",
    "sum",
    "print",
    "value",
    "so",
    "we",
    "12",
    "7",
    "\\frac",
    "(",
    ")",
    "{",
    "}",
    "$",
    "=",
    "\n",
]


def write_checkpoint(folder: Path) -> Path:
    """One whose end of a sequence is `<|im_end|>`. It is small, so that special tokens are sampled often."""
    torch: Any = pytest.importorskip("torch")
    hf: Any = pytest.importorskip("transformers")
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {"hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"), "pad_token_id": None}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    config = hf.LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=False, **sizes, **heads, **ends)
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def misread(checkpoint: Path, folder: Path) -> Path:
    """The same with a config that names a Llama class over a byte-level file, as DeepSeek's and NuminaMath's do."""
    shutil.copytree(checkpoint, folder)
    file = folder / "tokenizer_config.json"
    stored = {"tokenizer_class": "LlamaTokenizer", "eos_token": "<|im_end|>", "legacy": True}
    file.write_text(json.dumps(stored), encoding="utf-8")
    return folder


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    raw.add_tokens([AddedToken(token, special=True, normalized=False) for token in [*CHATML, *HARMONY, "<pad>"]])
    raw.add_tokens([AddedToken(token, normalized=False) for token in TOOLS])
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<pad>")
