"""Labelled candidates as KTO's batches, token by token: who wrote it, who is paired with whom, what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.dialects.rows import FORCED_BOX, HEADER, OUTPUT_FENCE
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.synthetic.corpus import Segment
from sctir_kaggle.recipes.train.preferences import Preference
from sctir_kaggle.recipes.train.unpaired import Collator, Columns, columns, encoded, mismatched
from sctir_kaggle.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBLEM = Problem("p", "What is $6 \\cdot 7$?", 42)
PROMPT = Segment(HEADER.format(problem=PROBLEM.text), False)
CODE = Segment(f"We multiply.\n```python\nprint(6 * 7)\n```\n{OUTPUT_FENCE}", True)
OUTPUT = Segment("42\n```", False)
BOX = Segment("\nIt is $\\boxed{42}$.", True)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    pytest.importorskip("torch", reason="batches need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(ASSETS / "model")
    made: PreTrainedTokenizerFast = loaded
    return made


def preference(*segments: Segment, ended: bool = True, desirable: bool = True) -> Preference:
    return Preference(PROBLEM, (PROMPT, *segments), ended, desirable)


def counted(row: Columns, tokenizer: PreTrainedTokenizerFast) -> str:
    return str(
        tokenizer.decode([one for one, learned in zip(row["completion_ids"], row["learned"], strict=True) if learned])
    )


def rows(count: int) -> list[Columns]:
    """As many candidates, each of tokens that no other has."""
    return [
        {"prompt_ids": [1, i], "completion_ids": [i] * (i + 1), "learned": [1] * (i + 1), "label": True}
        for i in range(count)
    ]


def test_the_prompt_is_the_problem_and_what_counts_is_what_the_model_wrote(tokenizer: PreTrainedTokenizerFast) -> None:
    row = columns(preference(CODE, OUTPUT, BOX), tokenizer)
    assert tokenizer.decode(row["prompt_ids"]) == tokenizer.bos_token + PROMPT.text
    assert tokenizer.decode(row["completion_ids"]) == CODE.text + OUTPUT.text + BOX.text + tokenizer.eos_token
    assert counted(row, tokenizer) == CODE.text + BOX.text + tokenizer.eos_token


def test_a_box_that_the_solver_opened_does_not_count_and_no_end_follows(tokenizer: PreTrainedTokenizerFast) -> None:
    forced = (Segment(FORCED_BOX, False), Segment("42}$", True))
    row = columns(preference(CODE, OUTPUT, *forced, ended=False), tokenizer)
    assert counted(row, tokenizer) == CODE.text + "42}$"
    assert row["completion_ids"][-1] != tokenizer.eos_token_id


def test_what_is_too_long_is_left_out_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    short, long = preference(BOX), preference(CODE, OUTPUT, BOX)
    [row], _ = encoded([short], tokenizer, longest=1000)
    length = len(row["prompt_ids"]) + len(row["completion_ids"])
    assert encoded([short, long], tokenizer, longest=length) == ([row], 1)
    assert encoded([short, long], tokenizer, longest=length - 1) == ([], 2)


@pytest.mark.parametrize(("count", "batch"), [(8, 4), (10, 4), (2, 8), (9, 2)])
def test_in_each_batch_the_mismatched_completions_are_the_matched_ones_of_others(count: int, batch: int) -> None:
    paired = mismatched(rows(count), batch=batch, seed=0)
    assert len(paired) == count - (count % batch == 1)
    for start in range(0, len(paired), batch):
        part = paired[start : start + batch]
        assert sorted(row["completion_ids"] for row in part) == sorted(row["KL_completion_ids"] for row in part)
    assert all(row["completion_ids"] != row["KL_completion_ids"] for row in paired)
    assert all(len(row["KL_completion_ids"]) == len(row["KL_learned"]) for row in paired)


def test_the_order_is_random_and_follows_the_seed() -> None:
    def order(seed: int) -> list[int]:
        return [row["prompt_ids"][1] for row in mismatched(rows(50), batch=2, seed=seed)]

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


def test_a_batch_masks_outputs_and_padding_in_both_kinds_of_sequences(tokenizer: PreTrainedTokenizerFast) -> None:
    found, _ = encoded([preference(CODE, OUTPUT, BOX), preference(BOX, desirable=False)], tokenizer, longest=1000)
    paired = mismatched(found, batch=2, seed=0)
    batch: dict[str, Any] = Collator(tokenizer.pad_token_id, 1000)(paired)
    shown = {counted(row, tokenizer) for row in found}
    for prefix in ("", "KL_"):
        ids, masks = batch[f"{prefix}input_ids"], batch[f"{prefix}completion_mask"].bool()
        assert ids.shape == masks.shape == batch[f"{prefix}attention_mask"].shape
        assert {tokenizer.decode(one[mask]) for one, mask in zip(ids, masks, strict=True)} == shown
        assert not (masks & ~batch[f"{prefix}attention_mask"].bool()).any()
    assert sorted(batch["label"].tolist()) == [False, True]
    assert batch["label"].tolist() == [row["label"] for row in paired]
