"""The checkpoint in the package: its sizes, its tokenizer, and that both fit the prompts that the solver sends."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.dialects.rows import CLOSE_FENCE, FORCED_BOX, HEADER, OUTPUT_FENCE
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.synthetic.families import FAMILIES

pytest.importorskip("transformers")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MODEL = ASSETS / "model"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(MODEL)
    assert loaded.is_fast
    made: PreTrainedTokenizerFast = loaded
    return made


def config() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((MODEL / "config.json").read_text())
    return read


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def test_it_takes_at_most_six_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 6e6


def test_it_quantizes_in_groups_of_128_and_is_untied() -> None:
    sizes = config()
    assert sizes["architectures"] == ["LlamaForCausalLM"]
    assert sizes["hidden_size"] % 128 == sizes["intermediate_size"] % 128 == 0
    assert sizes["hidden_size"] // sizes["num_attention_heads"] in (32, 64)
    assert sizes["tie_word_embeddings"] is False
    assert sizes["max_position_embeddings"] == 2048


def test_its_chat_template_is_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": "What is $1+1$?"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert rendered == HEADER.format(problem="What is $1+1$?")
    chat.append({"role": "assistant", "content": "It is 2."})
    assert tokenizer.apply_chat_template(chat, tokenize=False) == rendered + "It is 2.\n"


def test_the_beginning_of_sequence_goes_in_front_and_nowhere_else(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = tokenizer.encode("a</s")
    assert encoded[0] == tokenizer.bos_token_id == config()["bos_token_id"]
    assert tokenizer.bos_token_id not in encoded[1:]
    assert tokenizer.eos_token_id == config()["eos_token_id"]


def test_every_digit_is_a_token(tokenizer: PreTrainedTokenizerFast) -> None:
    digits = {ids(tokenizer, digit)[0] for digit in "0123456789"}
    assert len(digits) == 10
    assert len(ids(tokenizer, "1234567890")) == 10
    assert not any(len(token) > 1 and any(map(str.isdigit, token)) for token in tokenizer.get_vocab())


def test_any_text_comes_back_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in ("\n  x = 1\n\n\tπ ≤ 3 ,  é 😀\r\n", HEADER, OUTPUT_FENCE, FORCED_BOX):
        assert tokenizer.decode(ids(tokenizer, text)) == text


def test_a_trace_cut_where_the_solver_cuts_it_has_the_same_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = Random(0)
    for item in FAMILIES.values():
        header = HEADER.format(problem=item.text(item.sample(rng), rng))
        code = "We add.\n\n```python\nprint(40 + 2)\n```\n" + OUTPUT_FENCE
        parts = [header, code, "42" + CLOSE_FENCE, FORCED_BOX, "42}$."]
        assert [token for part in parts for token in ids(tokenizer, part)] == ids(tokenizer, "".join(parts))
