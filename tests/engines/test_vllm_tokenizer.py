"""The folder that vLLM is given where transformers misreads a checkpoint's tokenizer: no vLLM is needed for these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

hf: Any = pytest.importorskip("transformers", reason="tokenizers need transformers: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.dialects.tokenizer import Tokenizer  # noqa: E402
from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles  # noqa: E402
from sctir_kaggle.engines.vllm_options import write_corrected  # noqa: E402
from sctir_kaggle.types import Control  # noqa: E402
from tests.support.special_model import WORDS, misread, write_checkpoint  # noqa: E402


def test_transformers_reads_the_corrected_folder_as_the_file_says(tmp_path: Path) -> None:
    folder = misread(write_checkpoint(tmp_path / "right"), tmp_path / "misread")
    corrected = tmp_path / "corrected"
    corrected.mkdir()
    write_corrected(TokenizerFiles.read(folder), corrected)
    ours, theirs = Tokenizer.load(folder), hf.AutoTokenizer.from_pretrained(corrected)
    text = "  \n".join([*WORDS, "<|im_end|>", "<tool_call>", "<|call|>\t"])
    ids = list(ours.encode_text(Control(text)))
    assert theirs.encode(text) == ids
    assert theirs.decode(ids) == ours.decode(ids) == text
    assert {theirs.eos_token_id} == ours.end_ids
    assert Tokenizer.load(corrected).notice == ""
