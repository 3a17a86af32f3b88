"""Clocks for many simulated runs at once: our `Budget` and those that it is compared with, two of them as published.

`Shares` is the arithmetic of `sctir_kaggle.budget.Budget` on arrays; a property-based test holds it equal to the last bit.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sctir_kaggle.budget import check_clamps
from sctir_kaggle.options import seconds
from sctir_kaggle.runtime import RESERVE
from sctir_kaggle.types import UserError

Floats = npt.NDArray[np.float64]


class Limits(NamedTuple):
    """Deadlines of one problem, absolute seconds on each run's clock: (K,) for K runs."""

    soft: Floats
    hard: Floats


class Clock(Protocol):
    """Gives each problem its deadlines; `now` (K,) is the time in each run. Called once at the start of every problem."""

    def next_deadlines(self, now: Floats) -> Limits: ...


class Unlimited:
    """No deadlines: every problem runs until its candidates have ended or its vote is decided, as NuminaMath's notebook."""

    def next_deadlines(self, now: Floats) -> Limits:
        """Infinite."""
        never = np.full_like(now, np.inf)
        return Limits(never, never)


@dataclass(frozen=True, slots=True)
class Equal:
    """`share` seconds for every problem, whatever the others leave."""

    share: float

    def next_deadlines(self, now: Floats) -> Limits:
        """Soft and hard deadline alike, `share` seconds from now."""
        return Limits(now + self.share, now + self.share)


class Shares:
    """`Budget` in every run, with the same arguments, on clocks that start at 0."""

    def __init__(
        self,
        seconds: float,
        problems: int,
        *,
        reserve: float,
        grace: float,
        cap: float = 3.0,
        draw: float = 0.5,
        floor: float = 0.0,
        high: float | None = None,
    ) -> None:
        check_clamps(cap=cap, draw=draw, floor=floor, high=high)
        self._end = seconds - reserve
        self._problems = problems
        self._grace = grace
        self._cap = cap
        self._draw = draw
        self._floor = floor
        self._high = np.inf if high is None else high
        self._base: Floats | None = None

    def next_deadlines(self, now: Floats) -> Limits:
        """Soft: an equal share of what is left. Hard: with a part of the bank. Formulas and names as in `Budget`."""
        if self._problems < 1:
            raise ValueError("every planned problem has had its deadline")
        left = np.maximum(0.0, self._end - now - self._grace * self._problems)
        share = left / self._problems
        base = self._base = share if self._base is None else self._base  # the first problem's share
        bank = np.maximum(0.0, left - base * self._problems)
        longest = np.maximum(share, np.minimum(self._cap * base, base + self._draw * bank))
        self._problems -= 1
        soft = np.minimum(np.minimum(np.maximum(share, self._floor), self._high), left)
        return Limits(now + soft, now + np.maximum(soft, np.minimum(np.minimum(longest, self._high), left)))


class Clamped:
    """The clock of public AIMO-3 notebooks: what is left beyond `base` seconds for each later problem, clamped to [base, high].

    As in github.com/AndreasBis/AIMO3-Solution (code/inference/gpt-oss-120b-with-tools-mk-iv/RELEASES.md, version 1, 42 of
    50): base 240 s, high 960 s, and a limit of 17,400 of 18,000 s. Others there and elsewhere have 300 s and 900 s. It gives
    `base` even where no time is left.
    """

    def __init__(self, limit: float, problems: int, *, base: float, high: float) -> None:
        self._limit = limit
        self._problems = problems
        self._base = base
        self._high = high

    def next_deadlines(self, now: Floats) -> Limits:
        """Soft and hard deadline alike: contested votes get no more."""
        self._problems -= 1
        spare = self._limit - now - self._base * max(0, self._problems)
        end = now + np.maximum(np.minimum(spare, self._high), self._base)
        return Limits(end, end)


class Banked:
    """The clock of NemoSkills in AIMO-2: `base` seconds, and up to `draw` more that earlier problems left over.

    arXiv:2504.16891, "Time Management": 350 s a question, unused time into a shared buffer, and up to 210 s from it.
    """

    def __init__(self, *, base: float, draw: float) -> None:
        self._base = base
        self._draw = draw
        self._given = 0
        self._start: Floats | None = None

    def next_deadlines(self, now: Floats) -> Limits:
        """Soft and hard deadline alike. The buffer is the sum of the bases given so far, less the time that has passed."""
        start = self._start = now if self._start is None else self._start
        bank = np.maximum(0.0, start + self._base * self._given - now)
        self._given += 1
        end = now + self._base + np.minimum(self._draw, bank)
        return Limits(end, end)


NAMES = ("none", "equal", "bank", "aimo3", "nemo")

DEFAULTS = {"cap": 3.0, "draw": 0.5, "floor": 0.0, "high": None}
"""Settings of `Budget` and their defaults there."""

PUBLISHED_SHARE = 18_000 / 50
"""Seconds: an equal share of the five hours for 50 problems that the published clocks were made for."""


@dataclass(frozen=True, slots=True)
class ClockRule:
    """A clock by name, one of `NAMES`.

    `none` has no deadlines, `equal` gives every problem the same, `bank` is our `Budget`, with `clamps` in place of the
    record's settings. `aimo3` (`Clamped`) and `nemo` (`Banked`) are published clocks, which reserve nothing for cancelled
    candidates; their seconds scale with the equal share, so that with 5 h for 50 problems they are those published.
    """

    name: str
    clamps: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ClockRule:
        """One of `NAMES`, or `bank` with settings: `bank:cap=2:floor=60:high=15m`. Raises `UserError`."""
        name, *settings = text.split(":")
        if name not in NAMES or (settings and name != "bank"):
            raise UserError(
                f"--clock {text}: choose {', '.join(NAMES)}, or bank with settings: bank:cap=2:draw=1:floor=60:high=15m"
            )
        clamps = dict(_clamp(text, setting) for setting in settings)
        check_clamps(**{**DEFAULTS, **clamps})  # type: ignore[arg-type]
        return cls(name, tuple(clamps.items()))

    @property
    def label(self) -> str:
        """As it is typed: `bank:cap=2:floor=60`."""
        return ":".join([self.name, *(f"{name}={value:g}" for name, value in self.clamps)])

    def clock(
        self, budget: float, problems: int, grace: float, *, recorded: Mapping[str, float] | None = None
    ) -> Clock:
        """The clock of a run with `budget` seconds for `problems`.

        Cancelled candidates may take `grace` seconds after each deadline. A `bank` without settings of its own has those of
        the record, `recorded`.
        """
        if self.name == "none":
            return Unlimited()
        if self.name == "equal":
            return Equal(max(0.0, budget * (1 - RESERVE) / problems - grace))
        scale = budget / problems / PUBLISHED_SHARE
        if self.name == "aimo3":
            return Clamped(budget * 17_400 / 18_000, problems, base=240 * scale, high=960 * scale)
        if self.name == "nemo":
            return Banked(base=350 * scale, draw=210 * scale)
        return Shares(budget, problems, reserve=RESERVE * budget, grace=grace, **(dict(self.clamps) or recorded or {}))


def _clamp(text: str, setting: str) -> tuple[str, float]:
    """Name and value of a setting of `bank`."""
    name, _, value = setting.partition("=")
    if name not in DEFAULTS:
        raise UserError(f"--clock {text}: {setting} is no setting of bank; choose {', '.join(DEFAULTS)}")
    try:
        return name, float(value) if name in ("cap", "draw") or value == "0" else seconds(value)
    except (ValueError, ArgumentTypeError):
        example = "cap=2" if name == "cap" else "draw=1" if name == "draw" else f"{name}=60 or {name}=5m"
        raise UserError(f"--clock {text}: {value!r} is no value of {name}; write {example}") from None
