"""Recorded results resimulated: under their own rules they come out the same, under others as the real run would have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctir_kaggle import SolverConfig, SolveResult, TraceStatus
from sctir_kaggle.lab.whatif.resimulate import Rerun, rerun
from sctir_kaggle.lab.whatif.rules import Rules
from tests.support.whatif_support import RULES, STOPS, VOTES, solved

N = 9

SEEDS = st.integers(0, 10**6)
LIMITS = st.sampled_from([0.0, 0.5, 2.0, 4.0, 8.0, 15.0])
SOME_STOP = st.sampled_from(STOPS)
SOME_RULES = st.sampled_from(RULES)


def again(record: SolveResult, **changes: Any) -> Rerun:
    """Deadlines `soft` and `hard`, all else fields of the config."""
    limits = {name: changes.pop(name) for name in ("soft", "hard") if name in changes}
    rules = Rules(config=SolverConfig(**{"candidates": N, **changes}))
    return rerun(record, rules, first=N, **limits)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(SEEDS, SOME_RULES, st.integers(0, 4))
def test_under_the_recorded_rules_a_result_equals_its_record(seed: int, rules: Any, turns: int) -> None:
    record = solved(seed, candidates=N, turns=turns, **rules)
    new = again(record, turns=turns, **rules)
    assert new.result == record
    assert (new.cut, new.unrecorded, new.unsure) == (0, 0, False)


@settings(max_examples=150, deadline=None)
@given(SEEDS, SOME_STOP, LIMITS, LIMITS, st.sampled_from([0, 4]))
def test_a_record_that_its_deadline_or_extra_candidates_ended_is_repeated_too(
    seed: int, stop: Any, soft: float, further: float, extra: int
) -> None:
    fields = {"stop": stop, "extra_candidates": extra}
    record = solved(seed, candidates=N, soft=soft, hard=soft + further, **fields)
    assert again(record, **fields).result == record


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(SEEDS, SOME_RULES, LIMITS, LIMITS)
def test_a_whole_record_tells_what_any_vote_stop_and_deadline_would_have_given(
    seed: int, rules: Any, soft: float, further: float
) -> None:
    """The model that was recorded, run again for real under the other rules, gives the same votes, answer and order."""
    whole = solved(seed, orderly=True, candidates=N, stop="none")
    real = solved(seed, orderly=True, candidates=N, soft=soft, hard=soft + further, **rules)
    new = again(whole, soft=soft, hard=soft + further, **rules)
    assert new.result.vote == real.vote
    assert (new.result.answer, new.result.stopped, new.result.risk) == (real.answer, real.stopped, real.risk)
    assert [trace.candidate for trace in new.result.traces] == [trace.candidate for trace in real.traces]
    assert new.result.seconds == pytest.approx(real.seconds, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from(VOTES), st.integers(1, N))
def test_the_exact_stop_changes_no_answer_under_any_vote(seed: int, vote: str, candidates: int) -> None:
    whole = solved(seed, candidates=N, stop="none")
    full = again(whole, stop="none", vote=vote, candidates=candidates)
    stopped = again(whole, stop="exact", vote=vote, candidates=candidates)
    assert stopped.result.answer == full.result.answer
    assert stopped.tokens <= full.tokens
    assert stopped.result.seconds <= full.result.seconds + 1e-9


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, N - 1))
def test_fewer_candidates_are_the_first_ones(seed: int, candidates: int) -> None:
    whole = solved(seed, orderly=True, candidates=N, stop="none")
    real = solved(seed, orderly=True, candidates=candidates, stop="none")
    new = again(whole, candidates=candidates, stop="none")
    assert new.result == real


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_fewer_turns_end_candidates_where_they_would_have_ended(seed: int, turns: int) -> None:
    """Without forced answers: those would be in no record of more turns."""
    whole = solved(seed, orderly=True, candidates=N, stop="none", force_answer=False)
    new = again(whole, turns=turns, stop="none", force_answer=False)
    assert new.result == solved(seed, orderly=True, candidates=N, turns=turns, stop="none", force_answer=False)
    assert new.unrecorded == 0


def test_a_forced_answer_that_was_not_recorded_is_silent_and_counted() -> None:
    seen = 0
    for seed in range(30):
        new = again(solved(seed, candidates=N, stop="none"), turns=1, stop="none")
        refused = [trace for trace in new.result.traces if "another prompt" in trace.detail]
        assert len(refused) == new.unrecorded
        assert all((trace.status, trace.answer) == (TraceStatus.FAILED, None) for trace in refused)
        seen += new.unrecorded
    assert seen > 0


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([{"modulus": None, "highest": None}, {"modulus": 2}, {"highest": 2, "modulus": None}]))
def test_another_range_or_modulus_reads_the_recorded_texts_again(seed: int, reading: dict[str, Any]) -> None:
    """Chain of thought: there nothing that a candidate does next hangs on its answer."""
    whole = solved(seed, candidates=N, stop="none", turns=0)
    new = again(whole, stop="none", turns=0, **reading)
    assert new.result == solved(seed, candidates=N, stop="none", turns=0, **reading)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from(["exact", "beta", "k=3", "margin=2"]), st.sampled_from(["plain", "small", "confirmed"]))
def test_what_a_cut_record_cannot_tell_is_unsure_and_what_it_tells_is_so(seed: int, stop: Any, vote: str) -> None:
    """A record that a stop rule cut, asked for the full vote: sure answers are those of the whole record."""
    cut = solved(seed, candidates=N, stop=stop)
    new = again(cut, stop="none", vote=vote)
    full = again(solved(seed, candidates=N, stop="none"), stop="none", vote=vote)
    assert new.cut == sum(trace.status is TraceStatus.CANCELLED for trace in cut.traces)
    assert new.unsure or new.result.answer == full.result.answer
    if stop == "exact" and vote == "plain":
        assert not new.unsure


def test_a_turn_that_is_cut_short_counts_its_share_of_tokens() -> None:
    shares = []
    for seed in range(40):
        whole = solved(seed, candidates=N, stop="none")
        full, stopped = again(whole, stop="none"), again(whole, stop="exact")
        turns = sum(turn.completion.tokens for trace in stopped.result.traces for turn in trace.turns)
        assert turns <= stopped.tokens <= full.tokens
        assert full.tokens == sum(turn.completion.tokens for trace in whole.traces for turn in trace.turns)
        shares.append(stopped.tokens - turns)
    assert sum(shares) > 0


def test_an_hour_of_waiting_takes_no_time() -> None:
    record = solved(3, candidates=N, stop="none")
    slow = replace(record, traces=tuple(replace(trace, seconds=1000 * trace.seconds) for trace in record.traces))
    assert again(slow, stop="none").result == record
    assert again(slow, stop="none").result.seconds > 3600
