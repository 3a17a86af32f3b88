"""Small tokenizers of every kind, made here and saved as folders like a checkpoint's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Raw

TEXT = [
    "### Problem: Find the remainder when $3^{7}$ is divided by 11.\n### Solution: We compute it with Python.\n",
    "```python\nprint(pow(3, 7, 11))\n```\n```output\n9\n```\nThe answer is $\\boxed{9}$.",
    "def f(n):\n    if n > 1:\n\treturn n * f(n - 1)\n數 ü </s> <s> <|end|> <tool_call>",
] * 4

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{number:02X}>" for number in range(256)]


def byte_level() -> Raw:
    """Like GPT-2's: no text is lost, and a character may be split."""
    raw = Raw(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(TEXT, _trainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return _with_tokens(raw)


def metaspace(scheme: str = "always") -> Raw:
    """SentencePiece-like, as Llama 2's and Mistral's: a space in front of what it encodes, bytes for what it lacks."""
    raw = Raw(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return _sentencepiece_like(raw)


def legacy() -> Raw:
    """Llama 2's older form: the normalizer puts the space there, behind every special token too."""
    raw = Raw(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _sentencepiece_like(raw)


def unigram() -> Raw:
    """T5's kind: the model itself would make `</s>` of its characters, for it is in the vocabulary."""
    raw = Raw(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    trainer: Any = trainers.UnigramTrainer
    letters = sorted(set("".join(TEXT)))
    raw.train_from_iterator(
        TEXT,
        trainer(
            vocab_size=160, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=letters, show_progress=False
        ),
    )
    return _with_tokens(raw)


MADE: dict[str, Callable[[], Raw]] = {
    "byte level": byte_level,
    "metaspace": metaspace,
    "metaspace first": lambda: metaspace("first"),
    "metaspace never": lambda: metaspace("never"),
    "legacy": legacy,
    "unigram": unigram,
}


def save(raw: Raw, folder: Path, **config: Any) -> Path:
    """A folder with tokenizer.json and its config."""
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    stored = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder


def _sentencepiece_like(raw: Raw) -> Raw:
    strip: list[Any] = [] if "never" in str(raw.pre_tokenizer) else [decoders.Strip(" ", 1, 0)]
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    raw.train_from_iterator(TEXT, _trainer(vocab_size=600, special_tokens=SPECIAL + BYTES, initial_alphabet=["▁"]))
    stored = json.loads(raw.to_str())
    stored["added_tokens"] = [token for token in stored["added_tokens"] if token["content"] not in BYTES]
    return _with_tokens(Raw.from_str(json.dumps(stored)))


def _with_tokens(raw: Raw) -> Raw:
    """BOS in front, a token that eats the white space behind it, one that is no special token."""
    raw.add_special_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
    raw.add_tokens([AddedToken("<tool_call>", normalized=False)])
    bos: Any = ("<s>", raw.token_to_id("<s>"))
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[bos])
    return raw


def _trainer(**options: Any) -> Any:
    trainer: Any = trainers.BpeTrainer
    return trainer(show_progress=False, **options)
