"""A run on disk: JSON lines, a header first, then one line for each solved problem, on the disk before the next begins.

    {"schema":1,"config":{...},"dialect":{...},"problems":...,"engine":{...}}
    {"problem":{...},"answer":42,"vote":{"ranking":[[42,31.0],...]},"traces":[...],"stopped":"exact",...}

Sampling is expensive, voting is cheap: a line keeps every text, output, status and time, so that the vote can be repeated
under another rule and the loop without a model. Token ids are not kept, only their number.

Three other kinds of lines stand between them. `"fault"` is a failure that the run survived; a problem that one cost has no
line, and a resumed run solves it. `"canary"` is the result of the known problem that is tried before the first. A line that
begins with `"replaces"` is a problem that was solved again: it holds all traces, and readers leave the earlier line out.

This module is the one writer and the one reader. `Journal` writes; what it keeps in memory of each result is `remember`, which
a run over many seeds overrides to keep less. `stream_results` reads, and every command reads by it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from sctir_kaggle._version import __version__
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects import dialect as dialects
from sctir_kaggle.json_values import UNKNOWN_FIELD, Mismatch, decode, shown
from sctir_kaggle.jsonlines import Json, LineWriter, is_whole
from sctir_kaggle.kinds import beside
from sctir_kaggle.types import Control, SolveResult, Turn, UserError

JOURNAL = "journal.jsonl"
"""Name of the file in a run's folder."""

SCHEMA = 1

MUST_MATCH = ("config", "dialect", "prompt", "problems", "engine")
"""Fields of the header in which a resumed run has to agree with the earlier one."""

AnyJournal = TypeVar("AnyJournal", bound="Journal")

_BEGINNING = b'{"schema":'
"""The first bytes of every journal."""

_REPLACING = b'{"replaces":'
"""The first bytes of a line that replaces an earlier one: found without parsing the others."""


def journal_of(run: Path) -> Path:
    """The journal of a run that is given as its folder or as the file itself."""
    return run / JOURNAL if run.is_dir() else run


# --- Write ---


class Journal:
    """An open run. `results` holds what an earlier run left, by problem id. A context manager; `close` may be repeated."""

    def __init__(self, lines: LineWriter, results: Iterable[SolveResult] = ()) -> None:
        self.path = lines.path
        self.results: dict[str, SolveResult] = {}
        self._lines = lines
        for result in results:
            self.remember(result)

    @classmethod
    def create(cls: type[AnyJournal], path: Path, header: Json) -> AnyJournal:
        """Start a new run. Raises `UserError` where there is one already: nothing is ever overwritten."""
        journal = cls(LineWriter.create(path))
        journal.write({"schema": SCHEMA, **header})
        return journal

    @classmethod
    def resume(cls: type[AnyJournal], path: Path, header: Json) -> AnyJournal:
        """Go on with a run, a last line that a kill has torn being cut off.

        Raises `UserError` where the run's config, dialect, prompt, problems or engine differ from those of `header`. A file
        without even a whole header is started again.
        """
        lines = LineWriter.resume(path)
        try:
            fresh = _holds_no_header(path)
            journal = cls(lines, () if fresh else _matching(path, header))
            lines.repair_end()  # only now: the file of a run that was refused stays as it is
        except UserError:
            lines.close()
            raise
        if fresh:
            journal.write({"schema": SCHEMA, **header})
        return journal

    def append(self, result: SolveResult) -> None:
        """Write one solved problem; it is on the disk when this returns."""
        self.write(result_to_json(result))
        self.remember(result)

    def replace(self, result: SolveResult) -> None:
        """As `append`, for a problem that has a line already: readers take the new one in its place."""
        self.write({"replaces": True, **result_to_json(result)})
        self.remember(result)

    def note(self, fault: str, problem: str | None = None, **details: Any) -> None:
        """Write a failure that the run survived, with the id of the problem that it cost, if any."""
        self.write({"fault": fault, "problem": problem, **details})

    def tried(self, canary: Json) -> None:
        """Write the result of the problem with a known answer that is tried before the first one."""
        self.write({"canary": canary})

    def change_header(self, header: Json) -> None:
        """Put `header`, a whole one, in the place of the present one."""
        self._lines.replace_first(header)

    def remember(self, result: SolveResult) -> None:
        """Keep in memory what is needed later of a result, of this run or an earlier one: here all of it."""
        self.results[result.problem.id] = result

    def write(self, line: Json) -> None:
        """Append a line of any kind."""
        self._lines.write(line)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _holds_no_header(path: Path) -> bool:
    """True if a kill came before the first line was whole: then nothing is lost by writing it again."""
    with path.open("rb") as file:
        first = file.readline()
    return not first or (first.startswith(_BEGINNING) and not is_whole(first))


def _matching(path: Path, header: Json) -> Iterator[SolveResult]:
    """The results of a run that a run with this header may go on with."""
    old, results = stream_results(path)
    for name in MUST_MATCH:
        new = _plain(header.get(name))
        if old.get(name) != new:
            what = _difference(name, old.get(name), new)
            raise UserError(f"cannot resume {path}: its {what}; go back to that, or choose another --output")
    return results


def _difference(name: str, old: object, new: object) -> str:
    if name == "problems":
        return "problems are others (another file, or another --limit)"
    if name == "dialect":
        was, now = (dict(each) if isinstance(each, dict) else {} for each in (old, new))
        names = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        return f"dialect was another: it differs in {', '.join(names)}"
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return ", ".join(f"{name} {key} is {old.get(key)}, now {new.get(key)}" for key in keys)
    return f"{name} is {old}, now {new}"


def refuse_journal(path: Path, option: str) -> None:
    """Raise `UserError` where `option` would overwrite a run's journal with its output: runs are expensive."""
    try:
        with path.open("rb") as file:
            is_journal = file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return
    if is_journal:
        raise UserError(f"{option} {path} is a run's journal, which would be lost; choose another file")


# --- Read ---


def read_journal(path: Path) -> tuple[Json, list[SolveResult]]:
    """Header and results of a run. A torn last line is left out; any other fault raises `UserError`."""
    header, results = stream_results(path)
    return header, list(results)


def stream_results(path: Path) -> tuple[Json, Iterator[SolveResult]]:
    """As `read_journal`, one result at a time: a run over many seeds may be larger than the memory."""
    lines = _numbered(path)
    header = _checked_header(path, next(lines, (1, {}))[1])
    return header, _results(path, lines, header)


def read_header(path: Path) -> Json:
    """The header of a run, its values checked. Raises `UserError` where the file is no journal."""
    return stream_results(path)[0]


def read_faults(path: Path) -> list[str]:
    """Failures that a run survived, in order; one that cost a problem begins with the problem's id."""
    faults = [line for line in whole_lines(path) if "fault" in line]
    return [line["fault"] if line.get("problem") is None else f"{line['problem']}: {line['fault']}" for line in faults]


def read_canaries(path: Path) -> list[Json]:
    """Results of the problem with a known answer, one for each engine that was loaded."""
    return [line["canary"] for line in whole_lines(path) if "canary" in line]


def whole_lines(path: Path) -> Iterator[Json]:
    """Every line, one at a time, but for a last one that a kill has torn. Raises `UserError`."""
    return (line for _, line in _numbered(path))


def _numbered(path: Path) -> Iterator[tuple[int, Json]]:
    """Every line with its number in the file, from 1. Empty lines are skipped, and so is a torn one at the end."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and is_whole(line):
                    yield number, _parsed(path, number, line)
    except FileNotFoundError:
        raise UserError(
            f"there is no journal {path}{beside(path) or '; give a folder that sctir dry-run, solve or replay wrote'}"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _parsed(path: Path, number: int, line: bytes) -> Json:
    """The JSON object of a line."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        what = "so it is no journal; give a run's folder" if number == 1 else DELETE
        raise UserError(f"{path}, line {number}, is not JSON; {what}") from None
    if isinstance(parsed, dict):
        return parsed
    if number == 1:
        raise UserError(f"{path} {_NO_HEADER}")
    raise UserError(f"{path}, line {number}, is not a result: it is {shown(parsed)}, not an object; {DELETE}")


def _checked_header(path: Path, header: Json) -> Json:
    """The header, if it is one that this version reads; its `config` fits `SolverConfig`, as far as it goes."""
    if "schema" not in header:
        raise UserError(f"{path} {_NO_HEADER}")
    if header["schema"] != SCHEMA:
        newer = isinstance(header["schema"], int) and header["schema"] > SCHEMA
        what = _newer(header) if newer else "; it is no journal of this program"
        raise UserError(f"{path} has schema {shown(header['schema'])}; this version reads {SCHEMA}{what}")
    try:
        for name, kind in _HEADER.items():
            if name in header:
                _decode_field(name, kind, header[name])
        for name in header.get("dialect") or ():
            if name not in dialects.FIELDS:
                raise Mismatch(UNKNOWN_FIELD, path=f"dialect.{name}", unknown=True)
        if header.get("dialect"):
            dialects.dialect_from(header["dialect"], source="dialect")
    except Mismatch as error:
        raise _refused(path, 1, "is not a header", error, header) from None
    except UserError as error:  # a value beyond the limits of `SolverConfig` or `Dialect`
        raise UserError(f"{path}, line 1, is not a header: {error}; {RESTORE}") from None
    return header


def _decode_field(name: str, kind: Any, value: Any) -> None:
    try:
        decode(kind, value)
    except Mismatch as error:
        raise error.below(f".{name}") from None


def _results(path: Path, lines: Iterator[tuple[int, Json]], header: Json) -> Iterator[SolveResult]:
    """The results of the lines that no later one replaces."""
    # Until 0.1.0 the header's config alone said the seed.
    seed = header.get("config", {}).get("seed", 0)
    later = _replacements(path, seed)
    seen: set[tuple[str, int]] = set()
    for number, line in lines:
        if "canary" in line:
            continue
        try:
            if "fault" in line:
                decode(_Fault, {name: line[name] for name in ("fault", "problem") if name in line})
                continue
            line.pop("replaces", None)
            result = result_from_json({"seed": seed, **line})
        except Mismatch as error:
            raise _refused(path, number, "is not a result", error, header) from None
        numbers = [trace.candidate for trace in result.traces]
        if len(set(numbers)) < len(numbers) or any(not 0 <= each < MOST_CANDIDATES for each in numbers):
            what = f"its candidates are numbered {shown(str(numbers)[1:-1])}, not each by a number of its own from 0"
            raise UserError(f"{path}, line {number}, is not a result: {what}; {DELETE}")
        key = result.problem.id, result.seed
        if number < later.get(key, 0):
            continue
        if key in seen:
            raise UserError(f"{path} holds a problem twice: two runs wrote to it; start a new one")
        seen.add(key)
        yield result


def _replacements(path: Path, seed: int) -> Mapping[tuple[str, int], int]:
    """By problem and seed, the number of the last line that replaces an earlier one. Only such lines are parsed."""
    found: dict[tuple[str, int], int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(_REPLACING) and is_whole(line):
                parsed = _parsed(path, number, line)
                # Faulty ones are reported where they are read.
                with contextlib.suppress(KeyError, TypeError):
                    found[parsed["problem"]["id"], parsed.get("seed", seed)] = number
    return found


@dataclass(frozen=True, slots=True)
class _Fault:
    """What every fault line has; others of its fields are up to its writer."""

    fault: str
    problem: str | None = None


_HEADER: Mapping[str, Any] = {
    "config": SolverConfig,
    "version": str,
    "budget": float | None,
    "settings": dict | None,
    "given": dict | None,
    "prompt": str | None,
    "dialect": dict | None,
    "problems": str,
    "problem_count": int,
    "engine": dict | None,
    "executor": dict | None,
    "seeds": tuple[int, ...],
    "parallel": int | None,
    "problem_seconds": float | None,
}
"""The header's fields that any reader uses. One may be absent, as in older journals; others are not checked."""

MOST_CANDIDATES = 1 << 16
"""Far more than a run can have; readers make columns as long as the largest number."""

_NO_HEADER = "is not a journal: its first line is no header; give a run's folder or its journal.jsonl"

RESTORE = "restore the file or start a new run"

DELETE = "delete that line, and --resume solves its problem again"


def _refused(path: Path, number: int, what: str, error: Mismatch, header: Json) -> UserError:
    """The error for a value that does not fit: written by a newer version, or damaged."""
    if error.unknown:
        return UserError(f"{path}, line {number}: {error}{_newer(header)}")
    return UserError(f"{path}, line {number}, {what}: {error}; {RESTORE if number == 1 else DELETE}")


def _newer(header: Json) -> str:
    wrote = header.get("version")
    if isinstance(wrote, str) and wrote != __version__:
        return f"; it was written by a newer version ({wrote}; this is {__version__}): install that one to read it"
    return "; it was written by a newer version, or by hand: install that version, or take it out"


# --- SolveResult <-> JSON ---


def result_to_json(result: SolveResult) -> Json:
    """`result` as plain JSON values, without token ids."""
    line = asdict(result)
    for trace in line["traces"]:
        for turn in (*trace["turns"], *_turn_cut_short(trace)):
            del turn["completion"]["token_ids"]
            turn["bridge"] = _bridge_json(turn["bridge"])
    return dict(_plain(line))


def result_from_json(line: Json) -> SolveResult:
    """The inverse of `result_to_json`, but for the token ids. Fields that an older version did not write have defaults.

    Raises `json_values.Mismatch` where a value does not fit its field.
    """
    return decode(SolveResult, line, before=_BEFORE)


def _turn_cut_short(trace: Json) -> list[Json]:
    """The turn whose code was running when the candidate was cancelled, if there is one."""
    return [trace["cut"]["turn"]] if trace["cut"] and trace["cut"]["turn"] else []


def _turn_as_now(line: Any) -> Any:
    """A turn's JSON with its bridge as texts, some of them `Control`; until 0.1.0 the bridge was one text, `output_block`."""
    if not isinstance(line, dict):
        return line
    fields = dict(line)
    if isinstance(block := fields.pop("output_block", None), str):
        fields.setdefault("bridge", _old_bridge(block))
    if isinstance(fields.get("bridge"), list):
        fields["bridge"] = [_segment(part) for part in fields["bridge"]]
    return fields


_BEFORE = ((Turn, _turn_as_now),)


def _segment(part: Any) -> Any:
    """A segment of a bridge: `{"control": text}` is a dialect's text, a string is a program's output."""
    if isinstance(part, dict) and list(part) == ["control"] and isinstance(part["control"], str):
        return Control(part["control"])
    return part


def _old_bridge(block: str) -> list[Any]:
    """The segments of NuminaMath's format."""
    opened, closed = block.startswith("\n```output\n"), block.endswith("\n```")
    output = block[len("\n```output\n") if opened else 0 : len(block) - 4 if closed else len(block)]
    parts = [{"control": "\n```output\n"} if opened else "", output, {"control": "\n```"} if closed else ""]
    return [part for part in parts if part]


def _bridge_json(segments: Iterable[str]) -> list[Any]:
    return [{"control": str(part)} if isinstance(part, Control) else part for part in segments]


def _written(value: object) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise TypeError(f"a journal cannot hold {type(value).__name__}")


def _plain(value: Any) -> Any:
    """As it comes back from a JSON file: tuples are lists, enums their values, fractions texts. Lone surrogates become `?`."""
    text = json.dumps(value, ensure_ascii=False, default=_written).encode("utf-8", "replace").decode("utf-8")
    return json.loads(text)
