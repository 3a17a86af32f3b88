"""The embedded model's 8-bit GPTQ twin: `python -m sctir_kaggle.recipes.embedded_gptq --output DIR`.

For tests that run the quantized format, the one used on Kaggle, in real vLLM. Needs `requirements-gptqmodel.txt` in an
environment of its own and no GPU. Calibrated on the prompts and greedy answers of the model's own problems, so that the
inputs of every layer are those that it will see. Format and method: GPTQ, https://arxiv.org/abs/2210.17323.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from sctir_kaggle.problems import ASSETS, HELD_OUT, read_problems
from sctir_kaggle.prompt import HEADER

BITS = 8

DAMP = 0.01
"""The share of the mean diagonal that is added to GPTQ's Hessian, as the winner set it."""

KEPT = ("bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "checkpoint_format", "pack_dtype")
"""What a reader of the format needs. The rest is of this library's making, and names folders of the machine."""


def main() -> None:
    """The command."""
    args = _arguments()
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # by default it wants more cores than a small machine has
    texts = calibration(args.model, args.samples)
    quantize(args.model, args.output, texts, group=group_size(args.model))
    clean_config(args.output)
    copy_unchanged(args.model, args.output)
    size = sum(file.stat().st_size for file in args.output.iterdir())
    print(f"{args.output}: {size} bytes, {BITS} bits, group {group_size(args.model)}, {len(texts)} calibration samples")


def group_size(model: Path) -> int:
    """128 where every width that is quantized is a multiple of it, else -1: a group a column."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    widths = config["hidden_size"], config["intermediate_size"]
    return -1 if any(width % 128 for width in widths) else 128


def calibration(model: Path, samples: int) -> list[str]:
    """The first `samples` problems' prompts, each with what the model itself writes next."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, local_files_only=True)
    texts = []
    for problem in read_problems(HELD_OUT, limit=samples):
        ids = tokenizer(HEADER.format(problem=problem.text), return_tensors="pt")
        written = loaded.float().generate(**ids, do_sample=False, max_new_tokens=160)
        texts.append(tokenizer.decode(written[0], skip_special_tokens=True))
    return texts


def quantize(model: Path, output: Path, texts: list[str], *, group: int) -> None:
    """Write the quantized checkpoint to `output`, with the tokenizer beside it."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig  # type: ignore[import-not-found,unused-ignore]

    config = QuantizeConfig(bits=BITS, group_size=group, sym=True, desc_act=False, damp_percent=DAMP)
    config.pack_impl = "original"  # the other one compiles for longer than a small model takes to quantize
    loaded = GPTQModel.load(str(model), config, device="cpu", dtype=torch.float16)  # a T4 has no bfloat16
    loaded.quantize(texts, batch_size=4)
    loaded.save(str(output))


def clean_config(output: Path) -> None:
    """Keep what describes the format: the library also writes temporary folders of this machine into it."""
    file = output / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    stored = config["quantization_config"]
    config["quantization_config"] = {name: stored[name] for name in KEPT if name in stored}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name in ("quantize_config.json", "quant_log.csv"):  # the same again, and a log of losses
        (output / name).unlink(missing_ok=True)


def copy_unchanged(model: Path, output: Path) -> None:
    """Tokenizer and generation settings as they were: the library saves them with options of its own."""
    for pattern in ("tokenizer*", "chat_template*", "generation_config.json"):
        for file in model.glob(pattern):
            shutil.copyfile(file, output / file.name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder that gets the quantized checkpoint")
    parser.add_argument("--model", type=Path, default=ASSETS / "model", help="the checkpoint (default: the embedded)")
    parser.add_argument("--samples", type=int, default=50, help="calibration problems (default: all 50)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
