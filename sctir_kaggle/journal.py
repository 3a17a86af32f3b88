"""A run on disk: JSON lines, a header first, then one line for each solved problem, on the disk before the next begins.

    {"schema":1,"config":{...},"dialect":{...},"problems":...,"engine":{...}}
    {"problem":{...},"answer":42,"vote":{"ranking":[[42,31.0],...]},"traces":[...],"stopped":"exact",...}

Sampling is expensive, voting is cheap: a line keeps every text, output, status and time, so that the vote can be repeated
under another rule and the loop without a model. Token ids are not kept, only their number.

Three other kinds of lines stand between them. `"fault"` is a failure that the run survived; a problem that one cost has no
line, and a resumed run solves it. `"canary"` is the result of the known problem that is tried before the first. A line that
begins with `"replaces"` is a problem that was solved again: it holds all traces, and readers leave the earlier line out.

This module is the one writer and the one reader. `Journal` writes; what it keeps in memory of each result is `remember`, which
a run over many seeds overrides to keep less. `stream_results` and `read_journal` read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sctir_kaggle.jsonlines import Json, LineWriter
from sctir_kaggle.types import (
    Completion,
    Control,
    ExecutionResult,
    ExecutionStatus,
    PartialTurn,
    Problem,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
    UserError,
    Vote,
)

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
            lines.cut_torn_line()  # only now: the file of a run that was refused stays as it is
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
        start = file.read(1 << 16)
    return b"\n" not in start and (not start or start.startswith(_BEGINNING))


def _matching(path: Path, header: Json) -> Iterator[SolveResult]:
    """The results of a run that a run with this header may go on with."""
    old, results = stream_results(path)
    for name in MUST_MATCH:
        new = _plain(header.get(name))
        if old.get(name) != new:
            raise UserError(f"cannot resume {path}: its {_difference(name, old.get(name), new)}")
    return results


def _difference(name: str, old: object, new: object) -> str:
    if name == "problems":
        return "problems are others (another CSV, or another --limit)"
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
    header, lines = stream_journal(path)
    return header, _results(path, lines, header.get("config", {}).get("seed", 0))


def stream_journal(path: Path) -> tuple[Json, Iterator[tuple[int, Json]]]:
    """Header of a run, and its result lines as (line number, JSON), one in memory at a time.

    Lines that a later one replaces are left out.
    """
    lines = whole_lines(path)
    header = next(lines, None)
    if not isinstance(header, dict) or "schema" not in header:
        raise UserError(
            f"{path} is not a journal: its first line is no header; give a run's folder or its journal.jsonl"
        )
    if header["schema"] != SCHEMA:
        raise UserError(f"{path} has schema {header['schema']}; this version reads {SCHEMA}")
    return header, _standing(enumerate(lines, 2), _replacements(path), header.get("config", {}).get("seed", 0))


def read_faults(path: Path) -> list[str]:
    """Failures that a run survived, in order; one that cost a problem begins with the problem's id."""
    faults = [line for line in whole_lines(path) if "fault" in line]
    return [line["fault"] if line["problem"] is None else f"{line['problem']}: {line['fault']}" for line in faults]


def read_canaries(path: Path) -> list[Json]:
    """Results of the problem with a known answer, one for each engine that was loaded."""
    return [line["canary"] for line in whole_lines(path) if "canary" in line]


def whole_lines(path: Path) -> Iterator[Json]:
    """Every line, one at a time, but for a last one that a kill has torn. Raises `UserError`."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n") and line.strip():
                    yield _parsed(path, number, line)
    except FileNotFoundError:
        raise UserError(
            f"there is no journal {path}; give a folder that sctir dry-run, solve or replay wrote"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _parsed(path: Path, number: int, line: bytes) -> Json:
    try:
        parsed: Json = json.loads(line)
    except ValueError:
        what = "so it is no journal; give a run's folder" if number == 1 else "restore the file or start a new run"
        raise UserError(f"{path}, line {number}, is not JSON; {what}") from None
    return parsed


def _standing(lines: Iterable[tuple[int, Json]], later: Mapping[object, int], seed: int) -> Iterator[tuple[int, Json]]:
    """The lines that are results and that no later one replaces."""
    for number, line in lines:
        if "fault" in line or "canary" in line:
            continue
        if later and number < later.get(_key(line, seed), 0):
            continue
        if isinstance(line, dict):
            line.pop("replaces", None)
        yield number, line


def _key(line: Json, seed: int) -> tuple[object, object] | None:
    """Problem and seed of a line; None where it is not a result, which its reader reports."""
    try:
        return line["problem"]["id"], line.get("seed", seed)
    except (KeyError, TypeError, AttributeError):
        return None


def _replacements(path: Path) -> Mapping[object, int]:
    """By problem and seed, the number of the last line that replaces an earlier one. Only such lines are parsed."""
    with path.open("rb") as file:
        whole = (line for line in file if line.endswith(b"\n") and line.strip())
        replacing = [(number, line) for number, line in enumerate(whole, 1) if line.startswith(_REPLACING)]
    return {_key(_parsed(path, number, line), 0): number for number, line in replacing}


def _results(path: Path, lines: Iterator[tuple[int, Json]], seed: int) -> Iterator[SolveResult]:
    seen: set[tuple[str, int]] = set()
    for number, line in lines:
        result = _read_result(path, number, line, seed)
        if (result.problem.id, result.seed) in seen:
            raise UserError(f"{path} holds a problem twice: two runs wrote to it; start a new one")
        seen.add((result.problem.id, result.seed))
        yield result


def _read_result(path: Path, number: int, line: Json, seed: int) -> SolveResult:
    """The result of a line; until 0.1.0 the header's config alone said the seed."""
    try:
        return result_from_json({"seed": seed, **line})
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}, line {number}, is not a result; restore the file or start a new run") from None


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
    """The inverse of `result_to_json`, but for the token ids. Fields that an older version did not write have defaults."""
    vote = Vote(tuple((answer, score) for answer, score in line["vote"]["ranking"]))
    traces = tuple(_trace(trace) for trace in line["traces"])
    return SolveResult(**{**line, "problem": Problem(**line["problem"]), "vote": vote, "traces": traces})


def _trace(line: Json) -> Trace:
    turns = tuple(_turn(turn) for turn in line["turns"])
    cut = line.get("cut") and _cut(line["cut"])
    return Trace(**{**line, "turns": turns, "status": TraceStatus(line["status"]), "cut": cut})


def _cut(line: Json) -> PartialTurn:
    return PartialTurn(**{**line, "turn": line["turn"] and _turn(line["turn"])})


def _turn_cut_short(trace: Json) -> list[Json]:
    """The turn whose code was running when the candidate was cancelled, if there is one."""
    return [trace["cut"]["turn"]] if trace["cut"] and trace["cut"]["turn"] else []


def _turn(line: Json) -> Turn:
    """A turn; until 0.1.0 its bridge was one text, `output_block`."""
    execution = line["execution"] and _execution(line["execution"])
    bridge = line["bridge"] if "bridge" in line else _old_bridge(line["output_block"])
    fields = {name: value for name, value in line.items() if name != "output_block"}
    completion = Completion(**line["completion"])
    return Turn(**{**fields, "completion": completion, "execution": execution, "bridge": _bridge(bridge)})


def _bridge(segments: Iterable[Any]) -> tuple[str, ...]:
    """Segments of a bridge: `{"control": text}` is a dialect's text, a string is a program's output."""
    return tuple(Control(part["control"]) if isinstance(part, dict) else part for part in segments)


def _old_bridge(block: str) -> list[Any]:
    """The segments of NuminaMath's format."""
    opened, closed = block.startswith("\n```output\n"), block.endswith("\n```")
    output = block[len("\n```output\n") if opened else 0 : len(block) - 4 if closed else len(block)]
    parts = [{"control": "\n```output\n"} if opened else "", output, {"control": "\n```"} if closed else ""]
    return [part for part in parts if part]


def _bridge_json(segments: Iterable[str]) -> list[Any]:
    return [{"control": str(part)} if isinstance(part, Control) else part for part in segments]


def _execution(line: Json) -> ExecutionResult:
    return ExecutionResult(**{**line, "status": ExecutionStatus(line["status"])})


def _plain(value: Any) -> Any:
    """As it comes back from a JSON file: tuples are lists, enums their values. Lone surrogates become `?`."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
    return json.loads(text)
