"""Where a long trace is split, and what each piece holds: on masks alone, so without a tokenizer."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from sctir_kaggle.recipes.train.splitting import Piece, split


def mask(head: int, *turns: tuple[int, int]) -> list[bool]:
    """A problem of `head` tokens, then turns of tokens that were written and tokens of their output."""
    return [False] * head + [flag for written, output in turns for flag in [True] * written + [False] * output]


def whole(length: int) -> Piece:
    return Piece(head=0, start=0, new=0, end=length)


def test_a_trace_that_fits_is_not_split() -> None:
    trace = mask(5, (10, 3), (4, 0))
    assert split(trace, trace, 22) == [whole(22)]


def test_a_piece_is_the_problem_the_latest_whole_turns_and_its_own() -> None:
    trace = mask(10, (10, 5), (10, 5), (10, 5), (10, 5), (10, 0))
    first, second = split(trace, trace, 60)
    assert first == whole(50)  # three turns; the last one's output is the next piece's context
    assert second == Piece(head=10, start=40, new=55, end=80)  # one turn of context: two are more than half of the room


def test_the_context_takes_at_most_half_of_the_room_beside_the_problem() -> None:
    trace = mask(10, *[(3, 2)] * 40)
    pieces = split(trace, trace, 60)
    assert {piece.new - piece.start for piece in pieces[1:]} == {25}
    assert [piece.end - piece.new for piece in pieces[1:-1]] == [23] * (len(pieces) - 2)


def test_the_last_turn_is_context_even_if_it_takes_more_than_half() -> None:
    trace = mask(10, (30, 5), (15, 0))
    assert split(trace, trace, 60) == [whole(60)]
    assert split(trace, trace, 59) == [whole(40), Piece(10, 11, 45, 60)]  # and its end where not all of it fits
    longer = mask(10, (20, 5), (30, 5), (10, 0))
    assert split(longer, longer, 60)[-1] == Piece(head=10, start=35, new=70, end=80)


def test_a_turn_that_does_not_fit_ends_the_pieces() -> None:
    trace = mask(10, (10, 5), (51, 5), (10, 0))
    assert split(trace, trace, 60) == [whole(20)]
    first = mask(10, (51, 5), (10, 0))
    assert split(first, first, 60) == []


def test_a_chain_of_thought_that_is_too_long_has_no_piece() -> None:
    trace = mask(10, (51, 0))
    assert split(trace, trace, 60) == []
    assert split([False] * 61, [False] * 61, 60) == []


@pytest.mark.parametrize("learn", ["written", "all"])
def test_every_token_is_learned_once_and_has_what_came_directly_before_it(learn: str) -> None:
    rng = Random(learn)
    seen = 0
    for _ in range(2000):
        turns = [(rng.randint(1, 40), rng.randint(1, 20)) for _ in range(rng.randint(1, 12))]
        trace = mask(rng.randint(1, 20), *turns, (rng.randint(1, 20), 0))
        learned = trace if learn == "written" else [True] * len(trace)
        block = rng.randint(40, 120)
        pieces = split(trace, learned, block)
        times = [0] * len(trace)
        for piece in pieces:
            places, flags = piece.of(range(len(trace))), piece.mask(learned)
            assert len(places) == len(flags) <= block
            for place, flag in zip(places, flags, strict=True):
                times[place] += flag
            if piece.head:
                assert places[: piece.head] == list(range(trace.index(True)))
                assert trace[piece.new]
                assert not trace[piece.new - 1]  # a turn begins
                assert piece.start < piece.new or piece.head + piece.end - piece.new == block
                seen += 1
        assert all(one.new <= two.start or one.end >= two.start or learn == "written" for one, two in pairwise(pieces))
        end = pieces[-1].end if pieces else 0
        assert times == [int(flag) for flag in learned[:end]] + [0] * (len(trace) - end)
        if end < len(trace):  # only where a turn, with the problem, is longer than a block
            begin = next(place for place in range(end, len(trace)) if trace[place])
            rest = trace[begin:]
            length = rest.index(False) if learn == "written" and False in rest else _turn(rest)
            assert trace.index(True) + length > block
    assert seen > 1000


def _turn(rest: list[bool]) -> int:
    """The length of a turn with its output."""
    output = rest.index(False) if False in rest else len(rest)
    return next((place for place in range(output, len(rest)) if rest[place]), len(rest))
