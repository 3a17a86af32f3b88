"""A run on disk: JSON lines, a header first, then one line per solved problem, written through to the disk at once.

A competition's run notes faults between them: a problem that one cost has no line, and a resumed run solves it. Where it
asks a problem a second time and solves it again, the later line, which begins with `"replaces"`, holds all traces, and
readers leave the earlier one out. A line `"canary"` says what came of the problem that was tried before the first.

Sampling is dear, voting is free: a line keeps every text, output, status and time, so that the vote can be held again under
another rule and the loop run again without a model. Token ids are not kept, only their number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar

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

SCHEMA = 1

MUST_MATCH = ("config", "dialect", "prompt", "problems", "engine")
"""The header's fields that a resumed run has to share with the run it goes on with."""

Json = dict[str, Any]
AnyJournal = TypeVar("AnyJournal", bound="Journal")

_BEGINNING = b'{"schema":'
"""Of every journal's first line."""

_REPLACING = b'{"replaces":'
"""How a line begins that takes the place of an earlier one."""

_CHUNK = 1 << 16


class Journal:
    """An open run. `results` holds what an earlier run left, by problem id. A context manager; `close` may be repeated."""

    def __init__(self, path: Path, file: TextIO, results: Iterable[SolveResult] = ()) -> None:
        self.path = path
        self.results: dict[str, SolveResult] = {}
        self._file = file
        for result in results:
            self._remember(result)

    @classmethod
    def create(cls: type[AnyJournal], path: Path, header: Json) -> AnyJournal:
        """Start a new run. Raises `UserError` where one lies already: nothing is ever overwritten."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            journal = cls(path, path.open("x", encoding="utf-8"))
        except FileExistsError:
            raise UserError(f"{path} exists; add --resume to go on with that run, or choose another --output") from None
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        lock(path, journal._file)
        journal._write({"schema": SCHEMA, **header})
        return journal

    @classmethod
    def resume(cls: type[AnyJournal], path: Path, header: Json) -> AnyJournal:
        """Go on with a run of the same config, prompt, problems and engine; a last line torn by a kill is cut off.

        A file in which not even the header is whole begins anew.
        """
        try:
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        try:
            lock(path, file)  # before it is read: no other run adds a result from here on
            fresh = _holds_no_header(path)
            journal = cls(path, file, () if fresh else _matching(path, header))
            _cut_torn_line(path)
        except UserError:
            file.close()
            raise
        if fresh:
            journal._write({"schema": SCHEMA, **header})
        return journal

    def note(self, fault: str, problem: str | None = None) -> None:
        """Write what went wrong and was survived, with the id of the problem that it cost, through to the disk."""
        self._write({"fault": fault, "problem": problem})

    def append(self, result: SolveResult) -> None:
        """Write one solved problem, and do not return before it is on the disk."""
        self._write(result_to_json(result))
        self._remember(result)

    def replace(self, result: SolveResult) -> None:
        """As `append`, for a problem that has a line already: readers take this one in its place."""
        self._write({"replaces": True, **result_to_json(result)})
        self._remember(result)

    def tried(self, canary: Json) -> None:
        """Write what came of the problem with a known answer that was tried before the first one."""
        self._write({"canary": canary})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remember(self, result: SolveResult) -> None:
        self.results[result.problem.id] = result

    def _write(self, line: Json) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: Path) -> tuple[Json, list[SolveResult]]:
    """Header and results of a run. A torn last line is left out; anything else that is not a journal raises `UserError`."""
    header, results = stream_results(path)
    return header, list(results)


def stream_results(path: Path) -> tuple[Json, Iterator[SolveResult]]:
    """As `read_journal`, one result at a time: a run over many seeds may be larger than the memory."""
    header, lines = stream_journal(path)
    return header, _results(path, lines, header.get("config", {}).get("seed", 0))


def stream_journal(path: Path) -> tuple[Json, Iterator[tuple[int, Json]]]:
    """Header of a run, and its results as they are written, with their line numbers: one in memory at a time.

    One that a later line replaces is left out.
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


def refuse_journal(path: Path, option: str) -> None:
    """Raises `UserError` where the file that `option` is to write over is a run's journal: runs are dear."""
    try:
        with path.open("rb") as file:
            is_journal = file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return
    if is_journal:
        raise UserError(f"{option} {path} is a run's journal, which would be lost; choose another file")


def read_faults(path: Path) -> list[str]:
    """What went wrong in a run and was survived, in order; a fault that cost a problem begins with its id."""
    faults = [line for line in whole_lines(path) if "fault" in line]
    return [line["fault"] if line["problem"] is None else f"{line['problem']}: {line['fault']}" for line in faults]


def read_canaries(path: Path) -> list[Json]:
    """What came of the problem with a known answer, once for each engine that was loaded."""
    return [line["canary"] for line in whole_lines(path) if "canary" in line]


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
    """Problem and seed of a line; None where it is not a result, which whoever reads it finds out."""
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


def _matching(path: Path, header: Json) -> Iterator[SolveResult]:
    """The results of a run that a run with this header may go on with."""
    old, results = stream_results(path)
    for name in MUST_MATCH:
        new = _plain(header.get(name))
        if old.get(name) != new:
            raise UserError(f"cannot resume {path}: its {_difference(name, old.get(name), new)}")
    return results


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
    """The turn whose code was running when the candidate was ended, if there is one."""
    return [trace["cut"]["turn"]] if trace["cut"] and trace["cut"]["turn"] else []


def _turn(line: Json) -> Turn:
    """A turn; until 0.1.0 its bridge was one text, `output_block`."""
    execution = line["execution"] and _execution(line["execution"])
    bridge = line["bridge"] if "bridge" in line else _old_bridge(line["output_block"])
    fields = {name: value for name, value in line.items() if name != "output_block"}
    completion = Completion(**line["completion"])
    return Turn(**{**fields, "completion": completion, "execution": execution, "bridge": _bridge(bridge)})


def _bridge(segments: Iterable[Any]) -> tuple[str, ...]:
    """What a dialect wrote stands in an object, `{"control": text}`; what a program printed is a string."""
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


def whole_lines(path: Path) -> Iterator[Json]:
    """One at a time; a last one without its end was torn by a kill."""
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


def lock(path: Path, file: IO[Any]) -> None:
    """One run writes to a journal at a time: raises `UserError` where another does. The lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"another run is writing to {path}; wait for it, or choose another --output") from None


def _holds_no_header(path: Path) -> bool:
    """Whether a kill came before the first line was whole: then nothing is lost if it is written again."""
    with path.open("rb") as file:
        start = file.read(_CHUNK)
    return b"\n" not in start and (not start or start.startswith(_BEGINNING))


def _cut_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


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
