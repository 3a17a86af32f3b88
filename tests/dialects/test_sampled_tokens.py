"""1,000 random traces with special tokens through the text layer: a prompt is what was sampled and what was encoded."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.types import Control, Prompt, TokenIds
from tests.real_tokenizers import real

tokenizers: Any = pytest.importorskip("tokenizers")

TRACES, TURNS = 1000, 3
WORDS = [
    "42",
    "-7.5",
    "sqrt(2)",
    "[1, 2]",
    "Traceback",
    "NameError:",
    "π",
    "数",
    "🙂",
    "\n",
    "\n\n",
    "  ",
    "\t",
    "x=1",
    "```",
]


def sentencepiece_like(folder: Path) -> Tokenizer:
    """A space in front of every text that it encodes, which decoding takes away again; bytes for what it lacks."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    raw.decoder = tokenizers.decoders.Sequence([*steps, tokenizers.decoders.Strip(" ", 1, 0)])
    special, every_byte = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=special + every_byte, show_progress=False)
    raw.train_from_iterator(
        [" ".join(WORDS) * 5, "### Problem: the sum of 1 and 2\n### Solution: print(3)"] * 3, trainer
    )
    stored = json.loads(raw.to_str())
    stored["added_tokens"] = [token for token in stored["added_tokens"] if token["content"] in special]
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return Tokenizer.load(folder)


@pytest.fixture(params=["qwen3", "gptoss", "deepseek_v3", "deepseek", "made"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    return sentencepiece_like(tmp_path) if request.param == "made" else Tokenizer.load(real(request.param))


def _sampled(draw: random.Random, tokenizer: Tokenizer) -> TokenIds:
    """Tokens that a model may sample: any, special ones more often than it would."""
    special = list(tokenizer.added_tokens.values())
    count = draw.randrange(1, 30)
    return tuple(draw.choice(special) if draw.random() < 0.2 else draw.randrange(len(tokenizer)) for _ in range(count))


def _output(draw: random.Random, tokenizer: Tokenizer) -> str:
    """Texts that a program may print, some of which spell special tokens."""
    return " ".join(draw.choices([*WORDS, *tokenizer.added_tokens], k=draw.randrange(12)))


def _bridge(draw: random.Random, tokenizer: Tokenizer) -> tuple[str, ...]:
    first, last = draw.choices([*map(Control, tokenizer.added_tokens), Control("")], k=2)
    return (Control(f"\n{first}output\n"), _output(draw, tokenizer), Control(f"\n```{last}\n"))


def _specials(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    known = set(tokenizer.added_tokens.values())
    return [token for token in ids if token in known]


def test_the_next_prompt_is_what_was_sampled_and_the_encoded_output(tokenizer: Tokenizer) -> None:
    draw, differences, letter = random.Random(7), 0, tokenizer.encode_text("a")[-1]
    for number in range(TRACES):
        prompt: Prompt = (Control("### Problem: "), f"{number}", Control("\n### Solution: "))
        for _ in range(TURNS):
            known, said, bridge = tokenizer.encode(prompt), _sampled(draw, tokenizer), _bridge(draw, tokenizer)
            _, kept = tokenizer.finish(said, stop=None, before=known[-1], ended=draw.random() < 0.5)
            prompt = (*prompt, kept, *bridge)
            ids = tokenizer.encode(prompt)
            differences += ids[: len(known) + len(said)] != (*known, *said)
            encoded = ids[len(known) + len(said) :]
            differences += tokenizer.decode(encoded, before=letter) != "".join(bridge)
            meant = tokenizer.encode_text(Control(bridge[0] + bridge[2]), before=said[-1])
            differences += _specials(tokenizer, encoded) != _specials(tokenizer, meant)
    assert differences == 0
