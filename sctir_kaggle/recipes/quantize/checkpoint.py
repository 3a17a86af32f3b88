"""Normalise a library's output: `quantization_config` in config.json, model*.safetensors beside it.

Covered: what gptqmodel 7.6, llm-compressor 0.14 (compressed-tensors) and auto-gptq 0.7.1 write. Weights are not repacked.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from sctir_kaggle.engines.vllm_options import quantization_of
from sctir_kaggle.types import UserError

KEPT = ("bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "checkpoint_format", "pack_dtype")
"""Fields that readers of the format need. The rest is a library's own, and some of it names folders of this machine."""

FORMAT = {"quant_method": "gptq", "checkpoint_format": "gptq"}
"""Fields that old files leave out."""

DROPPED = ("quantize_config.json", "quant_log.csv", "recipe.yaml")
"""Files to drop: the same settings again, and a log of losses."""

LOGS = "logs"
"""The folder in which a library may log while it works; not kept."""

TOKENIZER = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template*"),
    "generation_config.json",
)
"""Files that are the original's, unchanged, and none that it does not have: libraries save them with options of their own."""

_LEGACY = re.compile(r"^gptq_model-\d+bit-(?:-1|\d+)g")
"""How auto-gptq begins the names of its weights."""


def even_out(model: Path, output: Path) -> None:
    """Bring the files in `output` into the one layout, with `model`'s tokenizer files unchanged."""
    write_config(output)
    rename_weights(output)
    for name in DROPPED:
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / LOGS, ignore_errors=True)
    for pattern in TOKENIZER:
        for file in output.glob(pattern):
            file.unlink()
        for file in model.glob(pattern):
            shutil.copyfile(file, output / file.name)


def write_config(output: Path) -> None:
    """Write the quantization into config.json, under the names that every reader knows."""
    file = output / "config.json"
    config, stored = json.loads(file.read_text(encoding="utf-8")), quantization_of(str(output))
    if not stored:
        raise UserError(f"{output} says nowhere how it was quantized: quantize again")
    if stored.get("quant_method") == "compressed-tensors":
        config["quantization_config"] = stored
    else:
        config["quantization_config"] = FORMAT | {name: stored[name] for name in KEPT if name in stored}
    config.pop("_name_or_path", None)  # a folder of this machine
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def rename_weights(output: Path) -> None:
    """`gptq_model-8bit-128g.safetensors` -> `model.safetensors`; other names stay, auto-gptq writes this one only."""
    for file in sorted(output.glob("*.safetensors")):
        file.rename(output / _LEGACY.sub("model", file.name)).chmod(0o644)


def size_of(folder: Path) -> int:
    """Size of the weights in bytes."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
