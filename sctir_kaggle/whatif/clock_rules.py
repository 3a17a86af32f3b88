"""Clocks by name, as `sctir what-if --clock` takes them: ours with its settings, none, equal shares, and published ones."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass

from sctir_kaggle.budget import check_clamps
from sctir_kaggle.opening import RESERVE
from sctir_kaggle.options import seconds
from sctir_kaggle.types import UserError
from sctir_kaggle.whatif.clocks import Banked, Clamped, Clock, Equal, Shares, Unlimited

NAMES = ("none", "equal", "bank", "aimo3", "nemo")

DEFAULTS = {"cap": 3.0, "draw": 0.5, "floor": 0.0, "high": None}
"""Of `Budget`."""

PUBLISHED_SHARE = 18_000 / 50
"""Seconds: an equal share of the five hours for 50 problems that the published clocks were made for."""


@dataclass(frozen=True, slots=True)
class ClockRule:
    """A clock by name. `bank` is `Budget`, with what `clamps` say instead of the record's settings.

    `none` waits for all, `equal` gives every problem the same, `aimo3` (`Clamped`) and `nemo` (`Banked`) are published
    clocks, which keep nothing back for cancelled candidates: their seconds are taken as parts of an equal share, so that
    with 5 h and 50 problems they are those published.
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
        """As it is typed."""
        return ":".join([self.name, *(f"{name}={value:g}" for name, value in self.clamps)])

    def clock(
        self, budget: float, problems: int, grace: float, *, recorded: Mapping[str, float] | None = None
    ) -> Clock:
        """For so many seconds and problems; cancelled candidates may take `grace` seconds after each deadline.

        A `bank` without settings of its own has those of the record.
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
