"""What a run is played again under: one set of rules, and the sets that several values of a rule make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Literal

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.options import ANSWERS
from sctir_kaggle.types import UserError
from sctir_kaggle.whatif.votes import PLAIN, VoteRule

Stop = Literal["none", "exact", "beta"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A config, a vote and a clock. Both clocks None: each problem has the time that it had when it was recorded."""

    config: SolverConfig

    vote: VoteRule = PLAIN

    budget: float | None = None
    """Seconds for all problems of a run, in the order of the record."""

    problem_seconds: float | None = None
    """Seconds for each problem."""

    references: int | None = None
    """The modulus by which references are reduced, as a competition with that modulus would; None leaves them."""

    def __post_init__(self) -> None:
        if self.config.stop == "beta" and self.vote.name != "plain":
            raise UserError(f"--stop beta knows the risk of plain votes only, not of {self.vote.label}; choose exact")
        if self.config.extra_candidates and self.vote.name != "plain":
            raise UserError(f"extra candidates are called by the risk of plain votes, not of {self.vote.label}")

    @property
    def full(self) -> Rules:
        """The same vote of all candidates, stopped by nothing but what stopped the record."""
        return replace(self, config=replace(self.config, stop="none"), budget=None, problem_seconds=None)

    def reference(self, recorded: int | None) -> int | None:
        """What a right answer is under these rules."""
        return recorded if recorded is None or self.references is None else recorded % self.references

    @property
    def untimed(self) -> Rules:
        """The same without a clock of its own."""
        return replace(self, budget=None, problem_seconds=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values of each rule; an empty one leaves it as it was recorded. `answers` are names of `ANSWERS`."""

    candidates: Sequence[int] = ()
    turns: Sequence[int] = ()
    stops: Sequence[Stop] = ()
    deltas: Sequence[float] = ()
    votes: Sequence[VoteRule] = ()
    answers: Sequence[str] = ()
    moduli: Sequence[int | None] = ()
    budgets: Sequence[float] = ()
    problem_seconds: Sequence[float] = ()


def rule_sets(recorded: SolverConfig, choices: Choices) -> tuple[list[Rules], list[str]]:
    """Every combination, in the order in which they were given, and why some cannot be, a line for each of them.

    Raises `UserError` on what no record can answer, and where no combination is left.
    """
    if choices.deltas and not ("beta" in choices.stops or recorded.stop == "beta"):
        raise UserError("--delta is the risk of --stop beta; add that")
    made, impossible = list[Rules](), list[str]()
    for fields_ in _combinations(recorded, choices):
        try:
            made.append(Rules(**fields_))
        except UserError as error:
            impossible.append(str(error))
    if not made:
        raise UserError(impossible[0])
    return list(dict.fromkeys(made)), impossible


def config_of(header: Mapping[str, Any]) -> SolverConfig:
    """The config that a journal's header holds; fields that its version did not know have their defaults."""
    recorded = header.get("config")
    if not recorded:
        raise UserError("the journal's header has no config, so that its run cannot be played again; record a new one")
    if unknown := set(recorded) - {field.name for field in fields(SolverConfig)}:
        raise UserError(
            f"the journal's config has {', '.join(sorted(unknown))}, unknown to this version; use a newer one"
        )
    return SolverConfig(**recorded)


def _combinations(recorded: SolverConfig, choices: Choices) -> Iterator[dict[str, Any]]:
    """The fields of each."""
    clocks: list[dict[str, float]] = [{"budget": seconds} for seconds in choices.budgets]
    clocks += [{"problem_seconds": seconds} for seconds in choices.problem_seconds]
    for config, vote, clock in product(_configs(recorded, choices), choices.votes or [PLAIN], clocks or [{}]):
        references = config.modulus if config.modulus != recorded.modulus else None
        yield {"config": config, "vote": vote, "references": references, **clock}


def _configs(recorded: SolverConfig, choices: Choices) -> Iterator[SolverConfig]:
    for read, candidates, turns, stop in product(
        _readings(recorded, choices),
        choices.candidates or [recorded.candidates],
        choices.turns or [recorded.turns],
        choices.stops or [recorded.stop],
    ):
        _refuse(recorded, candidates, turns)
        for delta in choices.deltas if stop == "beta" and choices.deltas else [recorded.stop_delta]:
            yield replace(read, candidates=candidates, turns=turns, stop=stop, stop_delta=delta)


def _readings(recorded: SolverConfig, choices: Choices) -> list[SolverConfig]:
    """How answers are read: their range, then their modulus."""
    ranges = [recorded] if not choices.answers else []
    for name in choices.answers:
        kind = ANSWERS[name]
        ranges.append(replace(recorded, modulus=kind.modulus, lowest=kind.lowest, highest=kind.highest))
    if not choices.moduli:
        return ranges
    return [replace(config, modulus=modulus) for config in ranges for modulus in choices.moduli]


def _refuse(recorded: SolverConfig, candidates: int, turns: int) -> None:
    """What would need text that nobody sampled."""
    if candidates > recorded.candidates:
        raise UserError(
            f"-n {candidates}: the record has {recorded.candidates} candidates; record more, or ask for fewer"
        )
    if candidates < recorded.candidates and recorded.extra_candidates:
        raise UserError(f"-n {candidates}: the record calls extra candidates after {recorded.candidates}; leave -n out")
    if turns > recorded.turns:
        raise UserError(f"-m {turns}: the record has {recorded.turns} turns; record more, or ask for fewer")
    if turns == 0 and recorded.turns:
        raise UserError(
            "-m 0 lets the model write on where code would run, which is not in the record; ask for 1 or more"
        )
