"""Attempts at exercises: what is kept of them in memory, and their journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sctir_kaggle.journal import Journal, whole_lines
from sctir_kaggle.jsonlines import Json, LineWriter
from sctir_kaggle.recipes.data.tir.checks import Checks, checks_of
from sctir_kaggle.recipes.data.tir.solution import code_key, text_key
from sctir_kaggle.types import SolveResult, Trace, TraceStatus, Turn, UserError


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts as the server reported them; `cached` is part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.cached + other.cached, self.completion + other.completion)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt in memory: its trace without texts, and its tokens. The seed identifies the round.

    `checks` are those of its code; `text` and `code` are hashes, equal in duplicates (`solution`).
    """

    problem_id: str
    seed: int
    trace: Trace
    tokens: Tokens
    checks: Checks = field(default_factory=Checks)
    text: bytes = b""
    code: bytes = b""

    @classmethod
    def of(cls, result: SolveResult) -> Attempt:
        """The attempt of a result with one candidate."""
        [trace] = result.traces
        begun = [trace.cut.turn] if trace.cut and trace.cut.turn else []
        tokens = tokens_of([*trace.turns, *begun])
        kept = replace(trace, turns=(), cut=None)
        return cls(result.problem.id, result.seed, kept, tokens, checks_of(trace), text_key(trace), code_key(trace))


def tokens_of(turns: Iterable[Turn]) -> Tokens:
    """Sum over requests that were answered in full; the usage of one that broke off is unknown and not counted."""
    said = [turn.completion for turn in turns]
    return Tokens(
        sum(one.prompt_tokens for one in said), sum(one.cached_tokens for one in said), sum(one.tokens for one in said)
    )


class Attempts(Journal):
    """The journal of a run. `of` gives the attempts of this run and of earlier ones, `failed` those that failed.

    Texts stay on disk. `tokens` is the sum over both.
    """

    def __init__(self, lines: LineWriter, results: Iterable[SolveResult] = ()) -> None:
        self._made: defaultdict[str, dict[int, Attempt]] = defaultdict(dict)
        self.failed: list[Attempt] = []
        self.tokens = Tokens()
        super().__init__(lines, results)

    @classmethod
    def opened(cls, path: Path, header: dict[str, Any]) -> Attempts:
        """Create the journal or resume it. Raises `UserError` where it has other problems or settings.

        `header["kept_by"]` is how traces are chosen: a run that chose otherwise is not resumed.
        """
        if not path.exists():
            return cls.create(path, header)
        _check_choice(path, header["kept_by"])
        attempts = cls.resume(path, header)
        for attempt in _failures(path):
            attempts._note_failure(attempt)
        return attempts

    def of(self, problem_id: str) -> Mapping[int, Attempt]:
        """The attempts at a problem that did not fail, by seed."""
        return self._made.get(problem_id, {})

    @property
    def made(self) -> Iterator[Attempt]:
        """All attempts that did not fail."""
        return (attempt for attempts in self._made.values() for attempt in attempts.values())

    def fail(self, result: SolveResult) -> None:
        """Record a failed attempt with its reason and its tokens."""
        attempt = Attempt.of(result)
        why = attempt.trace.detail or "it took too long"
        tokens = asdict(attempt.tokens)
        self.note(why, attempt.problem_id, seed=attempt.seed, tokens=tokens)
        self._note_failure(attempt)

    def _note_failure(self, attempt: Attempt) -> None:
        self.failed.append(attempt)
        self.tokens += attempt.tokens

    def remember(self, result: SolveResult) -> None:
        """Keep the attempt without its texts."""
        attempt = Attempt.of(result)
        self._made[attempt.problem_id][attempt.seed] = attempt
        self.tokens += attempt.tokens


def _check_choice(path: Path, now: Json) -> None:
    header = next(whole_lines(path), None)
    if header is None or "schema" not in header:
        return  # a kill came before the first line was whole, or it is no journal, which `resume` says
    was = header.get("kept_by")
    if not isinstance(was, dict):
        raise UserError(
            f"cannot resume {path}: an earlier version made it and kept other traces; choose another output"
        )
    if names := [name for name in {**was, **now} if was.get(name) != now.get(name)]:
        said = ", ".join(f"{name} was {_brief(was.get(name))}, now {_brief(now.get(name))}" for name in names)
        raise UserError(f"cannot resume {path}: {said}; go back to that, or choose another output")


def _brief(value: Any) -> Any:
    """A rule as a message shows it; of a judge, its name and a hash of what it is asked."""
    if not isinstance(value, dict):
        return value
    return f"{value.get('model')} (asked {blake2b(str(value.get('instruction')).encode(), digest_size=3).hexdigest()})"


def _failures(path: Path) -> list[Attempt]:
    lines = [line for line in whole_lines(path) if "fault" in line and "tokens" in line]
    return [
        Attempt(line["problem"], line["seed"], Trace(0, (), TraceStatus.FAILED), Tokens(**line["tokens"]))
        for line in lines
    ]
