"""Blocks on token level: what is learned, what is whole, and that no trace of a block sees another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.recipes.rendering import encode_row, segments_of
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.recipes.train.packing import IGNORED, Collator, Packed, Packing, load_packed, pack
from sctir_kaggle.types import UserError
from tests.support.sft_support import MODEL, row, rows, tiny

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.recipes
pytest.importorskip("trl", reason="packing needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")

ROWS = rows(40)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer

    return load_transformers_tokenizer(MODEL)


@pytest.fixture(scope="module")
def packed(tokenizer: PreTrainedTokenizerFast) -> Packed:
    return pack(ROWS, tokenizer, Packing(block=300))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"))


def traces(block: dict[str, list[int]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Token ids and labels of each trace, cut where the positions begin again."""
    starts = [place for place, position in enumerate(block["positions"]) if position == 0]
    cuts = zip(starts, [*starts[1:], len(block["positions"])], strict=True)
    return [(tuple(block["input_ids"][i:j]), tuple(block["labels"][i:j])) for i, j in cuts]


def test_every_trace_is_whole_and_in_one_block(packed: Packed, tokenizer: PreTrainedTokenizerFast) -> None:
    found = [ids for block in packed.blocks for ids, _ in traces(block)]
    assert sorted(found) == sorted(encode_row(item, tokenizer)[0] for item in ROWS)
    assert max(len(block["input_ids"]) for block in packed.blocks) <= 300
    assert packed.full > 0.8


def test_labels_are_ignored_exactly_on_bos_problem_and_outputs(
    packed: Packed, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Spelled out from the texts of a row, not by the code that is tested."""
    expected = {}
    for item in ROWS:
        problem, solution = (message["content"] for message in item["messages"])
        before, rest = solution.split("```output\n")
        output, after = rest.split("\n```")
        parts = [(f"### Problem: {problem}\n### Solution: ", False), (before + "```output\n", True)]
        parts += [(output + "\n```", False), (after, True)]
        tokens = [(tokenizer.encode(text, add_special_tokens=False), learned) for text, learned in parts]
        labels = [token if learned else -100 for ids, learned in tokens for token in ids]
        ids = (tokenizer.bos_token_id, *(token for ids, _ in tokens for token in ids), tokenizer.eos_token_id)
        expected[ids] = (-100, *labels, tokenizer.eos_token_id)
    assert {ids: labels for block in packed.blocks for ids, labels in traces(block)} == expected


def test_the_original_learns_everything_and_cuts_where_a_block_ends(tokenizer: PreTrainedTokenizerFast) -> None:
    original = pack(ROWS, tokenizer, Packing(block=300, whole=False, learn="all"))
    joined = [token for item in ROWS for token in encode_row(item, tokenizer)[0]]
    assert [token for block in original.blocks for token in block["input_ids"]] == joined
    assert {len(ids) for ids in original.blocks["input_ids"][:-1]} == {300}
    assert original.blocks["labels"] == original.blocks["input_ids"]


def test_what_is_too_long_or_no_trace_is_dropped_and_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    long, broken = row(98, 1, 2, " Slowly." * 200), {**row(99, 1, 2), "messages": []}
    counts = pack([*ROWS, long, broken], tokenizer, Packing(block=300)).counts
    lengths = [len(encode_row(item, tokenizer)[0]) for item in ROWS]
    assert {name: counts[name] for name in ("rows", "traces", "too long", "no trace", "tokens")} == {
        "rows": 42,
        "traces": 40,
        "too long": 1,
        "no trace": 1,
        "tokens": sum(lengths),
    }
    with pytest.raises(UserError, match="no trace of 1 rows is left"):
        pack([long], tokenizer, Packing(block=300))


def logits(model: Path, batch: dict[str, Any], attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    loaded = auto.from_pretrained(model, dtype=torch.float32, attn_implementation=attention).eval()
    with torch.no_grad():
        return loaded(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("flat", [False, True])
def test_logits_of_a_packed_trace_are_those_of_the_trace_alone(
    packed: Packed, model: Path, attention: str, flat: bool
) -> None:
    import torch

    chosen = [packed.blocks[place] for place in (0, len(packed.blocks) - 1, 1)]  # of different lengths: padding too
    batch = Collator(pad=0, flat=flat)(chosen)
    together = logits(model, batch, attention)
    lengths = [len(block["input_ids"]) for block in chosen]
    found = torch.cat([together[0]] if flat else [together[i, :n] for i, n in enumerate(lengths)])
    alone = [torch.tensor([ids]) for block in chosen for ids, _ in traces(block)]
    singles = [{"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]} for ids in alone]
    expected = torch.cat([logits(model, single, attention)[0] for single in singles])
    assert len(alone) > 6
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_without_isolation_a_trace_sees_the_one_before_it(packed: Packed, model: Path) -> None:
    import torch

    block = packed.blocks[0]
    isolated, original = (Collator(pad=0, isolate=isolate)([block]) for isolate in (True, False))
    first = len(traces(block)[0][0])
    a, b = logits(model, isolated, "sdpa")[0], logits(model, original, "sdpa")[0]
    torch.testing.assert_close(a[:first], b[:first], atol=1e-5, rtol=1e-5)
    assert (a[first:] - b[first:]).abs().mean() > 1e-2


def test_padding_is_ignored_and_alone(packed: Packed) -> None:
    blocks: Sequence[dict[str, list[int]]] = [packed.blocks[0], packed.blocks[len(packed.blocks) - 1]]
    batch = Collator(pad=7)(blocks)
    short = len(blocks[1]["input_ids"])
    assert short < len(blocks[0]["input_ids"])
    assert set(batch["input_ids"][1, short:].tolist()) == {7}
    assert set(batch["labels"][1, short:].tolist()) == {IGNORED}
    assert set(batch["position_ids"][1, short:].tolist()) == {0}


def test_blocks_are_made_once_and_again_when_the_rows_change(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.jsonl"
    write_rows(file, ROWS)
    first, summary = load_packed([str(file)], tokenizer, Packing(block=300), folder=tmp_path)
    assert summary.startswith("40 traces of 40 rows (0 too long, 0 without a trace)")
    with monkeypatch.context() as patch:
        patch.delattr("sctir_kaggle.recipes.train.packing.encode_row")
        again, same = load_packed([str(file)], tokenizer, Packing(block=300), folder=tmp_path)
    assert (again.blocks[:], same) == (first.blocks[:], summary)
    write_rows(file, ROWS[:20])
    assert load_packed([str(file)], tokenizer, Packing(block=300), folder=tmp_path)[1].startswith("20 traces of 20")


def test_a_data_set_of_the_hub_is_rows_too(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """A folder with a copy of one: the library loads it in the same way."""
    copy = tmp_path / "copy"
    write_rows(copy / "train.jsonl", [{name: item[name] for name in ("problem", "messages")} for item in ROWS])
    assert load_packed([str(copy)], tokenizer, Packing(), folder=tmp_path / "out")[0].counts["traces"] == 40
    with pytest.raises(UserError, match=r"cannot load .*/none: .*; give a file of rows"):
        load_packed([str(tmp_path / "none")], tokenizer, Packing(), folder=tmp_path / "out")


def test_the_segments_of_a_row_are_its_text(tokenizer: PreTrainedTokenizerFast) -> None:
    for item in ROWS:
        assert "".join(segment.text for segment in segments_of(item)[1:]) == item["messages"][1]["content"]
