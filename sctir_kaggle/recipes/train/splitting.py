"""Split a trace that is longer than a block at its turns' ends, so that each token is learned once and in its context.

A turn is what the model writes up to where it stops, and the output that follows. Every piece begins with the problem. From
the second piece on, the context follows: what came directly before, not learned again. Then come the piece's own turns.
The context is the latest whole turns that take at most half of the room beside the problem, but always the last turn where
it fits beside the next one, and its end where it does not. So a token sees the problem and, as far as the block allows, at
least the turn before its own; what it lacks of the prompt at inference is earlier turns. An output after which nothing is
learned stands in the next piece's context only.

TRL's "bfd_split" is not that: it cuts after `seq_length` tokens, in the middle of a turn, and what follows has neither the
problem nor any turn before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

CONTEXT = 0.5
"""The share of a block's room, beside the problem, that earlier turns may take in a piece."""


class Piece(NamedTuple):
    """A piece of a trace: its first `head` tokens, the problem, then those from `start` to `end`; new from `new` on."""

    head: int
    start: int
    new: int
    end: int

    @classmethod
    def whole(cls, length: int) -> Piece:
        """All of a trace, or its first `length` tokens."""
        return cls(0, 0, 0, length)

    def of(self, tokens: Sequence[int]) -> list[int]:
        """This piece of a trace's tokens."""
        return [*tokens[: self.head], *tokens[self.start : self.end]]

    def mask(self, flags: Sequence[bool]) -> list[bool]:
        """This piece of a trace's mask, false for the tokens that an earlier piece has learned."""
        return [False] * (self.head + self.new - self.start) + list(flags[self.new : self.end])


def split(written: Sequence[bool], learned: Sequence[bool], block: int) -> list[Piece]:
    """Split a trace into pieces of at most `block` tokens, in order; a trace that fits is one.

    `written` says of each token whether the model wrote it, `learned` whether it is learned. Where a turn alone does not
    fit beside the problem, the pieces end before it: later turns would lack it. A trace without turns that is too long has no
    piece.
    """
    if len(written) <= block:
        return [Piece.whole(len(written))]
    turns = _turns(written)
    head = turns[0][0] if turns else 0
    ends = [max((place + 1 for place in range(begin, end) if learned[place]), default=begin) for begin, end in turns]
    pieces: list[Piece] = []
    at = 0
    while at < len(turns) and head + ends[at] - turns[at][0] <= block:
        start = _context(turns, at, room=block - head, taken=ends[at] - turns[at][0])
        last = at
        while last + 1 < len(turns) and head + ends[last + 1] - start <= block:
            last += 1
        pieces.append(Piece(head, start, turns[at][0], ends[last]) if at else Piece.whole(ends[last]))
        at = last + 1
    return pieces


def _turns(written: Sequence[bool]) -> list[tuple[int, int]]:
    """Begin and end of each turn."""
    begins = [place for place, flag in enumerate(written) if flag and not (place and written[place - 1])]
    return list(pairwise([*begins, len(written)]))


def _context(turns: Sequence[tuple[int, int]], at: int, *, room: int, taken: int) -> int:
    """Where the context of turn `at` begins, which takes `taken` of `room` tokens itself."""
    begin = turns[at][0]
    if at == 0:
        return begin
    start = max(turns[at - 1][0], begin - (room - taken))
    for earlier, _ in reversed(turns[: at - 1]):
        if begin - earlier > min(CONTEXT * room, room - taken):
            break
        start = earlier
    return start
