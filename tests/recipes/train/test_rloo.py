"""RLOO (experimental): where a completion ends, what it is asked, and a few real steps of the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sctir_kaggle.dialects.rows import OUTPUT_FENCE
from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.rows import read_rows
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.recipes.tokenizer import CHAT_TEMPLATE, load_transformers_tokenizer
from sctir_kaggle.recipes.train.rloo import RLOO, handed_over, prompts, rloo
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    pytest.importorskip("torch", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    return load_transformers_tokenizer(EMBEDDED_MODEL, chat_template=CHAT_TEMPLATE)


def test_a_model_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("torch", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    with pytest.raises(
        UserError, match=r"^cannot load /no/such/model: .*; model is a checkpoint's folder, or owner/name$"
    ):
        load_transformers_tokenizer("/no/such/model")


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("behind", ["", "42\n```\nSo it is $\\boxed{42}$.", OUTPUT_FENCE])
def test_a_completion_ends_where_the_model_hands_over(tokenizer: PreTrainedTokenizerFast, behind: str) -> None:
    written = "We add.\n```python\nprint(42)\n```\n" + OUTPUT_FENCE
    assert tokenizer.decode(handed_over(ids(tokenizer, written + behind), tokenizer)) == written


def test_one_that_does_not_hand_over_stays_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = ids(tokenizer, "It is $\\boxed{42}$.")
    assert handed_over(whole, tokenizer) == whole
    assert handed_over([], tokenizer) == []


def test_problems_without_an_integer_answer_are_left_out() -> None:
    rows = [{"problem": " Why? ", "answer": answer} for answer in (7, "7/2", None)]
    assert prompts(rows) == [{"prompt": "### Problem: Why?\n### Solution: ", "answer": 7}]
    with pytest.raises(UserError, match="no problem has an integer answer"):
        prompts(rows[1:])
    assert len(prompts(read_rows(HELD_OUT))) == 50


def test_groups_must_fill_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch is 8 and generations 3"):
        RLOO(model="m", problems=HELD_OUT, output=tmp_path, generations=3)


def test_the_file_of_the_package_is_whole() -> None:
    assert read_settings(RLOO, CONFIGS / "rloo.yaml").generations == 4


@pytest.mark.recipes
def test_a_few_steps_run_and_reward_what_the_sandbox_ran(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="RLOO needs the training stack: pip install 'sctir-kaggle[recipes]'")
    from transformers import AutoModelForCausalLM

    settings = RLOO(
        model=str(EMBEDDED_MODEL),
        problems=HELD_OUT,
        output=tmp_path,
        completion_tokens=120,
        temperature=0.4,
        steps=2,
        learning_rate=1e-4,
        generations=2,
        batch=4,
        checkpointing=False,
        log_every=1,
        log="none",
    )
    log = [line for line in rloo(settings) if "reward" in line]
    assert len(log) == 2
    assert sum(line["rewards/execution/mean"] for line in log) > 0.5  # it is right more often than not
    assert all(line["completions/max_length"] < 120 for line in log)  # it hands over before
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 1e6
