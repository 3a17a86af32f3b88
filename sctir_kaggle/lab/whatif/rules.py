"""Rules under which a recorded run is resimulated: one set of them, and the product of several values of each rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.settings import ANSWERS, RANGE
from sctir_kaggle.types import Answer, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A solver's config and a clock. Without a clock each problem has the time that it had when it was recorded."""

    config: SolverConfig

    dialect: Dialect = NUMINA
    """The record's dialect: another one would have other texts."""

    clamps: tuple[tuple[str, float], ...] = ()
    """The record's `cap`, `draw`, `floor` and `high`, for a `Budget`."""

    budget: float | None = None
    """Seconds for all problems of a run, in the order of the record."""

    problem_seconds: float | None = None
    """Seconds for each problem."""

    references: int | None = None
    """The modulus by which references are reduced, as a competition with that modulus would; None leaves them."""

    @property
    def full(self) -> Rules:
        """The same vote over all candidates: no stop rule, and no deadline but the record's."""
        return replace(self, config=replace(self.config, stop="none"), budget=None, problem_seconds=None)

    def reference(self, recorded: Answer | None) -> Answer | None:
        """The right answer under these rules, from the recorded one."""
        return recorded % self.references if isinstance(recorded, int) and self.references is not None else recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values of each rule to combine; an empty sequence leaves the rule as it was recorded.

    `answers` are names in `ANSWERS`, `stops` and `votes` values of `SolverConfig`, budgets and problem seconds in seconds.
    """

    candidates: Sequence[int] = ()
    turns: Sequence[int] = ()
    stops: Sequence[str] = ()
    deltas: Sequence[float] = ()
    votes: Sequence[str] = ()
    answers: Sequence[str] = ()
    moduli: Sequence[int | None] = ()
    budgets: Sequence[float] = ()
    problem_seconds: Sequence[float] = ()


def rule_sets(
    recorded: SolverConfig,
    choices: Choices,
    *,
    dialect: Dialect = NUMINA,
    clamps: tuple[tuple[str, float], ...] = (),
) -> tuple[list[Rules], list[str]]:
    """All valid combinations in the given order, and for each invalid one the reason.

    Raises `UserError` on rules that no record can answer, on a value that is invalid by itself, and where no combination is
    valid.
    """
    _refuse(recorded, choices)
    made, impossible = list[Rules](), list[str]()
    for config, fields_ in _combinations(recorded, choices):
        try:
            made.append(Rules(config=replace(recorded, **config), dialect=dialect, clamps=clamps, **fields_))
        except UserError as error:
            impossible.append(str(error))
    if not made:
        raise UserError(impossible[0])
    return list(dict.fromkeys(made)), impossible


def config_of(header: Mapping[str, Any]) -> SolverConfig:
    """The config in a journal's header; fields unknown to the version that wrote it have their defaults.

    Raises `UserError` where the header has none, or one of a newer version.
    """
    recorded = header.get("config")
    if not recorded:
        raise UserError("the journal's header has no config, so its run cannot be resimulated; record a new one")
    if unknown := set(recorded) - {field.name for field in fields(SolverConfig)}:
        raise UserError(
            f"the journal's config has {', '.join(sorted(unknown))}, unknown to this version; use a newer one"
        )
    return SolverConfig(**recorded)


def _combinations(recorded: SolverConfig, choices: Choices) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """For each combination the changed fields of the config, and the other fields of its `Rules`."""
    clocks: list[dict[str, float]] = [{"budget": seconds} for seconds in choices.budgets]
    clocks += [{"problem_seconds": seconds} for seconds in choices.problem_seconds]
    for changes, vote, clock in product(_configs(recorded, choices), choices.votes or [recorded.vote], clocks or [{}]):
        modulus = changes.get("modulus", recorded.modulus)
        references = modulus if modulus != recorded.modulus else None
        yield {**changes, "vote": vote}, {"references": references, **clock}


def _configs(recorded: SolverConfig, choices: Choices) -> Iterator[dict[str, Any]]:
    for read, candidates, turns, stop in product(
        _readings(choices),
        choices.candidates or [recorded.candidates],
        choices.turns or [recorded.turns],
        choices.stops or [recorded.stop],
    ):
        for delta in choices.deltas if stop == "beta" and choices.deltas else [recorded.stop_delta]:
            yield {**read, "candidates": candidates, "turns": turns, "stop": stop, "stop_delta": delta}


def _readings(choices: Choices) -> list[dict[str, Any]]:
    """Every way to read answers: the range, then the modulus."""
    kinds = [ANSWERS[name] for name in choices.answers]
    ranges = [{name: getattr(kind, name) for name in RANGE} for kind in kinds]
    moduli: list[dict[str, Any]] = [{"modulus": modulus} for modulus in choices.moduli]
    return [{**range_, **modulus} for range_ in ranges or [{}] for modulus in moduli or [{}]]


def _refuse(recorded: SolverConfig, choices: Choices) -> None:
    """Raise `UserError` on rules that would need text that was never sampled, and on invalid values."""
    if choices.deltas and not ("beta" in choices.stops or recorded.stop == "beta"):
        raise UserError("--delta is the risk of --stop beta; add that")
    for delta in choices.deltas:
        replace(recorded, stop_delta=delta)
    for candidates in choices.candidates:
        _refuse_candidates(recorded, candidates)
    for turns in choices.turns:
        _refuse_turns(recorded, turns)


def _refuse_candidates(recorded: SolverConfig, candidates: int) -> None:
    if candidates > recorded.candidates:
        raise UserError(
            f"-n {candidates}: the record has {recorded.candidates} candidates; record more, or ask for fewer"
        )
    if candidates < recorded.candidates and recorded.extra_candidates:
        raise UserError(f"-n {candidates}: the record calls extra candidates after {recorded.candidates}; leave -n out")


def _refuse_turns(recorded: SolverConfig, turns: int) -> None:
    if turns > recorded.turns:
        raise UserError(f"-m {turns}: the record has {recorded.turns} turns; record more, or ask for fewer")
    if turns == 0 and recorded.turns:
        raise UserError(
            "-m 0 lets the model write on where code would run, which is not in the record; ask for 1 or more"
        )
