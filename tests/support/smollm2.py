"""What the tests with SmolLM2-135M-Instruct share: its folder, llama.cpp's tokens of a text, commands with their cost."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.smollm2 import checkpoint, gguf_file
from sctir_kaggle.types import UserError

ROOT = Path(__file__).resolve().parents[2]


@cache
def smollm2() -> Path:
    """The checkpoint's folder; the test is skipped where the package that ships it is not installed."""
    try:
        return checkpoint()
    except UserError as error:
        pytest.skip(str(error))


@cache
def metadata() -> Mapping[str, Any]:
    """The metadata of the GGUF file."""
    from gguf import GGUFReader

    reader: Any = GGUFReader(str(gguf_file()))
    return {name: field.contents() for name, field in reader.fields.items()}


def llama_cpp_tokens(text: str) -> list[str]:
    """Tokens of an ASCII text by llama.cpp's rules: its two patterns for `smollm` in turn, then the pair of lowest rank merged.

    The patterns are in `llm_tokenizer_bpe` of llama-vocab.cpp; `\\p{L}` and `\\p{N}` are letters and digits here.
    """
    split = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
    pieces = [word for part in re.split(r"([0-9])", text) for word in split.findall(part)]
    ranks = {pair: rank for rank, pair in enumerate(metadata()["tokenizer.ggml.merges"])}
    return [token for piece in pieces for token in _merged(_visible(piece), ranks)]


def _visible(piece: str) -> list[str]:
    """GPT-2's stand-ins for a blank, a newline and a tab."""
    return list(piece.replace(" ", "Ġ").replace("\n", "Ċ").replace("\t", "ĉ"))


def _merged(parts: list[str], ranks: Mapping[str, int]) -> list[str]:
    while True:
        found = [(ranks[pair], at) for at in range(len(parts) - 1) if (pair := " ".join(parts[at : at + 2])) in ranks]
        if not found:
            return parts
        at = min(found)[1]
        parts = [*parts[:at], parts[at] + parts[at + 1], *parts[at + 2 :]]


def measured(name: str, module: str, arguments: Sequence[str], folder: Path) -> str:
    """Run `python -m module arguments` in `folder`; print its time and peak memory; return its output. It must end with 0."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path, "TQDM_DISABLE": "1"}
    log, started = folder / f"{name}.log", time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text()
    assert process.returncode == 0, f"{shlex.join([module, *arguments])}\n{said[-3000:]}"
    print(f"{name}: {time.monotonic() - started:.0f} s, {usage.ru_maxrss / 2**20:.1f} GiB at most")
    return said
