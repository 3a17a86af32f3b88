"""Blocks on token level: what is learned, what is whole, and that no trace of a block sees another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.packing import recorded
from sctir_kaggle.recipes.rendering import encode_row, segments_of
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.tokenizer import encoder_of
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


def multi_turn(number: int, turns: int) -> Row:
    """A trace of `turns` blocks of code, with about 25 tokens a turn."""
    problem = f"What is the sum of the first {turns} multiples of {number}?"
    steps = (
        f"We add number {n}.\n```python\nprint({number} * {n})\n```\n```output\n{number * n}\n```\n"
        for n in range(turns)
    )
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": "".join(steps) + "Done."}]
    return {"id": f"long-{number}", "problem": problem, "answer": 1, "messages": messages}


LONG = [multi_turn(number, turns) for number, turns in ((7, 13), (31, 24), (123, 16))]


@pytest.fixture(scope="module")
def split(tokenizer: PreTrainedTokenizerFast) -> Packed:
    """Long traces, in blocks with short ones."""
    return pack([*ROWS, *LONG], tokenizer, Packing(block=300))


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
    original = pack(ROWS, tokenizer, Packing(block=300, how="wrapped", learn="all"))
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


def pieces_of(blocks: Any, header: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The traces of the blocks that begin with this problem, those first that hold earlier turns."""
    return [found for block in blocks for found in traces(block) if found[0][: len(header)] == tuple(header)]


def check_pieces(item: Row, blocks: Any, tokenizer: PreTrainedTokenizerFast, block: int) -> int:
    """Check the pieces of a trace against its texts; return the number of pieces."""
    header, *parts = segments_of(item)
    begin = encoder_of(tokenizer).encode((header.text,))
    found = pieces_of(blocks, begin)
    ids, written = encode_row(item, tokenizer)
    body, flags = ids[len(begin) :], written[len(begin) :]
    turns = [place for place, flag in enumerate(flags) if flag and not (place and flags[place - 1])]
    times = Counter[int]()
    for tokens, labels in found:
        assert len(tokens) <= block
        assert set(labels[: len(begin)]) == {IGNORED}
        rest, learned = tokens[len(begin) :], labels[len(begin) :]
        new = [n for n, label in enumerate(learned) if label != IGNORED]
        # A part of the trace as it was, of which nothing is learned yet: a trace may repeat itself.
        at = next(n for n in range(len(body)) if body[n : n + len(rest)] == rest and not times[n + new[0]])
        places = [at + n for n in new]
        assert places[0] in turns
        assert at < places[0] or at == 0  # what came before it, or nothing did
        times.update(places)
        assert [learned[n] for n in new] == [body[place] for place in places]
    assert times == Counter(
        place for place, flag in enumerate(flags) if flag
    )  # what the model wrote, once; outputs never
    assert "".join(part.text for part in parts) == item["messages"][1]["content"].strip()
    return len(found)


def test_a_long_trace_is_split_and_each_written_token_is_learned_once_after_what_came_before(
    split: Packed, tokenizer: PreTrainedTokenizerFast
) -> None:
    counted = [check_pieces(item, split.blocks, tokenizer, 300) for item in LONG]
    assert min(counted) > 1
    whole = [encode_row(item, tokenizer) for item in [*ROWS, *LONG]]
    assert {name: split.counts[name] for name in ("traces", "split", "pieces", "cut short", "too long", "dropped")} == {
        "traces": 43,
        "split": 3,
        "pieces": sum(counted),
        "cut short": 0,
        "too long": 0,
        "dropped": 0,
    }
    assert split.counts["learned"] == sum(sum(learned) for _, learned in whole)
    labels = [label for block in split.blocks for label in block["labels"]]
    assert split.counts["learned"] == sum(label != IGNORED for label in labels)
    assert split.counts["tokens"] == len(labels)


def test_the_pieces_hold_the_whole_text_of_the_trace(split: Packed, tokenizer: PreTrainedTokenizerFast) -> None:
    """Joined where they overlap, and decoded: outputs that are nobody's to learn stand in the next piece."""
    for item in LONG:
        header = encoder_of(tokenizer).encode((segments_of(item)[0].text,))
        solution = item["messages"][1]["content"]
        covered = [False] * len(solution)
        for ids, _ in pieces_of(split.blocks, header):
            text = str(tokenizer.decode(list(ids[len(header) :]))).removesuffix("</s>")
            [at] = [match.start() for match in re.finditer(re.escape(text), solution)]
            covered[at : at + len(text)] = [True] * len(text)
        assert all(covered)


def test_with_everything_learned_the_problem_and_outputs_are_learned_once_too(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    packed = pack(LONG, tokenizer, Packing(block=300, learn="all"))
    labels = Counter(label for block in packed.blocks for label in block["labels"] if label != IGNORED)
    assert labels == Counter(token for item in LONG for token in encode_row(item, tokenizer)[0])


def test_a_turn_longer_than_a_block_ends_its_trace_and_the_loss_is_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    first, last = multi_turn(5, 2), " Slowly." * 200
    text = first["messages"][1]["content"] + last
    cut = {**first, "messages": [first["messages"][0], {"role": "assistant", "content": text}]}
    packed = pack([cut], tokenizer, Packing(block=300))
    learned = sum(encode_row(cut, tokenizer)[1])
    assert packed.counts["cut short"] == packed.counts["split"] == 1
    assert 200 < packed.counts["dropped"] == learned - packed.counts["learned"] < learned
    dropped = pack([cut, *ROWS], tokenizer, Packing(block=300, how="whole")).counts
    assert (dropped["too long"], dropped["dropped"], dropped["split"]) == (1, learned, 0)


def test_logits_of_a_piece_among_others_are_those_of_the_piece_alone(split: Packed) -> None:
    """The embedded model's, at the tokens that are learned."""
    import torch

    chosen = [block for block in split.blocks if any(len(ids) > 200 for ids, _ in traces(block))][:2]
    chosen += [block for block in split.blocks if len(traces(block)) > 2][:2]
    together = logits(MODEL, Collator(pad=0)(chosen), "sdpa")
    compared = 0
    for row_, block in zip(together, chosen, strict=True):
        at = 0
        for ids, labels in traces(block):
            alone = {"input_ids": torch.tensor([ids]), "position_ids": torch.arange(len(ids))[None]}
            places = torch.tensor([place for place, label in enumerate(labels) if label != IGNORED]) - 1
            single = logits(MODEL, alone, "sdpa")[0, places]
            torch.testing.assert_close(row_[at + places], single, atol=1e-4, rtol=1e-4)
            compared += len(places)
            at += len(ids)
    assert compared > 400


@pytest.mark.slow
@pytest.mark.shared
def test_the_long_recorded_traces_are_split_with_each_written_token_learned_once(
    shared_data: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """MathCoder's that are longer than stage 2's block, by the embedded tokenizer."""
    rows_ = recorded(shared_data / "traces" / "mathcoder_math.jsonl.gz")
    long = [item for item in rows_ if len(encode_row(item, tokenizer)[0]) > 1024]
    assert len(long) > 200
    whole = 0
    for item in long:
        packing = Packing(block=1024)
        try:
            packed = pack([item], tokenizer, packing)
        except UserError:  # its first turn is too long
            continue
        if not packed.counts["cut short"]:
            assert check_pieces(item, packed.blocks, tokenizer, 1024) == packed.counts["pieces"] > 1
            whole += 1
    assert whole > 150


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
