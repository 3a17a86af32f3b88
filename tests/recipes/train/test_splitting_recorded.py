"""Long recorded traces, by DeepSeek's tokenizer: the pieces teach the trace, each token once, up to where they end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="a tokenizer needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from benchmarks.packing import recorded
from sctir_kaggle.recipes.rendering import encode_row
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from sctir_kaggle.recipes.train.splitting import split
from tests.real_tokenizers import real

BLOCK = 1024
"""Tokens of a block in stage 2."""


@pytest.mark.tokenizers
@pytest.mark.shared
def test_each_written_token_of_a_long_trace_is_learned_once_after_what_came_directly_before(shared_data: Path) -> None:
    tokenizer = load_transformers_tokenizer(real("deepseek"))
    counts: Counter[str] = Counter()
    for row in recorded(shared_data / "traces" / "mathcoder_math.jsonl.gz"):
        ids, written = encode_row(row, tokenizer)
        pieces = split(written, written, BLOCK)
        end = pieces[-1].end if pieces else 0
        counts.update(written=sum(written), lost=sum(written[end:]), long=len(ids) > BLOCK, pieces=len(pieces))
        if len(ids) <= BLOCK:
            continue
        counts["cut short"] += bool(pieces) and any(written[end:])
        times = [0] * len(ids)
        for piece in pieces:
            places, learned = piece.of(range(len(ids))), piece.mask(written)
            assert len(places) == len(learned) <= BLOCK
            assert piece.of(ids) == [ids[place] for place in places]
            assert not learned[0]  # nothing predicts a trace's first token
            for number, place in enumerate(places):
                times[place] += learned[number]
                assert not learned[number] or places[number - 1] == place - 1
        assert times == [int(flag) for flag in written[:end]] + [0] * (len(ids) - end)
        assert end == len(ids) or not (written[end - 1] and written[end])  # it ends with a turn, never inside one
    assert counts["long"] > 50
    assert 0 < counts["lost"] / counts["written"] < 0.02  # of the README's 1.8 %
