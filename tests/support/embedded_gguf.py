"""The embedded model as a GGUF file, which llama.cpp's servers read: the same weights, and its tokens and merges.

llama.cpp knows pre-tokenizers by name only and has none of this model's, so text is split a little differently there; prompts
of token ids are exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sctir_kaggle.problems import ASSETS

MODEL = ASSETS / "model"
SPLITS_LIKE = "starcoder"
"""The pre-tokenizer of llama.cpp that is nearest: it splits digits one by one, too."""

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path) -> None:
    """Write the embedded model to `path` in float32. Needs the package gguf."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((MODEL / "config.json").read_text())
    writer = gguf.GGUFWriter(str(path), "llama")
    heads = config["num_attention_heads"]
    writer.add_name("embedded")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config)
    for name, tensor in load_file(MODEL / "model.safetensors").items():
        writer.add_tensor(_renamed(name), _as_llama_cpp_has_it(name, tensor.astype(np.float32), heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, config: Mapping[str, Any]) -> None:
    import gguf

    tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    kinds = [gguf.TokenType.CONTROL if place in special else gguf.TokenType.NORMAL for place in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLITS_LIKE)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_chat_template((MODEL / "chat_template.jinja").read_text())


def _renamed(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[part]}.weight"


def _as_llama_cpp_has_it(name: str, tensor: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Queries and keys in the order of llama.cpp's rotary embedding: pairs are neighbours, not halves."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    rows, columns = tensor.shape
    pairs: npt.NDArray[np.float32] = tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
    return pairs.reshape(rows, columns)
